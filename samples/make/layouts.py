"""Writes the `layout-*` samples: names, dtypes and shapes of formats whose libraries need a GPU or are gone.

The codes are arbitrary; no value in these files means anything, and no library wrote them. Each folder has one
`q_proj`, `k_proj` and `down_proj` of a Llama (hidden 128, intermediate 256), or less where the format cannot
hold them. Needs only the standard library. Run: `python samples/make/layouts.py samples`.
"""

import pathlib
import sys

from container import save, save_json
from layout_cases import CASES


def write(root, sample, case):
    """Writes one sample: the layers of `make`, a norm, the config files and `case.json`."""
    folder = root / sample / "model"
    folder.mkdir(parents=True, exist_ok=True)
    layers, tensors = case["layers"], dict(case.get("more", {}))
    for name, shape in layers.items():
        tensors |= case["make"](name, *shape)
    save(folder / case.get("file", "model.safetensors"), tensors, case.get("metadata"))
    for name, value in case["configs"].items():
        save_json(folder / name, value)
    facts = {"id": sample, "category": "layout", "format": case["format"], "variant": case["variant"],
             "bits": case["bits"], "group_size": case["group_size"],
             "shapes": {name: list(case.get("shapes", layers)[name]) for name in layers},
             "made_by": "samples/make/layouts.py",
             "note": "random codes in the layout of the format; not written by the library"}
    save_json(root / sample / "case.json", facts)


if __name__ == "__main__":
    for sample_id, facts_of in CASES.items():
        write(pathlib.Path(sys.argv[1]), sample_id, facts_of)
