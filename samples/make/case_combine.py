"""`peft-combined`: `add_weighted_adapter`, then `merge_and_unload`, of adapters that other samples hold.

The sample has no files of its own, only hashes of what PEFT 0.21.2 makes of the named base and adapters.
Run: `python samples/make/case_combine.py OUT`; `OUT/case.json` is the sample's, `OUT/*.safetensors` the weights.
"""

import hashlib
import json
import pathlib
import sys

import torch
from common import SAMPLES, save

ALL, A, B = "peft-lora-all-A/adapter", "peft-two-adapters-A/adapter_a", "peft-two-adapters-A/adapter_b"
PATTERNS, SUBSET = "peft-lora-patterns-A/adapter", "peft-lora-layers-subset-A/adapter"
HALF, ENDS = "peft-lora-bf16weights-A/adapter", "peft-lora-embedding-A/adapter"
TURNED = "peft-lora-conv1d-gpt2/adapter"
BASE_A, BASE_GPT2 = "base-A-bf16/model", "peft-lora-conv1d-gpt2/base"
# Name, base, kind, adapters with their weights, and what `--rounding` names the roundings of PEFT:
# `peft`: of `cat` on a base in float32, of which the result is rounded, because PEFT makes the new adapter in the
#   base's dtype and so rounds factors and delta; `linear` keeps its factors in float32.
# `peft-safe`: on the base as it is. `peft-0.11`: so, and with `autocast_adapter_dtype=False`.
RUNS = [
    ("cat-three-ranks", BASE_A, "cat", [(ALL, 0.6), (A, -0.3), (SUBSET, 1.7)], "peft"),
    ("cat-patterns", BASE_A, "cat", [(PATTERNS, 0.5), (ALL, 0.5)], "peft"),
    ("cat-conv1d", BASE_GPT2, "cat", [(TURNED, 0.3), (TURNED, 0.9)], "peft"),
    ("cat-safe-three-ranks", BASE_A, "cat", [(ALL, 0.6), (A, -0.3), (SUBSET, 1.7)], "peft-safe"),
    ("cat-safe-embeddings", BASE_A, "cat", [(ENDS, 0.8), (B, 0.25)], "peft-safe"),
    ("cat-0.11", BASE_A, "cat", [(A, 0.7), (B, 0.4)], "peft-0.11"),
    ("cat-of-one", BASE_A, "cat", [(A, 0.7)], "peft"),
    ("linear-three", BASE_A, "linear", [(HALF, 0.7), (B, -0.4), (SUBSET, 1.5)], "peft"),
    ("linear-embeddings", BASE_A, "linear", [(ENDS, 0.8), (B, -0.1)], "peft"),
    ("linear-safe", BASE_A, "linear", [(A, 0.7), (B, 0.4)], "peft-safe"),
    ("linear-0.11", BASE_A, "linear", [(A, 0.7), (B, 0.4)], "peft-0.11"),
    ("linear-of-one", BASE_A, "linear", [(B, -0.7)], "peft"),
    ("linear-conv1d", BASE_GPT2, "linear", [(TURNED, 0.3), (TURNED, 0.9)], "peft"),
]


def merged(base, kind, adapters, rounding):
    """Returns the weights that the combination of adapters changes."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(SAMPLES / base, dtype=torch.bfloat16)
    before = {name: t.clone() for name, t in plain.state_dict().items()}
    if kind == "cat" and rounding == "peft":
        plain = plain.float()
    names = [f"a{at}" for at in range(len(adapters))]
    cast = {"autocast_adapter_dtype": rounding != "peft-0.11"}
    made = PeftModel.from_pretrained(plain, SAMPLES / adapters[0][0], names[0], **cast)
    for name, (adapter, _) in list(zip(names, adapters))[1:]:
        made.load_adapter(SAMPLES / adapter, name, **cast)
    made.add_weighted_adapter(names, [weight for _, weight in adapters], "sum", combination_type=kind)
    made.set_adapter("sum")
    after = made.merge_and_unload(safe_merge=rounding == "peft-safe").state_dict()
    after = {name: t.bfloat16() for name, t in after.items()}
    return {name: t for name, t in after.items() if not torch.equal(t, before[name])}


def main(out):
    import peft

    golden = []
    out.mkdir(parents=True, exist_ok=True)
    for name, base, kind, adapters, rounding in RUNS:
        tensors = merged(base, kind, adapters, rounding)
        save(tensors, out, f"{name}.safetensors")
        hashes = {n: hashlib.sha256(t.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]
                  for n, t in sorted(tensors.items())}
        golden.append({"file": f"golden/{name}.safetensors", "base": base, "combination_type": kind,
                       "adapters": adapters, "rounding": rounding, "n": len(hashes), "sha256_16": hashes})
    facts = {"id": "peft-combined", "category": "peft", "format": "combinations of LoRA adapters",
             "libs": {"peft": peft.__version__, "torch": torch.__version__},
             "function": "add_weighted_adapter, merge_and_unload", "golden": golden}
    (out / "case.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
