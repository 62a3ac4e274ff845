"""`peft-conv`: LoRA, DoRA, LoHa and LoKr of convolutions, in a bare torch module of its own.

Run: `python samples/make/case_conv.py OUT`; `OUT/golden` holds the weights.
"""

import hashlib
import json
import pathlib
import sys

import torch
from common import SEED, fill, save


class Bare(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3)
        self.mix = torch.nn.Conv2d(8, 12, 1, bias=False)
        self.tall = torch.nn.Conv2d(12, 6, (5, 2))
        self.line = torch.nn.Conv1d(6, 10, 5)
        self.head = torch.nn.Linear(10, 4)

    def forward(self, x):
        raise NotImplementedError


def base():
    made = Bare().float()
    fill(made, SEED + 90)
    return made.bfloat16()


def main(out):
    import peft
    from peft import LoHaConfig, LoKrConfig, LoraConfig, PeftModel, get_peft_model

    save(base().state_dict(), out / "base")
    (out / "base" / "config.json").write_text('{"model_type": "bare"}\n')
    golden = []
    targets = ["stem", "mix", "tall", "line", "head"]
    flat = ["stem", "mix", "tall", "head"]
    for folder, config in (
        ("lora", LoraConfig(r=3, lora_alpha=7, target_modules=targets)),
        ("dora", LoraConfig(r=3, lora_alpha=7, target_modules=targets, use_dora=True)),
        ("loha", LoHaConfig(r=3, alpha=7, target_modules=flat)),
        ("loha-cp", LoHaConfig(r=3, alpha=7, target_modules=flat, use_effective_conv2d=True)),
        ("lokr", LoKrConfig(r=2, alpha=7, target_modules=flat)),
        ("lokr-full", LoKrConfig(r=16, alpha=7, target_modules=flat)),
        ("lokr-cp", LoKrConfig(r=1, alpha=3, target_modules=flat, use_effective_conv2d=True)),
    ):
        targets = sorted(config.target_modules)
        made = get_peft_model(base(), config)
        made.peft_config["default"].target_modules = targets
        g = torch.Generator().manual_seed(SEED * 7 + 50)
        with torch.no_grad():
            for name, p in made.named_parameters():
                if p.requires_grad:
                    noise = torch.randn(p.shape, generator=g)
                    p.copy_(p * (1 + 0.05 * noise) if "magnitude" in name else noise * (0.06 if "lora" in name else 0.3))
        made.save_pretrained(out / folder)
        (out / folder / "README.md").unlink(missing_ok=True)
        plain = base()
        before = {name: t.clone() for name, t in plain.state_dict().items()}
        after = PeftModel.from_pretrained(plain, out / folder).merge_and_unload().state_dict()
        after = {n: t for n, t in after.items() if not torch.equal(t, before[n])}
        save(after, out / "golden", f"{folder}.safetensors")
        hashes = {n: hashlib.sha256(t.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]
                  for n, t in sorted(after.items())}
        golden.append({"file": f"golden/{folder}.safetensors", "n": len(hashes), "sha256_16": hashes})
    facts = {"id": "peft-conv", "seed": SEED, "category": "peft", "format": "LoraConfig", "golden": golden,
             "libs": {"peft": peft.__version__, "torch": torch.__version__},
             "function": "get_peft_model, save_pretrained, PeftModel.from_pretrained, merge_and_unload"}
    (out / "case.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
