"""`ct-*`: `llmcompressor.oneshot(QuantizationModifier)`, `save_pretrained(save_compressed=True)`.

The scheme is that of `case.json`, a preset's name or weights'
own arguments. Run: `python samples/make/case_ct.py ct-w4a16-sym-g128-A OUT`.
"""

import pathlib
import sys
import tempfile

import torch
from common import case, model


def main(id, out):
    facts = case(id)
    with tempfile.TemporaryDirectory() as base:
        model(id[-1], "bfloat16", layers=facts["layers"]).save_pretrained(base)
        compress(base, facts["scheme"], out)


def compress(base, scheme, out):
    """Quantizes the model in `base`; llmcompressor wants one that came from a folder."""
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import AutoModelForCausalLM

    made = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    if isinstance(scheme, str):
        recipe = QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"])
    else:
        groups = {"group_0": {"targets": ["Linear"], "weights": scheme}}
        recipe = QuantizationModifier(config_groups=groups, ignore=["lm_head"])
    oneshot(model=made, recipe=recipe)
    made.save_pretrained(out / "model", save_compressed=True)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
