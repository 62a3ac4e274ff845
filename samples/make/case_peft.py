"""`peft-*`: `get_peft_model` on base A or B with the sample's own `adapter_config.json`, `save_pretrained`.

PEFT starts many weights at zero, so all of an adapter's are drawn anew. The samples' draws are not known any more:
names, dtypes and shapes are the same, the values are not. Run: `python samples/make/case_peft.py peft-lora-all-A OUT`.
"""

import json
import pathlib
import sys

import torch
from common import SAMPLES, SEED, case, model

# Written by PEFT itself; its constructors do not take them.
NOT_OPTIONS = ("peft_type", "auto_mapping", "peft_version", "inference_mode")


def config_of(id):
    """Returns the PEFT config of a sample."""
    import peft

    stored = json.loads((SAMPLES / id / "adapter" / "adapter_config.json").read_text())
    kind = next(c for c in (getattr(peft, n) for n in dir(peft) if n.endswith("Config"))
                if c.__name__.removesuffix("Config").upper() == stored["peft_type"])
    return kind(**{k: v for k, v in stored.items() if k not in NOT_OPTIONS and v is not None})


def main(id, out):
    from peft import get_peft_model

    facts = case(id)
    base = model(facts["base_case"].split("-")[1], facts["base_dtype"].removeprefix("torch."))
    made = get_peft_model(base, config_of(id))
    made.peft_config["default"].base_model_name_or_path = facts["base_case"]
    g = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for p in made.parameters():
            if p.requires_grad:
                p.copy_(torch.randn(p.shape, generator=g) * 0.02)
    made.save_pretrained(out / "adapter")
    if id == "peft-lora-bin-A":
        tensors = made.state_dict()
        keep = {n.replace(".default", ""): t for n, t in tensors.items() if "lora_" in n}
        torch.save(keep, out / "adapter" / "adapter_model.bin")
        (out / "adapter" / "adapter_model.safetensors").unlink()


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
