"""`bin-malicious`: harmful or broken pickles, opcode by opcode. Nothing here is unpickled, imported or run.

The zip ones are laid out as `torch.save` of PyTorch 2.15.0 does. Needs Python only.
Run: `python samples/make/case_malicious.py bin-malicious OUT`.
"""

import io
import pathlib
import pickle
import struct
import sys
import zipfile
import zlib

SYSTEM = [("posix", "system"), "true", b"\x85", b"R"]
# The storage's key is its address in the process that saved it; any other would do.
ADDRESS = "94123800088080"
# PyTorch's hash of the records' names, the same in every file here.
NAMES_HASH = "15728199511854643026"


def pickled(*steps):
    """Returns a pickle of protocol 2: text, globals and whatever makes an object get the next place in the memo."""
    out, memo = b"\x80\x02", 0
    for step in steps:
        if isinstance(step, str):
            out += b"X" + struct.pack("<I", len(step)) + step.encode()
        elif isinstance(step, tuple):
            out += "c{}\n{}\n".format(*step).encode()
        elif isinstance(step, int):
            out += b"K" + bytes([step])
        else:
            out += step
        if isinstance(step, (str, tuple)) or step in (b"}", b"t", b"R", b"\x85", b"\x86"):
            out += b"q" + bytes([memo])
            memo += 1
    return out + b"."


def tensor(shape, strides, count, key="0", view=()):
    """Returns the steps that rebuild an f32 tensor from a storage of `count` elements."""
    return [
        ("torch._utils", "_rebuild_tensor_v2"), b"(",
        b"(", "storage", ("torch", "FloatStorage"), key, "cpu", count, *view, b"t", b"Q",
        0, *shape, b"\x86", *strides, b"\x86", b"\x89", ("collections", "OrderedDict"), b")", b"R", b"t", b"R",
    ]


def ones(count):
    return struct.pack("<f", 1) * count


def records(data_pkl, count):
    """Returns the records of an archive in their order. The last one hashes the sums of those before it."""
    files = {
        "data.pkl": data_pkl, ".format_version": b"1", ".storage_alignment": b"64", "byteorder": b"little",
        "data/0": ones(count), "version": b"3\n",
    }
    seed = 0
    for data in files.values():
        seed ^= (zlib.crc32(data) + 0x9E3779B9 + (seed << 6) + (seed >> 2)) % (1 << 64)
    return files | {".data/serialization_id": f"{NAMES_HASH}{seed:020}".encode()}


def torch_zip(stem, files):
    """Returns PyTorch's zip: no times, each record's data at a multiple of 64, sizes after the data."""
    body, directory = b"", b""
    for name, data in files.items():
        path, start = f"{stem}/{name}".encode(), len(body)
        pad = -(start + 30 + len(path) + 4) % 64
        sums = struct.pack("<3I", zlib.crc32(data), len(data), len(data))
        body += struct.pack("<4s3H16x2H", b"PK\3\4", 0, 0x0808, 0, len(path), pad + 4) + path
        body += b"FB" + struct.pack("<H", pad) + b"Z" * pad + data + b"PK\7\x08" + sums
        directory += struct.pack("<4s4H4x12sH12xI", b"PK\1\2", 0, 0, 0x0808, 0, sums, len(path), start) + path
    count, size, at = len(files), len(directory), len(body)
    wide = struct.pack("<4sQ2H8x4Q", b"PK\6\6", 44, 0x031E, 45, count, count, size, at)
    locator = struct.pack("<4s4xQI", b"PK\6\7", at + size, 1)
    return body + directory + wide + locator + struct.pack("<4s4x2H2I2x", b"PK\5\6", count, count, size, at)


def plain_zip(files, method=zipfile.ZIP_STORED):
    """Returns Python's zip, as of the time when the samples were made."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, (2026, 11, 21, 3, 4, 34))
            info.compress_type, info.create_system, info.external_attr = method, 3, 0o600 << 16
            archive.writestr(info, data)
    return out.getvalue()


def harmful(stem, *steps):
    """Returns an archive of a tensor `w` and of what these steps would run."""
    data = pickled(b"}", b"(", "w", *tensor((2, 2), (2, 1), 4), "x", *steps, b"u")
    return torch_zip(stem, records(data, 4))


def legacy():
    """Returns the layout before the zip: three pickles, the object, the storages' keys, the storages."""
    view = tensor((2, 2), (2, 1), 4, ADDRESS, [b"N"])
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    heads = (pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system))
    main = pickled(b"}", b"(", "w", *view, "x", *SYSTEM, b"u")
    return b"".join(heads) + main + pickle.dumps([ADDRESS], 2) + struct.pack("<Q", 4) + ones(4)


def strided():
    """Returns an archive whose tensor reaches beyond its storage: its shape was edited, its hash was not."""
    def data(shape):
        return pickled(b"}", "w", *tensor(shape, (4, 1), 16), b"s")

    files = records(data((4, 4)), 16) | {"data.pkl": data((127, 127))}
    return plain_zip({f"archive/{name}": record for name, record in files.items()})


def memo_bomb():
    """Returns lists of ten times the list before: 10^30 items for a reader that copies."""
    lists = [b"]q\0(" + b"K\1" * 10 + b"e"]
    lists += [b"]q" + bytes([at]) + b"(" + (b"h" + bytes([at - 1])) * 10 + b"e" for at in range(1, 30)]
    return b"\x80\x02" + b"".join(lists) + b"."


def files():
    empty, version = pickled(b"}"), b"3\n"
    whole = torch_zip("archive", records(pickled(b"}", "w", *tensor((2, 2), (2, 1), 4), b"s"), 4))
    bomb = {"archive/data.pkl": empty, "archive/data/0": bytes(1 << 26), "archive/version": version}
    return {
        "os-system": harmful("os-system", *SYSTEM),
        "eval": harmful("eval", ("__builtin__", "eval"), "1+1", b"\x85", b"R"),
        "getattr": harmful("getattr", ("__builtin__", "getattr"), ("__builtin__", "dict"), "keys", b"\x86", b"R"),
        "legacy-os-system": legacy(),
        "raw-pickle": pickled(b"}", "x", *SYSTEM, b"s"),
        "stack-global": b"\x80\x04\x95\x26\0\0\0\0\0\0\0}\x94\x8c\1x\x94\x8c\5posix\x94\x8c\6system\x94\x93\x94"
                        b"\x8c\4true\x94\x85\x94R\x94s.",
        "opcode-inst": b"(S'true'\nios\nsystem\n.",
        "huge-len": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"abc.",
        "deep-nesting": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
        "memo-bomb": memo_bomb(),
        "stride-out-of-storage": strided(),
        "truncated-zip": whole[: len(whole) // 2],
        "zip-deflated-bomb": plain_zip(bomb, zipfile.ZIP_DEFLATED),
        "zip-traversal": plain_zip({"../../evil/data.pkl": empty, "../../evil/version": version}),
    }


def main(id, out):
    out.mkdir(parents=True, exist_ok=True)
    for name, data in files().items():
        (out / f"{name}.bin").write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
