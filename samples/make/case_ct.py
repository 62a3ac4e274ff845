"""`ct-*`: `llmcompressor.oneshot(QuantizationModifier)`, `save_pretrained(save_compressed=True)`.

Not run when it was written down: see README.md. The scheme is that of `case.json`, a preset's name or weights'
own arguments. Run: `python samples/make/case_ct.py ct-w4a16-sym-g128-A OUT`.
"""

import pathlib
import sys

from common import case, model


def main(id, out):
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    facts = case(id)
    made = model(id[-1], "bfloat16", layers=facts["layers"])
    scheme = facts["scheme"]
    if isinstance(scheme, str):
        recipe = QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"])
    else:
        groups = {"group_0": {"targets": ["Linear"], "weights": scheme}}
        recipe = QuantizationModifier(config_groups=groups, ignore=["lm_head"])
    oneshot(model=made, recipe=recipe)
    made.save_pretrained(out / "model", save_compressed=True)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
