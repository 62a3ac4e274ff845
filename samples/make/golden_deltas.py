"""`tests/it/deltas.json`: how much adapters change each weight, by PEFT's own merge in f64.

Norms of the change and of the weight before it, and of methods whose change is the product of two thin matrices the
effective rank: exp of the entropy of the singular values as shares of their sum.
Run: `python samples/make/golden_deltas.py > tests/it/deltas.json`.
"""

import json

import torch
from common import SAMPLES
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModelForCausalLM

CASES = ("peft-lora-all-A", "peft-rslora-B", "peft-dora-A", "peft-lora-embedding-A", "peft-lora-patterns-A",
         "peft-ia3-A", "peft-loha-A", "peft-lokr-A", "peft-adalora-A", "peft-vera-A", "peft-oft-A")
# Of these the change is a product of two thin matrices.
PRODUCTS = ("LORA", "ADALORA", "VERA")


def deltas(id):
    folder = SAMPLES / id / "adapter"
    config = json.loads((folder / "adapter_config.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(SAMPLES / f"base-{id[-1]}-bf16" / "model").double()
    made = PeftModel.from_pretrained(base, folder, torch_device="cpu").double()
    is_product = config["peft_type"] in PRODUCTS and not config.get("use_dora")
    found = {}
    for name, layer in made.base_model.model.named_modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        weight = layer.get_base_layer().weight
        before = weight.detach().clone()
        layer.merge()
        change = weight.detach() - before
        entry = {"norm": change.norm().item(), "base_norm": before.norm().item()}
        if is_product:
            shares = torch.linalg.svdvals(change)
            shares = shares[shares > 1e-9 * shares[0]]
            shares = shares / shares.sum()
            entry["effective_rank"] = torch.exp(-(shares * shares.log()).sum()).item()
        found[name] = entry
    return found


print(json.dumps({id: deltas(id) for id in CASES}, separators=(",", ":")))
