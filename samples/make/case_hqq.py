"""`hqq-mixed-A`: a different width and axis for each linear. `HQQLinear(...).state_dict()`, one layer, f16.

Run: `python samples/make/case_hqq.py hqq-mixed-A OUT`.
"""

import pathlib
import sys

import torch
from common import linears, model, save
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

# Bits and axis of each linear, in groups of 64.
SCHEMES = {"q_proj": (4, 0), "k_proj": (8, 1), "v_proj": (3, 0), "o_proj": (2, 1), "gate_proj": (4, 0),
           "up_proj": (8, 1), "down_proj": (1, 0)}


def main(out):
    made = model("A", "float16", layers=1)
    tensors = {}
    for name, linear in linears(made).items():
        bits, axis = SCHEMES[name.rsplit(".", 1)[1]]
        layer = HQQLinear(linear, BaseQuantizeConfig(nbits=bits, group_size=64, axis=axis),
                          compute_dtype=torch.float16, device="cpu", del_orig=False)
        state = layer.state_dict()
        tensors |= {f"{name}.{key}": value for key, value in state.items() if torch.is_tensor(value)}
    save(tensors, out, "tensors.safetensors", metadata=False)
    (out / "meta.json").write_text("{}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[2]))
