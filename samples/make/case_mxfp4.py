"""`mxfp4-gptoss`: a gpt-oss of one layer, its experts in MXFP4. transformers can only read the format, so the
codes follow the rule of OCP MX: exponent `floor(log2(amax)) - 2`, nearest value, ties to even.

Run: `python samples/make/case_mxfp4.py mxfp4-gptoss OUT`.
"""

import pathlib
import sys

import torch
from common import SEED, fill, save, save_config

VALUES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
MIDPOINTS = (VALUES[1:] + VALUES[:-1]) / 2


def quantize(weight):
    """Returns blocks and scales of a dense `[experts, in, out]` parameter, as `[experts, out, in / 32, …]`."""
    w = weight.transpose(1, 2).contiguous().float()
    w = w.reshape(*w.shape[:2], -1, 32)
    amax = w.abs().amax(-1, keepdim=True)
    exponent = torch.floor(torch.log2(torch.where(amax > 0, amax, torch.ones(())))) - 2
    scaled = w / 2.0**exponent
    magnitude = scaled.abs()
    # The lower neighbour at a midpoint, but for the midpoints whose even code is the upper one.
    code = torch.bucketize(magnitude, MIDPOINTS)
    code += sum(((magnitude == MIDPOINTS[i]) & (i % 2 == 1)).long() for i in range(7))
    code |= (scaled < 0).long() << 3
    packed = (code[..., 0::2] | code[..., 1::2] << 4).to(torch.uint8)
    return packed, (exponent.squeeze(-1) + 127).clamp(0, 254).to(torch.uint8)


def main(out):
    from transformers import GptOssConfig, GptOssForCausalLM

    config = GptOssConfig(
        num_hidden_layers=1, num_local_experts=4, vocab_size=200, hidden_size=128, intermediate_size=96,
        head_dim=32, num_attention_heads=4, num_key_value_heads=2, sliding_window=32, num_experts_per_tok=2,
        max_position_embeddings=128, layer_types=["sliding_attention"])
    made = GptOssForCausalLM(config).float()
    fill(made, SEED + 3)
    made = made.to(torch.bfloat16)
    tensors = dict(made.state_dict())
    for name in ("gate_up_proj", "down_proj"):
        stem = f"model.layers.0.mlp.experts.{name}"
        blocks, scales = quantize(tensors.pop(stem))
        tensors |= {f"{stem}_blocks": blocks, f"{stem}_scales": scales}
    save(tensors, out / "model")
    save_config(made, out / "model", {"quant_method": "mxfp4", "modules_to_not_convert": [
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]})


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[2]))
