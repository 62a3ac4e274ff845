"""`peft-vera-nosave-A`: VeRA with `save_projection=False`, whose projections come of a generator when it is loaded.

`case.json` also has hashes of what the generator gives for other keys and sizes.
Run: `python samples/make/case_vera.py OUT`; `OUT/golden` holds the weights.
"""

import hashlib
import json
import pathlib
import sys

import torch
from common import SAMPLES, SEED, model, save

# Key, r, largest input, largest output.
PROJECTIONS = [(0, 4, 16, 8), (1, 7, 33, 19), (12345, 256, 128, 256), (2**31, 8, 300, 500), (2**40 + 7, 3, 1, 2),
               (2**64 - 1, 5, 1000, 70), (-3, 16, 64, 64)]


def sha(t):
    return hashlib.sha256(t.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def main(out):
    import peft
    from peft import PeftModel, VeraConfig, get_peft_model
    from peft.tuners.vera.model import _kaiming_init
    from transformers import AutoModelForCausalLM

    base = model("A", "bfloat16")
    base.name_or_path = base.config._name_or_path = "base-A-bf16"
    made = get_peft_model(base, VeraConfig(
        r=12, target_modules=["k_proj", "up_proj", "down_proj"], projection_prng_key=77, save_projection=False,
        d_initial=0.1, task_type="CAUSAL_LM"))
    made.peft_config["default"].target_modules = ["k_proj", "up_proj", "down_proj"]
    g = torch.Generator().manual_seed(SEED * 7 + 40)
    with torch.no_grad():
        for _, p in made.named_parameters():
            if p.requires_grad:
                p.copy_(torch.randn(p.shape, generator=g) * 0.1)
    made.save_pretrained(out / "adapter")
    (out / "adapter" / "README.md").unlink(missing_ok=True)

    plain = AutoModelForCausalLM.from_pretrained(SAMPLES / "base-A-bf16/model", dtype=torch.bfloat16)
    before = {name: t.clone() for name, t in plain.state_dict().items()}
    after = PeftModel.from_pretrained(plain, out / "adapter").merge_and_unload().state_dict()
    changed = {name: t for name, t in after.items() if not torch.equal(t, before[name])}
    save(changed, out / "golden", "merged.safetensors")

    made = []
    for key, r, inputs, outputs in PROJECTIONS:
        g = torch.Generator(device="cpu").manual_seed(key)
        a, b = _kaiming_init((r, inputs), generator=g), _kaiming_init((outputs, r), generator=g)
        made.append({"key": key, "r": r, "inputs": inputs, "outputs": outputs, "vera_A": sha(a), "vera_B": sha(b)})
    facts = {"id": "peft-vera-nosave-A", "seed": SEED, "category": "peft", "format": "VeraConfig",
             "base_case": "base-A-bf16", "libs": {"peft": peft.__version__, "torch": torch.__version__},
             "function": "get_peft_model, save_pretrained, PeftModel.from_pretrained, merge_and_unload; _kaiming_init",
             "golden": [{"file": "golden/merged.safetensors", "n": len(changed),
                         "sha256_16": {n: sha(t) for n, t in sorted(changed.items())}}],
             "projections": made}
    (out / "case.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
