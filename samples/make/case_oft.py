"""`peft-oft-A`: OFT of `q_proj` and `down_proj`, each block by itself (`adapter`) and one for all (`shared`).

The angles are drawn from one generator. The variants of OFT have the same tensors: each golden names what it changes
in `adapter_config.json`. The hashes are of PEFT's result on base and adapter in float64, rounded to bfloat16;
`float32_differs` counts the elements where PEFT's result on the base as it is differs from that, by one unit. Run: `python samples/make/case_oft.py OUT`; `OUT/golden` holds the weights.
"""

import hashlib
import json
import pathlib
import shutil
import sys
import tempfile

import torch
from common import SAMPLES, SEED, model, save

# Name, folder, changes of the config, and whether `safe_merge` is asked for.
RUNS = [
    ("neumann", "adapter", {}, False),
    ("neumann-safe", "adapter", {}, True),
    ("cayley", "adapter", {"use_cayley_neumann": False}, False),
    ("terms-1", "adapter", {"num_cayley_neumann_terms": 1}, False),
    ("terms-2", "adapter", {"num_cayley_neumann_terms": 2}, False),
    ("terms-3", "adapter", {"num_cayley_neumann_terms": 3}, False),
    ("terms-4", "adapter", {"num_cayley_neumann_terms": 4}, False),
    ("terms-8", "adapter", {"num_cayley_neumann_terms": 8}, False),
    ("coft", "adapter", {"coft": True, "eps": 0.2}, False),
    ("shared", "shared", {}, False),
    ("shared-cayley", "shared", {"use_cayley_neumann": False}, False),
    ("shared-coft", "shared", {"coft": True, "eps": 0.05}, False),
]


def adapters(out):
    from peft import OFTConfig, get_peft_model

    for folder, share in (("adapter", False), ("shared", True)):
        base = model("A", "bfloat16")
        base.name_or_path = base.config._name_or_path = "base-A-bf16"
        made = get_peft_model(base, OFTConfig(
            target_modules=["q_proj", "down_proj"], oft_block_size=8, block_share=share, task_type="CAUSAL_LM"))
        made.peft_config["default"].target_modules = ["q_proj", "down_proj"]
        g = torch.Generator().manual_seed(SEED * 7 + 30 + share)
        with torch.no_grad():
            for _, p in made.named_parameters():
                if p.requires_grad:
                    # Angles of many sizes: `coft` keeps some blocks and shrinks others.
                    p.copy_(torch.randn(p.shape, generator=g) * 0.1 * torch.rand(p.shape[:1] + (1,), generator=g))
        made.save_pretrained(out / folder)
        (out / folder / "README.md").unlink(missing_ok=True)


def merged(folder, changes, safe, dtype):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(SAMPLES / "base-A-bf16/model", dtype=torch.bfloat16)
    before = {name: t.clone() for name, t in plain.state_dict().items()}
    with tempfile.TemporaryDirectory() as changed:
        shutil.copytree(folder, changed, dirs_exist_ok=True)
        config = pathlib.Path(changed) / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | changes))
        made = PeftModel.from_pretrained(plain.to(dtype), changed)
    if dtype == torch.float64:
        made = made.double()
    after = made.merge_and_unload(safe_merge=safe).state_dict()
    assert all(t.dtype == dtype for t in after.values())
    after = {name: t.bfloat16() for name, t in after.items()}
    return {name: t for name, t in after.items() if not torch.equal(t, before[name])}


def main(out):
    import peft

    adapters(out)
    golden = []
    (out / "golden").mkdir(exist_ok=True)
    for name, folder, changes, safe in RUNS:
        tensors = merged(out / folder, changes, safe, torch.float64)
        plain = merged(out / folder, changes, safe, torch.bfloat16)
        differs = sum(int((t != plain[n]).sum()) for n, t in tensors.items())
        # Neighbours among bfloat16 values have neighbouring bits.
        assert all((t.view(torch.int16).int() - plain[n].view(torch.int16).int()).abs().max() <= 1
                   for n, t in tensors.items())
        save(tensors, out / "golden", f"{name}.safetensors")
        hashes = {n: hashlib.sha256(t.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]
                  for n, t in sorted(tensors.items())}
        golden.append({"file": f"golden/{name}.safetensors", "folder": folder, "changes": changes,
                       "safe_merge": safe, "float32_differs": differs, "n": len(hashes), "sha256_16": hashes})
    facts = {"id": "peft-oft-A", "seed": SEED, "category": "peft", "format": "OFTConfig", "base_case": "base-A-bf16",
             "libs": {"peft": peft.__version__, "torch": torch.__version__},
             "function": "get_peft_model, save_pretrained, PeftModel.from_pretrained, merge_and_unload",
             "golden": golden}
    (out / "case.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
