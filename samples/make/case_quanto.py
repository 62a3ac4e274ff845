"""`quanto-A`: optimum-quanto `quantize(weights=qint4)`, `freeze`, and the state dict as safetensors; one layer, f16.

Run: `python samples/make/case_quanto.py quanto-A OUT`.
"""

import json
import pathlib
import sys

from common import linears, model, save, save_config
from optimum.quanto import freeze, qint4, quantization_map, quantize


def main(out):
    made = model("A", "float16", layers=1)
    quantize(made, weights=qint4, include=list(linears(made)))
    freeze(made)
    save(made.state_dict(), out / "model", metadata=False)
    (out / "model" / "quanto_qmap.json").write_text(json.dumps(quantization_map(made), indent=1))
    save_config(made, out / "model")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[2]))
