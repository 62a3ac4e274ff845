"""`peft-*`: `get_peft_model` on a base with the sample's own `adapter_config.json`, `save_pretrained`.

PEFT starts many weights at zero, so all that can be trained are drawn anew from one generator, in the model's order.
Of `peft-bad-keys` this writes the adapter `good`; `case_bad.py` makes the rest of it.
Run: `python samples/make/case_peft.py peft-lora-all-A OUT`.
"""

import json
import pathlib
import sys

import torch
from common import SAMPLES, SEED, case, fill, model

# Written by PEFT itself; its constructors do not take them.
NOT_OPTIONS = ("peft_type", "auto_mapping", "peft_version", "inference_mode")
# Places in the list that the adapters with one folder were made from; the others of it are not samples.
PLACES = {
    "peft-lora-all-A": 0, "peft-rslora-B": 4, "peft-dora-A": 5, "peft-lora-modules-to-save-B": 7,
    "peft-lora-embedding-A": 8, "peft-lora-patterns-A": 9, "peft-lora-bin-A": 14, "peft-lora-trainable-tokens-A": 15,
    "peft-ia3-A": 16, "peft-loha-A": 17, "peft-lokr-A": 18, "peft-adalora-A": 19, "peft-vera-A": 20,
}
SEEDS = {"peft-lora-moe-target-parameters": SEED + 51, "peft-bad-keys": SEED + 70}
SEEDS |= {id: SEED * 7 + place for id, place in PLACES.items()}


def moe():
    """Returns a Mixtral of one layer with three experts."""
    from transformers import MixtralConfig, MixtralForCausalLM

    made = MixtralForCausalLM(MixtralConfig(
        vocab_size=128, hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=3, num_experts_per_tok=2, max_position_embeddings=64)).float()
    fill(made, SEED + 1)
    return made.bfloat16()


def config_of(stored):
    """Returns the PEFT config of an `adapter_config.json`."""
    import peft

    kind = next(c for c in (getattr(peft, n) for n in dir(peft) if n.endswith("Config"))
                if c.__name__.removesuffix("Config").upper() == stored["peft_type"])
    return kind(**{k: v for k, v in stored.items() if k not in NOT_OPTIONS and v is not None})


def drawn(name, p, g):
    """Returns new values of a parameter: a scale each kind, small steps from what the base model gave."""
    noise = torch.randn(p.shape, generator=g)
    if "lora_A" in name or "lora_embedding_A" in name:
        return noise * 0.02 * 3
    if "magnitude" in name:
        return p * (1 + 0.05 * noise)
    if "ia3" in name:
        return 1 + 0.2 * noise
    if "modules_to_save" in name or "trainable_tokens" in name:
        return p + (0.01 * noise).to(p.dtype)
    return noise * 0.02


def main(id, out):
    from peft import get_peft_model

    folder = "good" if id == "peft-bad-keys" else "adapter"
    stored = json.loads((SAMPLES / id / folder / "adapter_config.json").read_text())
    facts = case(id)
    if id == "peft-lora-moe-target-parameters":
        base = moe()
        base.save_pretrained(out / "base")
    else:
        dtype = facts.get("base_dtype", "torch.bfloat16").removeprefix("torch.")
        base = model(facts["base_case"].split("-")[1], dtype)
    base.name_or_path = base.config._name_or_path = stored["base_model_name_or_path"]
    made = get_peft_model(base, config_of(stored))
    # Sets until here: their order would differ from run to run.
    for option in ("target_modules", "target_parameters"):
        if stored.get(option):
            setattr(made.peft_config["default"], option, stored[option])
    g = torch.Generator().manual_seed(SEEDS[id])
    with torch.no_grad():
        for name, p in made.named_parameters():
            if p.requires_grad:
                p.copy_(drawn(name, p, g))
    made.save_pretrained(out / folder)
    if id == "peft-lora-bin-A":
        tensors = made.state_dict()
        keep = {n.replace(".default", ""): t for n, t in tensors.items() if "lora_" in n}
        torch.save(keep, out / "adapter" / "adapter_model.bin")
        (out / "adapter" / "adapter_model.safetensors").unlink()


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
