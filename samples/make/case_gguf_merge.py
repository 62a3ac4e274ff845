"""`gguf-merge-llama`: a GGUF base, an adapter of PEFT, and hashes of what llama.cpp's converter makes of the model that
PEFT merges it into.

The adapter has factors for all linear layers, and biases. Values are small multiples of powers of two, so that every sum
is exact in f32 in whatever order. The base is written by gguf's `GGUFWriter`; q and k (weights and biases) are permuted
as `LlamaModel.permute` of `convert_hf_to_gguf.py` does it. Run: `python samples/make/case_gguf_merge.py gguf-merge-llama OUT`.
"""

import hashlib
import json
import pathlib
import sys

import common  # noqa: F401  (no network, no GPU)
import gguf
import numpy as np
import peft
import torch
import transformers

SPEC = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 16}
HF = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
      "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
      "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
TOP = {"token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm"}
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def fill(module, seed, step, most):
    """Gives every parameter multiples of `step` up to `most`."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module:
            bound = int(most / step)
            parameter.copy_(torch.randint(-bound, bound + 1, parameter.shape, generator=g) * step)


def permute(tensor, heads):
    """Rotary halves interleaved, as llama.cpp wants q and k."""
    shape = tensor.shape
    return tensor.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def converted(state):
    """Returns tensors under llama.cpp's names, rows in its order."""
    out = {}
    for name, tensor in state.items():
        stem, kind = name.rsplit(".", 1)
        values = tensor.detach().float().numpy().copy()
        if stem.startswith("model.layers."):
            block, inner = stem.removeprefix("model.layers.").split(".", 1)
            leaf = next(leaf for leaf, hf in HF.items() if hf == inner)
            heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(leaf)
            values = permute(values, SPEC[heads]) if heads else values
            stem = f"blk.{block}.{leaf}"
        else:
            stem = next(leaf for leaf, hf in TOP.items() if hf == stem)
        out[f"{stem}.{kind}"] = np.ascontiguousarray(values)
    return out


def write(path, tensors):
    """Writes a GGUF: matrices in F16, all else in F32."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_file_type(1)
    writer.add_context_length(128)
    writer.add_embedding_length(SPEC["hidden_size"])
    writer.add_block_count(SPEC["num_hidden_layers"])
    writer.add_feed_forward_length(SPEC["intermediate_size"])
    writer.add_head_count(SPEC["num_attention_heads"])
    writer.add_head_count_kv(SPEC["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(SPEC["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{n}" for n in range(SPEC["vocab_size"])])
    writer.add_token_types([1] * SPEC["vocab_size"])
    for name, values in tensors.items():
        writer.add_tensor(name, values.astype(np.float16 if values.ndim == 2 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(id, out):
    config = transformers.LlamaConfig(max_position_embeddings=128, tie_word_embeddings=False, attention_bias=True,
                                      mlp_bias=True, **SPEC)
    model = transformers.LlamaForCausalLM(config).float()
    fill(model.parameters(), common.SEED + 31, 1 / 1024, 0.5)
    (out / "base").mkdir(parents=True, exist_ok=True)
    base = converted(model.state_dict())
    write(out / "base" / "model.gguf", base)
    wanted = peft.LoraConfig(r=4, lora_alpha=8, lora_bias=True, target_modules=LINEARS, task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, wanted)
    fill((p for n, p in adapted.named_parameters() if "lora_" in n), common.SEED + 32, 1 / 16, 1.0)
    adapted.save_pretrained(out / "adapter")
    (out / "adapter" / "README.md").unlink()
    config = out / "adapter" / "adapter_config.json"
    said = json.loads(config.read_text())
    said["target_modules"] = LINEARS
    config.write_text(json.dumps(said, indent=2))
    merged = converted(adapted.merge_and_unload().state_dict())
    changed = [name for name in merged if not np.array_equal(merged[name], base[name])]

    def digests(dtype):
        kind = {name: dtype if merged[name].ndim == 2 else np.float32 for name in changed}
        return {name: hashlib.sha256(merged[name].astype(kind[name]).tobytes()).hexdigest()[:16] for name in changed}

    golden = [{"file": f"merged_{word}",
               "meaning": "PEFT's merge_and_unload in f32, then llama.cpp's names and rows; matrices in this dtype",
               "sha256_16": digests(dtype)} for word, dtype in (("f32", np.float32), ("f16", np.float16))]
    libs = {"gguf": "0.19.0", "peft": peft.__version__, "torch": torch.__version__.split("+")[0],
            "transformers": transformers.__version__}
    case = {"id": id, "seed": common.SEED, "category": "gguf", "spec": {"arch": "llama", **SPEC},
            "golden": golden, "libs": libs, "function": "merge_and_unload; GGUFWriter; LlamaModel.permute"}
    (out / "case.json").write_text(json.dumps(case, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
