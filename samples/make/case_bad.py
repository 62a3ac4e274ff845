"""`bad-*`: damaged files, by hand. `bad-safetensors` and `bad-gguf` from literals; `bad-quantized` are edits of one
GPTQ and one bitsandbytes layer of model A; `bad-folders` edits of model A with one layer, in four shards;
`peft-bad-keys` the `good` adapter among them (of `case_peft.py`) under other names, or with parts edited.

The other undamaged parts are taken from the samples themselves: each is whole in a sibling. Needs Python only.
Run: `python samples/make/case_bad.py SAMPLE OUT`.
"""

import json
import pathlib
import struct
import sys

from common import SAMPLES


def entry(shape=(2, 2), offsets=(0, 16), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def raw(header, data=bytes(16), length=None):
    """Returns a file of this header; `length` is what it claims to have."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def of(tensors, data=bytes(16)):
    return raw(json.dumps(tensors).encode(), data)


ONE = b'"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}'
GOOD = {"a": entry()}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 4976698672\n"
SAFETENSORS = {
    "zero-byte": b"", "seven-bytes": b"1234567", "header-len-0": raw(b"", b""),
    "header-claims-100MB+": raw(b"{}", b"", 100_000_001), "header-claims-2^63": raw(b"{}", b"", 1 << 63),
    "header-claims-2^64-1": raw(b"{}", b"", (1 << 64) - 1),
    "header-longer-than-file": raw(json.dumps(GOOD).encode(), length=5000),
    "header-not-json": raw(b"{not json}      "), "header-not-utf8": raw(b'{"\xff\xfe":1}'),
    "header-array": raw(b"[]", b""), "header-leading-space": raw(b" {" + ONE + b"}"),
    "truncated-data": of(GOOD, bytes(9)), "extra-data": of(GOOD, bytes(40)),
    "overlap": of({"a": entry(), "b": entry(offsets=(8, 24))}, bytes(24)),
    "hole": of({"a": entry(), "b": entry(offsets=(20, 36))}, bytes(36)),
    "offsets-reversed": of({"a": entry(offsets=(16, 0))}),
    "offset-out-of-file": of({"a": entry((1 << 38,), (0, 1 << 40))}),
    "shape-size-mismatch": of({"a": entry((3, 3))}), "shape-overflow": of({"a": entry((1 << 32, 1 << 32, 4))}),
    "shape-negative": raw(b"{" + ONE.replace(b"[2,2]", b"[-2,2]") + b"}"),
    "unknown-dtype": of({"a": entry(dtype="Q4_X")}), "duplicate-key": raw(b"{" + ONE + b"," + ONE + b"}"),
    "metadata-not-string": of({"__metadata__": {"x": 3}} | GOOD),
    "missing-offsets": of({"a": {"dtype": "F32", "shape": [2, 2]}}),
    "git-lfs-pointer": LFS, "html-page": b"<!DOCTYPE html><html><body>Access denied</body></html>",
    "deep-json": raw(b"[" * 100_000 + b"]" * 100_000, b""), "very-long-name": of({"n" * 200_000: entry()}),
    "control-chars-name": of({"a\x1b[31mred\x07": entry()}), "rtl-name": of({"a\u202egnp.weight": entry()}),
    "empty-ok": raw(b"{}", b""), "scalar-and-empty-ok": of({"a": entry((), (0, 4)), "b": entry((0, 5), (4, 4))}, bytes(4)),
    "f4-subbyte-ok": of({"a": entry((4, 2), (0, 4), "F4")}, bytes(4)),
    "f4-odd-bits": of({"a": entry((3,), (0, 2), "F4")}, bytes(2)),
}


def put(data, at, value):
    return data[:at] + value + data[at + len(value):]


def gguf_string(text):
    return struct.pack("<Q", len(text)) + text


def gguf():
    """Returns a GGUF file of one 4 x 32 tensor, and its edits: magic, version, counts, the first key's length."""
    good = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)
    good += gguf_string(b"general.architecture") + struct.pack("<I", 8) + gguf_string(b"llama")
    good += gguf_string(b"a") + struct.pack("<IQQIQ", 2, 32, 4, 0, 0)
    good += bytes(-len(good) % 32) + struct.pack("<f", 1) * 128
    return {
        "good": good, "bad-magic": put(good, 3, b"X"), "big-endian": put(good, 4, struct.pack(">I", 3)),
        "version-1": put(good, 4, b"\x01"), "version-99": put(good, 4, b"\x63"),
        "tensor-count-2^62": put(good, 8, struct.pack("<Q", 1 << 62)),
        "kv-count-2^62": put(good, 16, struct.pack("<Q", 1 << 62)),
        "huge-string": put(good, 24, struct.pack("<Q", 1 << 60)), "header-only": good[:24],
        "truncated": good[:-50], "zero-byte": b"",
    }


