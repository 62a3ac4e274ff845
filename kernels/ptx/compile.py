"""Compiles kernels/*.cu with NVRTC 12.0 for compute_70 (PTX ISA 8.0: drivers from 525 on, GPUs from Volta on).

Each file of PTX begins with `// sources sha256: ...`, the hash of the .cu file and of its headers, which a test holds
against the sources.
"""

import ctypes
import glob
import hashlib
import os
import re
import subprocess
import sys
import tempfile

KERNELS = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
ARCHITECTURES = ["sm_70", "sm_80", "sm_90", "sm_120"]
# Registers a thread may have: a multiprocessor holds 65,536, and 1,024 threads hide the memory's delay; products of
# matrices keep their sums in registers and need fewer threads, and searches compute long on what is in the caches.
REGISTERS, REGISTERS_OF = 64, {"merge": 80, "search": 80, "search_hqq": 80}


def packages():
    for path in sys.path:
        found = os.path.join(path, "nvidia")
        if os.path.isdir(os.path.join(found, "cuda_nvrtc")):
            return found
    sys.exit("the package nvidia-cuda-nvrtc-cu12 is not installed")


def source_hash(path):
    """The SHA-256 of the headers that a source needs, in the order of their names, and of the source."""
    digest = hashlib.sha256()
    for name in sorted(headers(path, set())) + [path]:
        with open(name, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def headers(path, found):
    with open(path) as file:
        for name in re.findall(r'^#include "(\w+\.cuh)"', file.read(), re.MULTILINE):
            header = os.path.join(KERNELS, name)
            if header not in found:
                found.add(header)
                headers(header, found)
    return found


class Nvrtc:
    def __init__(self):
        self.library = ctypes.CDLL(os.path.join(packages(), "cuda_nvrtc", "lib", "libnvrtc.so.12"))
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"

    def text(self, program, what):
        size = ctypes.c_size_t()
        getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.library, f"nvrtcGet{what}")(program, buffer)
        return buffer.value.decode()

    def compile(self, path):
        with open(path) as file:
            source = file.read()
        program, name = ctypes.c_void_p(), os.path.basename(path)
        self.library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None)
        options = ["--gpu-architecture=compute_70", f"-I{KERNELS}", "--std=c++17", "-default-device", "--fmad=false"]
        array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        failed = self.library.nvrtcCompileProgram(program, len(options), array)
        log = self.text(program, "ProgramLog").strip()
        if log:
            print(log, file=sys.stderr)
        if failed:
            sys.exit(f"{name}: NVRTC error {failed}")
        head = f"// sources sha256: {source_hash(path)}\n// made by kernels/ptx/build with NVRTC {self.version}\n"
        return head + self.text(program, "PTX")


def gate(path):
    """Assembles a file of PTX for each architecture; returns what is wrong."""
    wrong = []
    registers = REGISTERS_OF.get(os.path.basename(path)[:-4], REGISTERS)
    ptxas = os.path.join(packages(), "cuda_nvcc", "bin", "ptxas")
    os.chmod(ptxas, 0o755)
    for architecture in ARCHITECTURES:
        with tempfile.NamedTemporaryFile(suffix=".cubin") as out:
            command = [ptxas, "-v", f"-arch={architecture}", path, "-o", out.name]
            done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            wrong.append(f"{os.path.basename(path)}: {architecture}: {done.stderr.strip()}")
            continue
        kernel = None
        for line in done.stderr.splitlines():
            if match := re.search(r"Compiling entry function '(\w+)'", line):
                kernel = match.group(1)
            if match := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
                if match.group(1) != "0" or match.group(2) != "0":
                    wrong.append(f"{kernel}: {architecture}: {line.strip()}")
            if match := re.search(r"Used (\d+) registers", line):
                if int(match.group(1)) > registers:
                    wrong.append(f"{kernel}: {architecture}: {match.group(1)} registers, at most {registers}")
    return wrong


def main():
    is_check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not is_check:
        sys.exit("usage: build [--check]")
    nvrtc, wrong = Nvrtc(), []
    folder = os.path.join(KERNELS, "ptx")
    wanted = set()
    for path in sorted(glob.glob(os.path.join(KERNELS, "*.cu"))):
        target = os.path.join(folder, os.path.basename(path)[:-3] + ".ptx")
        wanted.add(target)
        text = nvrtc.compile(path)
        if is_check:
            with open(target) if os.path.exists(target) else open(os.devnull) as file:
                if file.read() != text:
                    wrong.append(f"{os.path.basename(target)}: is not what the sources give; run kernels/ptx/build")
        else:
            with open(target, "w") as file:
                file.write(text)
        if os.path.exists(target):
            wrong += gate(target)
    for stale in sorted(set(glob.glob(os.path.join(folder, "*.ptx"))) - wanted):
        wrong.append(f"{os.path.basename(stale)}: has no source")
    print("\n".join(wrong) if wrong else f"{len(wanted)} files, each for {' '.join(ARCHITECTURES)}: no spills")
    sys.exit(1 if wrong else 0)


main()
