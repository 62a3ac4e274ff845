"""What the scripts share: the tiny models, saving, and the comparison with a sample.

A model's letter stands for its sizes; its weights look trained (a spread per row, a few outliers, norms near 1)
and come from one generator, seeded with the case's `seed` (1234) plus an offset of the model.
Compare with a sample: `python samples/make/common.py OUT samples/base-A-bf16`.
"""

import json
import os
import pathlib
import sys

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

SEED = 1234
SPECS = {
    "A": {"arch": "Llama", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
          "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 160},
    "B": {"arch": "Qwen2", "hidden_size": 96, "intermediate_size": 176, "num_hidden_layers": 2,
          "num_attention_heads": 3, "num_key_value_heads": 1, "vocab_size": 251},
    "K": {"arch": "Llama", "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1,
          "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256},
}
WEIGHT_SEEDS = {"A": SEED + 65, "B": SEED + 66, "K": SEED + 11}
SAMPLES = pathlib.Path(__file__).resolve().parent.parent


def model(letter, dtype, layers=None):
    """Returns the model of this letter, with the given number of layers (default: its own)."""
    import torch
    import transformers

    spec = dict(SPECS[letter])
    arch = spec.pop("arch")
    spec["num_hidden_layers"] = layers or spec["num_hidden_layers"]
    config = getattr(transformers, f"{arch}Config")(
        max_position_embeddings=128, tie_word_embeddings=False, **spec)
    made = getattr(transformers, f"{arch}ForCausalLM")(config).float()
    fill(made, WEIGHT_SEEDS[letter])
    return made.to(getattr(torch, dtype))


def fill(module, seed):
    """Gives every parameter its values, in the module's own order."""
    import torch

    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.dim() >= 2:
                w = torch.randn(p.shape, generator=g) * 0.025
                w *= torch.exp(torch.randn(p.shape[:-1] + (1,), generator=g) * 0.35)
                count = max(1, p.numel() // 1500)
                w.view(-1)[torch.randint(0, p.numel(), (count,), generator=g)] *= 12.0
                p.copy_(w)
            elif "norm" in name:
                p.copy_(1 + 0.1 * torch.randn(p.shape, generator=g))
            else:
                p.copy_(0.05 * torch.randn(p.shape, generator=g))


def linears(module):
    """Returns the linear layers by name, without the head."""
    import torch

    found = module.named_modules()
    return {n: m for n, m in found if isinstance(m, torch.nn.Linear) and not n.endswith("lm_head")}


def dense(module, dtype):
    """Returns the tensors that no quantizer here touches."""
    packed = {f"{name}.weight" for name in linears(module)}
    import torch
    return {k: v.to(getattr(torch, dtype)) for k, v in module.state_dict().items() if k not in packed}


def save(tensors, folder, file="model.safetensors", metadata=True):
    """Writes tensors, contiguous and each with its own storage."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().contiguous().clone() for name, t in tensors.items()}
    save_file(tensors, folder / file, metadata={"format": "pt"} if metadata else None)


def save_shards(parts, folder):
    """Writes one file for each of `parts`, and the index."""
    places = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05}-of-{len(parts):05}.safetensors"
        save(part, folder, file)
        places |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(t.nbytes for part in parts for t in part.values())}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def save_config(module, folder, quantization=None):
    """Writes the model's config the long way, as older writers did."""
    config = module.config.to_dict()
    config["architectures"] = [type(module).__name__]
    config["torch_dtype"] = str(config.pop("dtype", None) or "bfloat16").replace("torch.", "")
    config.pop("quantization_config", None)
    if quantization is not None:
        config["quantization_config"] = quantization
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1, default=str))


def case(id):
    """Returns the `case.json` of a sample."""
    return json.loads((SAMPLES / id / "case.json").read_text())


def header(path):
    """Returns names, dtypes and shapes of a safetensors file."""
    with open(path, "rb") as file:
        entries = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    entries.pop("__metadata__", None)
    return {name: (e["dtype"], e["shape"]) for name, e in entries.items()}


def compare(made, sample):
    """Prints for each file of the sample how far the made one is the same."""
    for path in sorted(p for p in sample.rglob("*") if p.is_file() and p.name != "case.json"):
        other = made / path.relative_to(sample)
        if not other.exists():
            verdict = "not made"
        elif other.read_bytes() == path.read_bytes():
            verdict = "same bytes"
        elif path.suffix == ".safetensors" and header(path) == header(other):
            verdict = "same names, dtypes and shapes"
        else:
            verdict = "different"
        print(f"{verdict:30} {path.relative_to(sample.parent)}")


if __name__ == "__main__":
    compare(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
