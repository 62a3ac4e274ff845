"""`fp8-block*`: blocks of e4m3 with `weight_scale_inv`, as transformers' fine-grained FP8 quantizes; one layer.

transformers' `Fp8Quantize` where the blocks divide the weight; it passes by others. For those, and for E8M0
scales, the rule by hand: `scale = amax / 448` (rounded up to a power of two), `code = weight / scale`.
Run: `python samples/make/case_fp8.py fp8-block128-A OUT`.
"""

import pathlib
import sys
import types

import torch
from common import case, linears, model, save, save_config

FP8_MAX = 448.0


def blocks(weight, high, wide, is_power):
    """Returns codes and inverse scales of one weight, the last blocks cut off where they stand over."""
    rows, columns = weight.shape
    codes = torch.empty(rows, columns, dtype=torch.float8_e4m3fn)
    inverse = torch.empty(-(-rows // high), -(-columns // wide))
    for r in range(inverse.shape[0]):
        for c in range(inverse.shape[1]):
            at = (slice(r * high, (r + 1) * high), slice(c * wide, (c + 1) * wide))
            block = weight[at].float()
            amax = block.abs().max()
            inverse[r, c] = torch.where(amax > 0, amax, torch.ones(())) / FP8_MAX
            if is_power:
                inverse[r, c] = 2.0 ** torch.ceil(torch.log2(inverse[r, c]))
            codes[at] = torch.clamp(block / inverse[r, c], -FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)
    return codes, inverse.to(torch.float8_e8m0fnu) if is_power else inverse


def by_library(name, weight, high, wide):
    """Returns codes and inverse scales as transformers makes them."""
    from transformers import FineGrainedFP8Config
    from transformers.integrations.finegrained_fp8 import Fp8Quantize

    config = FineGrainedFP8Config(weight_block_size=(high, wide))
    quantizer = types.SimpleNamespace(quantization_config=config)
    made = Fp8Quantize(quantizer)._quantize_one(f"{name}.weight", weight)
    return made[f"{name}.weight"], made[f"{name}.weight_scale_inv"]


def main(id, out):
    high, wide = case(id)["block"]
    made = model(id[-1], "bfloat16", layers=1)
    tensors = dict(made.state_dict())
    for name in linears(made):
        weight = tensors[f"{name}.weight"]
        divides = weight.shape[0] % high == 0 and weight.shape[1] % wide == 0
        if divides and "ue8m0" not in id:
            codes, inverse = by_library(name, weight, high, wide)
        else:
            codes, inverse = blocks(weight, high, wide, "ue8m0" in id)
        tensors |= {f"{name}.weight": codes, f"{name}.weight_scale_inv": inverse}
    save(tensors, out / "model")
    save_config(made, out / "model", {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                                      "weight_block_size": [high, wide]})


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