def indented(value):
    return json.dumps(value, indent=1).encode()


def bad_folders():
    """Returns folder/file -> bytes: one sharded model, damaged in ten ways."""
    source = SAMPLES / "bad-folders"
    shards = sorted((source / "config-truncated").glob("*.safetensors"))
    good = {path.name: path.read_bytes() for path in shards}
    config = (source / "missing-shard" / "config.json").read_bytes()
    index = (source / "missing-shard" / "model.safetensors.index.json").read_bytes()
    good |= {"config.json": config, "model.safetensors.index.json": index}
    first, second, _, last = (path.name for path in shards)

    def mapped(**changes):
        """Returns the index with tensors added or moved: dots of names as `__`."""
        changed = json.loads(index)
        changed["weight_map"] |= {name.replace("__", "."): file for name, file in changes.items()}
        return {"model.safetensors.index.json": json.dumps(changed).encode()}

    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n"
    edits = {
        "missing-shard": {second: None}, "config-missing": {"config.json": None},
        "one-shard-truncated": {last: good[last][:-1000]}, "lfs-shard": {first: pointer},
        "index-truncated-json": {"model.safetensors.index.json": index[: len(index) // 2]},
        "config-truncated": {"config.json": config[: len(config) // 2]},
        "config-shape-mismatch": {"config.json": json.dumps(json.loads(config) | {"hidden_size": 256}).encode()},
        "index-wrong-shard": mapped(model__embed_tokens__weight=last),
        "index-names-absent-tensor": mapped(model__layers__9__nope__weight=first),
        "index-path-traversal": mapped(model__embed_tokens__weight="../../../etc/passwd"),
    }
    return {
        f"{folder}/{name}": data
        for folder, edit in edits.items()
        for name, data in (good | edit).items()
        if data is not None
    }


def tensors_of(path):
    """Returns name -> (dtype, shape, bytes) in the order of the header."""
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: (of["dtype"], of["shape"], data[start + of["data_offsets"][0] : start + of["data_offsets"][1]])
        for name, of in header.items()
    }


def safetensors(tensors, metadata={"format": "pt"}):
    """Returns the file that the safetensors crate writes of these tensors: wide dtypes first, then by name."""
    wide_first = {"F32": 0, "I32": 0, "F16": 1, "BF16": 1, "U8": 2}
    tensors = dict(sorted(tensors.items(), key=lambda item: (wide_first[item[1][0]], item[0])))
    header, at = {"__metadata__": metadata} if metadata else {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    return raw(text + b" " * (-len(text) % 8), b"".join(data for *_, data in tensors.values()))


def bad_quantized():
    """Returns folder/file -> bytes: one GPTQ and one bitsandbytes layer, with parts edited or left out."""
    source = SAMPLES / "bad-quantized"
    layer = "model.layers.0.self_attn.q_proj"
    gptq = tensors_of(source / "gptq-no-quantization-config" / "model.safetensors")
    bnb = tensors_of(source / "bnb-short-absmax" / "model.safetensors")
    absmax, state = f"{layer}.weight.absmax", f"{layer}.weight.quant_state.bitsandbytes__nf4"
    bnb[absmax] = tensors_of(source / "bnb-blocksize-zero" / "model.safetensors")[absmax]
    config = json.loads((source / "gptq-no-quantization-config" / "config.json").read_bytes())
    of_gptq = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False}
    of_bnb = {
        "quant_method": "bitsandbytes", "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True,
    }

    def words(part, values, width):
        """Returns the GPTQ layer with little-endian elements of `part` overwritten."""
        dtype, shape, data = gptq[f"{layer}.{part}"]
        for at, value in values.items():
            data = put(data, at * width, value.to_bytes(width, "little", signed=value < 0))
        return gptq | {f"{layer}.{part}": (dtype, shape, data)}

    def quant_state(data):
        return bnb | {state: ("U8", [len(data)], data)}

    def without(tensors, name):
        return {key: value for key, value in tensors.items() if key != name}

    _, [groups, columns], zeros = gptq[f"{layer}.qzeros"]
    row, short = columns * 4, (columns - 1) * 4
    short_zeros = b"".join(zeros[at * row : at * row + short] for at in range(groups))
    wrong_shape = json.dumps({
        "quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [4096, 4096],
        "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.05,
    }).encode()
    no_blocks = json.dumps({"quant_type": "nf4", "blocksize": 0, "dtype": "float16", "shape": [1, 1]}).encode()
    nan, inf = 0x7E00, 0x7C00
    layers = {
        "gptq-nan-scale": words("scales", {3: nan, 4: nan}, 2), "gptq-inf-scale": words("scales", {7: inf}, 2),
        "gptq-gidx-negative": words("g_idx", {5: -1}, 4), "gptq-gidx-out-of-range": words("g_idx", {5: 999}, 4),
        "gptq-missing-scales": without(gptq, f"{layer}.scales"),
        "gptq-qzeros-wrong-shape": gptq | {f"{layer}.qzeros": ("I32", [groups, columns - 1], short_zeros)},
        "bnb-missing-absmax": without(bnb, absmax), "bnb-missing-quant-state": without(bnb, state),
        "bnb-short-absmax": bnb | {absmax: ("U8", [253], bnb[absmax][2][:253])},
        "bnb-blocksize-zero": quant_state(no_blocks), "bnb-quant-state-wrong-shape": quant_state(wrong_shape),
        "bnb-quant-state-not-json": quant_state(b"{not json"),
    }
    configs = {
        "gptq-no-quantization-config": None, "gptq-unknown-method": {"quant_method": "frobnicate", "bits": 4},
        "gptq-plus-bnb-config": of_gptq | {"load_in_4bit": True}, "gptq-wrong-bits-in-config": of_gptq | {"bits": 8},
        "gptq-wrong-group-in-config": of_gptq | {"group_size": 128},
    }
    files = {}
    for name in layers.keys() | configs.keys():
        block = of_bnb if name.startswith("bnb") else of_gptq | {"checkpoint_format": "gptq"}
        block = configs.get(name, block)
        files[f"{name}/model.safetensors"] = safetensors(layers.get(name, gptq))
        files[f"{name}/config.json"] = indented(config | ({"quantization_config": block} if block else {}))
    return files


def peft_bad_keys():
    """Returns folder/file -> bytes: one adapter of base A under names that PEFT does not find, or edited."""
    source = SAMPLES / "peft-bad-keys" / "good"
    good = tensors_of(source / "adapter_model.safetensors")
    base = tensors_of(SAMPLES / "base-A-bf16" / "model" / "model.safetensors")
    targets = ("q_proj", "v_proj", "down_proj")

    def renamed(old, new):
        return {name.replace(old, new, 1): tensor for name, tensor in good.items()}

    def widened(name, dtype, shape, data):
        """Returns an A with 32 more inputs, all zero."""
        row = len(data) // shape[0]
        rows = (data[at : at + row] + bytes(32 * 4) for at in range(0, len(data), row))
        return (dtype, [shape[0], shape[1] + 32], b"".join(rows)) if ".lora_A." in name else (dtype, shape, data)

    def wrapped(name):
        """Returns the name that a base tensor has inside the PEFT model."""
        module = name.removesuffix(".weight")
        return "base_model.model." + (f"{module}.base_layer.weight" if module.endswith(targets) else name)

    prefix, half = "base_model.model.", "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
    adapters = {
        "good": good, "no-prefix": renamed(prefix, ""), "double-prefix": renamed(prefix, prefix + prefix),
        "module-prefix": renamed(prefix, "module." + prefix), "orig-mod": renamed(prefix, prefix + "_orig_mod."),
        "vl-language-model": renamed(".model.layers.", ".model.language_model.layers."),
        "vl-old-language-model": renamed(".model.layers.", ".language_model.model.layers."),
        "base-layer-infix": renamed(".lora_", ".base_layer.lora_"),
        "default-infix": {name.replace(".weight", ".default.weight"): tensor for name, tensor in good.items()},
        "full-state-with-base_layer": good | {wrapped(name): tensor for name, tensor in base.items()},
    }
    edited = {
        "extra-layer": good | {n.replace(".layers.1.", ".layers.7."): t for n, t in good.items() if ".layers.1." in n},
        "missing-lora-B": {name: tensor for name, tensor in good.items() if name != half},
        "wrong-shape": {name: widened(name, *tensor) for name, tensor in good.items()},
    }
    files = {"good/README.md": (source / "README.md").read_bytes()}
    for name, tensors in (adapters | edited).items():
        metadata = None if name in edited else {"format": "pt"}
        files[f"{name}/adapter_model.safetensors"] = safetensors(tensors, metadata)
        files[f"{name}/adapter_config.json"] = (source / "adapter_config.json").read_bytes()
    return files


def main(id, out):
    edits = {"bad-folders": bad_folders, "bad-quantized": bad_quantized, "peft-bad-keys": peft_bad_keys}
    if id in edits:
        for name, data in edits[id]().items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(data)
        return
    if id == "bad-safetensors":
        folder, suffix, files = out / "files", "safetensors", SAFETENSORS
    else:
        folder, suffix, files = out, "gguf", gguf()
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / f"{name}.{suffix}").write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
