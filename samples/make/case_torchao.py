"""`torchao-int8-A`: `from_pretrained(TorchAoConfig(Int8WeightOnlyConfig(version=2)))`, `save_pretrained`; one layer.

Run: `python samples/make/case_torchao.py torchao-int8-A OUT`.
"""

import pathlib
import sys
import tempfile

import torch
from common import model
from torchao.quantization import Int8WeightOnlyConfig
from transformers import AutoModelForCausalLM, TorchAoConfig


def main(out):
    with tempfile.TemporaryDirectory() as base:
        model("A", "bfloat16", layers=1).save_pretrained(base)
        made = AutoModelForCausalLM.from_pretrained(
            base, quantization_config=TorchAoConfig(Int8WeightOnlyConfig(version=2)), dtype=torch.bfloat16,
            device_map="cpu")
    made.save_pretrained(out / "model")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[2]))
