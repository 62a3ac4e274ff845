"""What numpy says of the values of samples: the figures that `tests/it/stats.rs` holds `ckpt stats` against.

CASES is a folder like `samples` whose cases have `golden/dequant_native.safetensors` or `dequant_f32`, the reference
libraries' decoded layers. Plain layers are read from the checkpoint itself. Sums are `math.fsum`, all else numpy in f64.

Run: `python samples/make/stats.py CASES tests/it/stats/numpy.json`.
"""

import json
import math
import pathlib
import sys

import numpy
import torch
from safetensors import safe_open

# What the test holds: a case of each kind of format, and every pattern of the floats of 8 bits.
CASES = ["base-A-bf16", "base-B-bf16", "bnb-nf4-A", "bnb-nf4-dq-A", "bnb-int8-A", "gptq-w4-g128-sym-v1-A",
         "gptq-w3-g32-asym-act-v1-A", "gptq-w4-g64-asym-act-v2-B", "awq-gemm-g128-A", "ct-w4a16-sym-g128-A",
         "ct-nvfp4a16-A", "ct-fp8-block-A", "fp8-block128-A", "hqq-mixed-A", "gguf-q4_k_m-K", "mxfp4-gptoss",
         "casts-fp8-bf16-f16", "bin-sharded-A", "bin-variants"]
QUANTILES = [0.01, 0.25, 0.5, 0.75, 0.99]
BINS = 64
OUTLIERS = 8
FLOATS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def place(at, shape):
    row = shape[-1] if shape else 1
    return [int(at) // max(row, 1), int(at) % max(row, 1)]


def figures(tensor):
    """All figures of a tensor, of the finite values but for the counts of the others."""
    shape = list(tensor.shape)
    values = tensor.double().reshape(-1).numpy()
    is_finite = numpy.isfinite(values)
    finite = values[is_finite]
    said = {"shape": shape, "count": values.size, "nan": int(numpy.isnan(values).sum()),
            "inf": int(numpy.isinf(values).sum()), "zeros": int((values == 0).sum())}
    rows = values.reshape(-1, shape[-1] if shape else 1) if values.size else values.reshape(0, 1)
    said["rows_zero"] = int((rows == 0).all(axis=1).sum())
    if not finite.size:
        return said
    low, high = numpy.where(is_finite, values, numpy.inf).argmin(), numpy.where(is_finite, values, -numpy.inf).argmax()
    said |= {"min": float(values[low]), "min_at": place(low, shape), "max": float(values[high]),
             "max_at": place(high, shape)}
    mean = math.fsum(finite) / finite.size
    said |= {"mean": mean, "std": math.sqrt(math.fsum((finite - mean) ** 2) / finite.size)}
    said["quantiles"] = [float(q) for q in numpy.quantile(finite, QUANTILES)]
    counts, edges = numpy.histogram(finite, BINS)
    # All edges would be most of the file: one of the inner ones, and the counts, show the others.
    said |= {"histogram": counts.tolist(), "edge": float(edges[21])}
    magnitudes = numpy.where(is_finite, numpy.abs(values), 0)
    # A stable sort: of equal ones those that come first. Zeros are no outliers.
    order = [at for at in numpy.argsort(-magnitudes, kind="stable")[:OUTLIERS] if magnitudes[at] > 0]
    said["outliers"] = [[float(values[at]), *place(at, shape)] for at in order]
    return said


def tensors(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def layer(name):
    return name.removesuffix(".weight")


def plain(folder):
    """Weights of a checkpoint that stand alone: those with scales beside them are not plain."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= tensors(path)
    for path in sorted(folder.glob("*.bin")):
        found |= torch.load(path, map_location="cpu", weights_only=True)

    def stands_alone(name):
        beside = [other for other in found if other.startswith(layer(name) + ".") and other != name]
        return name.endswith(".weight") and found[name].dtype in FLOATS and not any(
            not other.endswith(".bias") for other in beside)

    return {layer(name): tensor for name, tensor in found.items() if stands_alone(name)}


def case(folder):
    """The place of a case's checkpoint in it, and the values of its layers."""
    if folder.name == "bin-variants":
        return "zip.bin", tensors(folder / "golden/tensors.safetensors")
    if folder.name.startswith("casts"):
        # Those that safetensors has a dtype for.
        stored = tensors(folder / "tensors.safetensors")
        values = tensors(folder / "golden/f32.safetensors")
        return "tensors.safetensors", {name: values[name] for name in stored if name in values}
    golden = [path for path in map(folder.joinpath, ["golden/dequant_native.safetensors",
                                                     "golden/dequant_f32.safetensors"]) if path.exists()]
    decoded = {layer(name): tensor for path in golden[:1] for name, tensor in tensors(path).items()}
    places = [place for place in ["model", "model.gguf", "tensors.safetensors"] if (folder / place).exists()]
    return (places or [""])[0], (plain(folder / "model") if (folder / "model").is_dir() else {}) | decoded


def main(cases, out, names):
    said = {}
    for name in names:
        inside, layers = case(cases / name)
        # What GGUF's reader and the table of FP8 patterns give is f32, whatever is stored.
        has_dtype = not name.startswith(("gguf", "casts", "bin-variants"))
        said[f"{name}/{inside}"] = {name: figures(tensor) | ({"dtype": FLOATS[tensor.dtype]} if has_dtype else {})
                                    for name, tensor in sorted(layers.items())}
    out.write_text(json.dumps(said, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:] or CASES)
