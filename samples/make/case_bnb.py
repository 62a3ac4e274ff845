"""`bnb-*`: bitsandbytes on the CPU, through transformers; `bnb-bare-tensors` by bitsandbytes alone.

`AutoModelForCausalLM.from_pretrained(base, quantization_config=BitsAndBytesConfig(**options))`, then
`save_pretrained`. The options are those of `case.json`. Run: `python samples/make/case_bnb.py bnb-nf4-A OUT`.
"""

import pathlib
import re
import sys
import tempfile

import torch
from common import SAMPLES, case, model, save
from safetensors.torch import load_file


def option(text):
    """`case.json` keeps options as text: `True`, `nf4`, `torch.bfloat16`, `['o_proj']`."""
    if text in ("True", "False"):
        return text == "True"
    if text.startswith("torch."):
        return getattr(torch, text.removeprefix("torch."))
    return re.findall(r"'([^']*)'", text) if text.startswith("[") else text


def bare(out):
    """4-bit tensors of all block sizes and odd widths, from the sources (`nf4.bs64.dq1.17x130.src`) that the
    sample keeps beside them, and 4 × 64 zeros."""
    import bitsandbytes.functional as F

    tensors = {}
    for name, source in load_file(SAMPLES / "bnb-bare-tensors" / "tensors.safetensors").items():
        if not name.endswith(".src"):
            continue
        tensors[name] = source
        stem = name.removesuffix(".src")
        kind, block, nested, _ = stem.split(".")
        tensors |= packed(F.quantize_4bit(source, blocksize=int(block[2:]), quant_type=kind,
                                          compress_statistics=nested == "dq1"), stem)
    zeros = torch.zeros(4, 64, dtype=torch.bfloat16)
    tensors |= packed(F.quantize_4bit(zeros, blocksize=64, quant_type="nf4"), "zeros")
    save(tensors, out, "tensors.safetensors", metadata=False)


def packed(quantized, stem):
    """Returns codes and quant state under the names that transformers gives them."""
    codes, state = quantized
    return {f"{stem}.weight": codes} | {f"{stem}.weight.{k}": v for k, v in state.as_dict(packed=True).items()}


def main(id, out):
    if id == "bnb-bare-tensors":
        return bare(out)
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    facts = case(id)
    dtype = facts["base_dtype"].removeprefix("torch.")
    options = {key: option(value) for key, value in facts["options"].items()}
    with tempfile.TemporaryDirectory() as base:
        model(id[-1], dtype).save_pretrained(base)
        made = AutoModelForCausalLM.from_pretrained(
            base, quantization_config=BitsAndBytesConfig(**options), dtype=getattr(torch, dtype),
            device_map="cpu")
    made.save_pretrained(out / "model")


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
