"""Writes safetensors files and JSON with nothing but the standard library, byte for byte alike everywhere.

A tensor here is `(dtype, shape, bytes)`. The bytes come from three makers: `codes` (any bits, from SHAKE-256 of
a seed and the tensor's name), `fill` (one value), `whole` (given integers). Source of the file format:
safetensors, README.md, "Format".
"""

import hashlib
import json
import math
import struct

BITS = {"F64": 64, "I64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
        "I8": 8, "U8": 8, "F8_E4M3": 8, "F8_E8M0": 8}
PACK = {"I64": "<q", "I32": "<i", "U32": "<I", "I16": "<h", "U8": "<B", "F8_E8M0": "<B", "F32": "<f", "F16": "<e"}


def size(dtype, shape):
    """Returns the bytes that a tensor takes."""
    return math.prod(shape) * BITS[dtype] // 8


def codes(name, dtype, *shape, seed=1234):
    """Returns a tensor of arbitrary codes. NaN, the one code of F8_E4M3 that a weight never has, becomes 0."""
    data = hashlib.shake_256(f"{seed}:{name}".encode()).digest(size(dtype, shape))
    if dtype == "F8_E4M3":
        data = bytes(0 if byte & 0x7F == 0x7F else byte for byte in data)
    if dtype == "F16":
        # Exponents 9..12 of 0..31: magnitudes from 2^-6 to 2^-2.
        words = struct.unpack(f"<{len(data) // 2}H", data)
        data = struct.pack(f"<{len(words)}H", *((w & 0x8FFF) % 0x9000 | 0x2400 for w in words))
    return dtype, list(shape), data


def fill(value, dtype, *shape):
    """Returns a tensor of one value everywhere."""
    one = struct.pack("<f", value)[2:] if dtype == "BF16" else struct.pack(PACK.get(dtype, "<B"), value)
    return dtype, list(shape), one * math.prod(shape)


def whole(values, dtype, *shape):
    """Returns a tensor of these integers."""
    return dtype, list(shape), b"".join(struct.pack(PACK[dtype], value) for value in values)


def save(path, tensors, metadata=None):
    """Writes a safetensors file: widest dtypes first, then by name, as its own writer orders them."""
    header, at = {"__metadata__": metadata or {"format": "pt"}}, 0
    ordered = sorted(tensors.items(), key=lambda item: (-BITS[item[1][0]], item[0]))
    for name, (dtype, shape, data) in ordered:
        assert len(data) == size(dtype, shape), name
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, (_, _, data) in ordered))


def save_json(path, value):
    """Writes a JSON file as transformers does: two spaces, a newline at the end."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
