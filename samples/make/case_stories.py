"""`story-*`: the tensors of two other samples under the names of the users' models.

Only the packed layers are restated: `story-0-minicpmv-awq` is `awq-gemm-g128-A` under `llm.`, and
`story-1-qwenvl-autogptq` is `gptq-legacy-autogptq-layout` with the names of Qwen-VL. The 16-bit vision towers are
random, the Python files of their remote code are stand-ins. Run: `python samples/make/case_stories.py ID OUT`.
"""

import pathlib
import sys

from common import SAMPLES, save
from safetensors.torch import load_file

# Names of Qwen-VL (the first Qwen), which keeps gate and up as w2 and w1.
QWEN = {"self_attn.o_proj": "attn.c_proj", "self_attn.": "attn.", "mlp.gate_proj": "mlp.w2", "mlp.up_proj": "mlp.w1",
        "mlp.down_proj": "mlp.c_proj", "input_layernorm": "ln_1", "post_attention_layernorm": "ln_2",
        "model.layers.": "transformer.h.", "model.embed_tokens": "transformer.wte", "model.norm": "transformer.ln_f"}


def renamed(name):
    for old, new in QWEN.items():
        name = name.replace(old, new)
    return name


def main(id, out):
    if id == "story-0-minicpmv-awq":
        tensors = load_file(SAMPLES / "awq-gemm-g128-A" / "model" / "model.safetensors")
        tensors = {f"llm.{name}": tensor for name, tensor in tensors.items()}
    else:
        file = "gptq_model-4bit-128g.safetensors"
        tensors = load_file(SAMPLES / "gptq-legacy-autogptq-layout" / "model" / file)
        tensors = {renamed(name): tensor for name, tensor in tensors.items()}
    save(tensors, out / "model")


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
