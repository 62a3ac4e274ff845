"""`bad-*`: damaged files, by hand. `bad-safetensors` from literals; `bad-gguf` and `bad-quantized` are edits of the
good file, or of layers of the GPTQ and bitsandbytes samples; `bad-folders` edits of a sharded base A.

This script writes `bad-safetensors` and `bad-gguf`. Run: `python samples/make/case_bad.py bad-safetensors OUT`.
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


def gguf(good):
    """Returns the edits of a good GGUF file: magic, version, counts and the first key's length."""
    return {
        "good": good, "bad-magic": put(good, 3, b"X"), "big-endian": put(good, 4, struct.pack(">I", 3)),
        "version-1": put(good, 4, b"\x01"), "version-99": put(good, 4, b"\x63"),
        "tensor-count-2^62": put(good, 8, struct.pack("<Q", 1 << 62)),
        "kv-count-2^62": put(good, 16, struct.pack("<Q", 1 << 62)),
        "huge-string": put(good, 24, struct.pack("<Q", 1 << 60)), "header-only": good[:24],
        "truncated": good[:-50], "zero-byte": b"",
    }


def main(id, out):
    if id == "bad-safetensors":
        folder, suffix, files = out / "files", "safetensors", SAFETENSORS
    else:
        folder, suffix, files = out, "gguf", gguf((SAMPLES / "bad-gguf" / "good.gguf").read_bytes())
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / f"{name}.{suffix}").write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
