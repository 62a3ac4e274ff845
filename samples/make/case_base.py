"""`base-*`: 16-bit models. `PreTrainedModel.save_pretrained`, sharded by `max_shard_size` where the name says.

Run: `python samples/make/case_base.py base-A-bf16 OUT`.
"""

import pathlib
import sys

from common import model

DTYPES = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}


def main(id, out):
    _, letter, dtype, *sharded = id.split("-")
    size = {"max_shard_size": "170KB"} if sharded else {}
    model(letter, DTYPES[dtype]).save_pretrained(out / "model", **size)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
