"""What numpy says of the norms of rows and columns of samples: what `tests/it/stats.rs` holds `ckpt stats --norms` against.

CASES is as for `stats.py`. Of each case it takes the smallest matrix that a reference library decoded, and of a plain one
the smallest that is stored. Sums are `math.fsum`, which rounds once.

Run: `python samples/make/norms.py CASES tests/it/stats/norms.json`.
"""

import json
import math
import pathlib
import sys

import ml_dtypes
import numpy

CASES = ["base-A-bf16", "bnb-nf4-A", "bnb-int8-A", "gptq-w4-g128-sym-v1-A", "awq-gemm-g128-A", "ct-fp8-block-A",
         "hqq-mixed-A", "gguf-q4_k_m-K"]
DTYPES = {"F32": numpy.float32, "F16": numpy.float16, "BF16": ml_dtypes.bfloat16}


def tensors(path):
    """The floats of a safetensors file."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    data = raw[8 + size:]
    return {name: numpy.frombuffer(data[slice(*of["data_offsets"])], DTYPES[of["dtype"]]).reshape(of["shape"])
            for name, of in header.items() if of["dtype"] in DTYPES}


def norms(matrix):
    wide = matrix.astype(numpy.float64)
    norm = lambda values: math.sqrt(math.fsum((values * values).tolist()))
    return {"rows": [norm(row) for row in wide], "columns": [norm(column) for column in wide.T]}


def main(cases, out):
    said = {}
    for case in CASES:
        folder = cases / case
        golden = [path for path in map(folder.joinpath, ["golden/dequant_native.safetensors",
                                                         "golden/dequant_f32.safetensors"]) if path.exists()]
        found = tensors(golden[0] if golden else folder / "model/model.safetensors")
        matrices = {name: tensor for name, tensor in found.items() if tensor.ndim == 2}
        name = min(matrices, key=lambda name: (matrices[name].size, name))
        place = next(place for place in ["model", "model.gguf", "tensors.safetensors"] if (folder / place).exists())
        said[f"{case}/{place}"] = {name.removesuffix(".weight"): norms(matrices[name])}
    out.write_text(json.dumps(said, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
