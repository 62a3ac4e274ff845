"""`bin-*`: `torch.save`, zip and legacy, sharded, with views, shared storage, a scalar, an empty tensor.

Run: `python samples/make/case_pickles.py bin-variants OUT`. Of `bin-malicious`, see `case_malicious.py`.
"""

import json
import pathlib
import sys
from collections import OrderedDict

import torch
from common import SEED, model, save_config


def variants():
    g = torch.Generator().manual_seed(SEED)
    base = torch.randn(40, 30, generator=g)
    return OrderedDict({
        "a": base[:, 5:20], "b.transposed": base.t(), "c.f16": base[:3].half(), "d.bf16": base[3:6].bfloat16(),
        "e.int": torch.arange(7), "f.scalar": torch.tensor(3.5), "g.empty": torch.empty(0, 4),
        "h.shared1": base[0], "i.shared2": base[0], "j.bool": torch.tensor([True, False]),
        "k.param": torch.nn.Parameter(base[:2].clone()), "l.u8": torch.arange(256).to(torch.uint8),
    })


def sharded(out):
    """Writes the tensors of base-A in their order, in two halves by count."""
    made = model("A", "bfloat16")
    tensors = made.state_dict()
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    names = list(tensors)
    half = len(names) // 2
    shards = [{name: tensors[name] for name in part} for part in (names[:half], names[half:])]
    places = {}
    for number, shard in enumerate(shards, 1):
        file = f"pytorch_model-{number:05}-of-{len(shards):05}.bin"
        torch.save(shard, out / "model" / file)
        places |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (out / "model" / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1))
    save_config(made, out / "model")


def main(id, out):
    (out / "model" if id == "bin-sharded-A" else out).mkdir(parents=True, exist_ok=True)
    if id == "bin-sharded-A":
        return sharded(out)
    tensors = variants()
    torch.save(tensors, out / "zip.bin")
    torch.save(tensors, out / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": dict(tensors), "epoch": 3, "optimizer": {"lr": 0.1}}, out / "nested.pt")
    return None


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
