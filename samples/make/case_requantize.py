"""`requantized-gptq-awq`: what GPTQModel and AutoAWQ make of plain weights, without calibration, as hashes.

The weights are those of `base-A-bf16`, `base-B-bf16` and of `model/`, whose groups are odd: rows of zeros and of -0.0,
one value throughout, no negative value, outliers of 400 deviations, subnormals. They are cast to F16 first, as
these libraries load them. GPTQ as in `case_gptq.py`, AWQ as in `case_awq.py`. AutoAWQ packs outputs by 32
only, and clips groups on one side of 0, so that the tensors with such groups are left out of its cases; so are those
of GPTQ with a scale that F16 rounds to 0.
Run: `python samples/make/case_requantize.py OUT`.
"""

import hashlib
import importlib.metadata
import json
import pathlib
import sys

import torch
from common import SAMPLES, SEED
from safetensors.torch import load_file, save_file

GPTQ = [(bits, group, sym, files) for bits in (2, 3, 4, 8) for group, sym, files in
        [(128, True, "v1"), (32, False, "v2"), (48, False, "v1"), (-1, True, "v2")]]
AWQ = [128, 32, 16, -1]


def gptq(weight, bits, group, sym, files):
    """Returns the tensors of one layer, or None if the library cannot pack its shape into whole words."""
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization.config import QuantizeConfig
    from gptqmodel.quantization.quantizer import Quantizer
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    out, inp = weight.shape
    if inp * bits % 32 or out * bits % 32 or bits == 3 and (inp % 32 or out % 32):
        return None
    group = inp if group == -1 else group
    settings = QuantizeConfig(bits=bits, group_size=-1, sym=sym, desc_act=False)
    g_idx = (torch.arange(inp) // group).int()
    scales, zeros = [], []
    for start in range(0, inp, group):
        quantizer = Quantizer(settings)
        quantizer.configure(perchannel=True)
        quantizer.find_params(weight[:, start:start + group].float(), weight=True)
        scales.append(quantizer.scale.half().float())
        zeros.append(quantizer.zero)
    if any((scale == 0).any() for scale in scales):
        return None
    layer = TorchLinear(bits=bits, group_size=inp, sym=sym, desc_act=False, in_features=inp, out_features=out, bias=False)
    linear = torch.nn.Linear(inp, out, bias=False)
    linear.weight.data = weight
    layer.pack_original(linear, torch.cat(scales, 1), torch.cat(zeros, 1), g_idx)
    if files == "v1":
        convert_gptq_v2_to_v1_format_module(layer, settings)
    return {key: getattr(layer, key) for key in ("qweight", "qzeros", "scales", "g_idx")}


def awq(weight, group):
    """Returns the tensors of one layer, or None if the library cannot pack its shape, or clips a group."""
    from awq.modules.linear import WQLinear_GEMM
    from awq.quantize.quantizer import AwqQuantizer

    out, inp = weight.shape
    size = inp if group == -1 else group
    if inp % size or out % 32:
        return None
    groups = weight.reshape(-1, size)
    if (groups.amin(1) > 0).any() or (groups.amax(1) < 0).any():
        return None
    quantizer = AwqQuantizer.__new__(AwqQuantizer)
    quantizer.w_bit, quantizer.group_size, quantizer.zero_point = 4, group, True
    linear = torch.nn.Linear(inp, out, bias=False)
    linear.weight.data, scales, zeros = quantizer.pseudo_quantize_tensor(weight)
    layer = WQLinear_GEMM.from_linear(linear, 4, size, False, scales.t().contiguous(), zeros.t().contiguous())
    return {key: getattr(layer, key) for key in ("qweight", "qzeros", "scales")}


def odd():
    """Returns weights whose groups are odd."""
    g = torch.Generator().manual_seed(SEED + 71)
    noise = lambda out, inp: (torch.randn(out, inp, generator=g) * 0.02).half()
    q, k, v, o = noise(64, 96), noise(32, 96), noise(32, 96), noise(96, 64)
    q.view(-1)[::97] *= 400
    q[3], q[4], q[5, 10:80] = 0.0, -0.0, 0.0
    k = torch.round(k * 1e-3 * 2**24).div(2**24).half()
    k[7], k[9, ::2] = 6e-7, 1e-6
    v[1], v[2], v[3] = 0.75, -0.125, v[3].abs()
    v[4], v[5, :32], v[6] = -v[4].abs(), 1.5, v[6].abs() + 1
    o *= 100000
    o[0, 0], o[1, 5] = 30000, -32768
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    made = {f"model.layers.0.self_attn.{name}.weight": w.contiguous() for name, w in zip(names, (q, k, v, o))}
    for name, shape in (("gate_proj", (32, 96)), ("up_proj", (32, 96)), ("down_proj", (96, 32))):
        made[f"model.layers.0.mlp.{name}.weight"] = noise(*shape)
    for name in ("model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm", "model.norm"):
        made[f"{name}.weight"] = torch.ones(96).half()
    return made | {"model.embed_tokens.weight": noise(32, 96), "lm_head.weight": noise(32, 96)}


def digest(tensors):
    """Returns the hash of a layer's tensors, one behind the other, in the order of their names."""
    parts = [tensors[key].contiguous().view(torch.uint8).numpy().tobytes() for key in sorted(tensors)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def main(out):
    (out / "model").mkdir(parents=True, exist_ok=True)
    weights = odd()
    save_file(weights, out / "model" / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float16",
              "hidden_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
              "head_dim": 32, "intermediate_size": 32, "vocab_size": 32}
    (out / "model" / "config.json").write_text(json.dumps(config, indent=1))
    bases = {"requantized-gptq-awq/model": weights}
    for base in ("base-A-bf16/model", "base-B-bf16/model"):
        bases[base] = load_file(SAMPLES / base / "model.safetensors")
    golden = []
    for base, tensors in bases.items():
        linears = {k.removesuffix(".weight"): w.half() for k, w in tensors.items() if k.endswith("_proj.weight")}
        jobs = [(["gptq", "--bits", str(bits), "--group-size", str(group), "--gptq-format", files]
                 + ([] if sym else ["--asym"]), lambda w, o=(bits, group, sym, files): gptq(w, *o))
                for bits, group, sym, files in GPTQ]
        jobs += [(["awq", "--group-size", str(group)], lambda w, group=group: awq(w, group)) for group in AWQ]
        for args, make in jobs:
            layers = {name: made for name, w in linears.items() if (made := make(w))}
            if layers:
                hashes = {name: digest(made) for name, made in sorted(layers.items())}
                golden.append({"base": base, "to": args, "sha256_16": hashes})
    libs = {name: importlib.metadata.version(name) for name in ("gptqmodel", "autoawq", "torch")}
    facts = {"id": "requantized-gptq-awq", "seed": SEED, "category": "requantized", "format": "gptq, awq", "libs": libs,
             "function": "Quantizer.find_params, TorchLinear.pack_original; AwqQuantizer.pseudo_quantize_tensor, "
                         "WQLinear_GEMM.from_linear", "golden": golden}
    (out / "case.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
