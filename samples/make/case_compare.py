"""`compared`: how far the dequantized tensors of other samples lie from their 16-bit base, by numpy in f64.

The sample has no files of its own. The tensors are those whose hashes stand in each sample's `case.json`, which are
checked here: `CASES/<sample>/golden/*.safetensors`, as the family's script writes them. Those of the two GGUF files
get Hugging Face's names and order of rows, and are held against each other.
Run: `python samples/make/case_compare.py CASES OUT`; `OUT/case.json` is the sample's.
"""

import hashlib
import json
import pathlib
import sys

import numpy
from common import SAMPLES
from safetensors.torch import load_file

BASES = {"A": "base-A-bf16", "B": "base-B-bf16"}
QUANTIZED = [
    "gptq-w4-g128-sym-v1-A", "gptq-w8-g128-sym-v1-A", "awq-gemm-g128-A", "bnb-nf4-A", "bnb-fp4-A", "bnb-int8-A",
    "bnb-nf4-dq-B", "ct-w4a16-sym-g128-A", "ct-w8a8-int8-A", "ct-fp8-dynamic-channel-A", "fp8-block128-A",
]
GGUF = ("gguf-q4_k_m-K", "gguf-mixed-K")
HEADS = {"q": 4, "k": 2}
NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "blk.0.attn_norm": "model.layers.0.input_layernorm", "blk.0.ffn_norm": "model.layers.0.post_attention_layernorm",
    "blk.0.attn_q": "model.layers.0.self_attn.q_proj", "blk.0.attn_k": "model.layers.0.self_attn.k_proj",
    "blk.0.attn_v": "model.layers.0.self_attn.v_proj", "blk.0.attn_output": "model.layers.0.self_attn.o_proj",
    "blk.0.ffn_gate": "model.layers.0.mlp.gate_proj", "blk.0.ffn_up": "model.layers.0.mlp.up_proj",
    "blk.0.ffn_down": "model.layers.0.mlp.down_proj",
}


def checked(tensors, hashes):
    """Returns the tensors, whose bytes must have these hashes."""
    import torch

    for name, tensor in tensors.items():
        data = tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        assert hashlib.sha256(data).hexdigest()[:16] == hashes[name], name
    return tensors


def wide(tensor):
    import torch

    return tensor.to(torch.float64).numpy()


def figures(a, b):
    """Returns the figures of two arrays of float64."""
    apart = numpy.abs(a - b)
    norm = numpy.linalg.norm
    return {
        "count": a.size,
        "changed": int((a != b).sum()),
        "max_abs": float(apart.max()),
        "at": [int(i) for i in numpy.unravel_index(apart.argmax(), a.shape)],
        "mean_abs": float(apart.mean()),
        "relative_l2": float(norm((a - b).ravel()) / norm(b.ravel())),
        "cosine": float(a.ravel() @ b.ravel() / (norm(a.ravel()) * norm(b.ravel()))),
    }


def quantized(cases, sample):
    """Returns the figures of a quantized sample against its base: packed layers decoded, the others as stored."""
    spec = json.loads((SAMPLES / sample / "case.json").read_text())
    golden = next(golden for golden in spec["golden"] if golden["file"] == "golden/dequant_native.safetensors")
    decoded = checked(load_file(cases / sample / golden["file"]), golden["sha256_16"])
    stored = load_file(SAMPLES / sample / "model" / "model.safetensors")
    base = load_file(SAMPLES / BASES[sample[-1]] / "model" / "model.safetensors")
    out = {}
    for name, b in base.items():
        # Some samples have one layer of the base's two.
        a = decoded.get(name, stored.get(name))
        if a is not None:
            out[name.removesuffix(".weight")] = figures(wide(a), wide(b))
    return out


def unpermuted(name, tensor):
    """Returns the rows in the order of Hugging Face's rotary embedding."""
    for leaf, heads in HEADS.items():
        if name == f"blk.0.attn_{leaf}":
            rows, columns = tensor.shape
            return tensor.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
    return tensor


def gguf(cases, sample):
    """Returns the tensors of a GGUF file by Hugging Face's names, as transformers gives them."""
    spec = json.loads((SAMPLES / sample / "case.json").read_text())
    golden = spec["golden"][0]
    tensors = checked(load_file(cases / sample / golden["file"]), golden["sha256_16"])
    named = {}
    for name, tensor in tensors.items():
        stem = name.removesuffix(".weight")
        named[f"{NAMES[stem]}.weight"] = unpermuted(stem, tensor)
    hashes = next(of for of in spec["hash_only"] if of["name"] == "hf_f32")["sha256_16"]
    return checked(named, hashes)


def main():
    cases, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    compared = []
    for sample in QUANTIZED:
        pair = {"a": f"{sample}/model", "b": f"{BASES[sample[-1]]}/model"}
        compared.append({**pair, "values": quantized(cases, sample)})
    a, b = (gguf(cases, sample) for sample in GGUF)
    values = {name.removesuffix(".weight"): figures(wide(a[name]), wide(b[name])) for name in sorted(a)}
    compared.append({"a": f"{GGUF[0]}/model.gguf", "b": f"{GGUF[1]}/model.gguf", "values": values})
    case = {
        "id": "compared",
        "category": "compare",
        "format": "figures of differences",
        "libs": {"numpy": numpy.__version__},
        "function": "numpy in float64",
        "compared": compared,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "case.json").write_text(json.dumps(case, indent=1) + "\n")


main()
