"""Makes an installed torch one for CPUs: for x86-64, PyPI has it with CUDA only.

NVIDIA's libraries (3 GB) are never called where there is no GPU, but the loader wants them. Each is
replaced by one of the same name that has the functions which torch refers to; a call of any ends
the process (SIGILL). The real runtime library, `libcudart`, stays: it is small, and it is what says
that there is no GPU. Needs `nm`, `readelf`, `as` and `ld` (binutils).

    python cpu_torch.py SITE-PACKAGES
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

UNUSED = ("libtorch_cuda_linalg.so", "libcaffe2_nvrtc.so")
"""Of torch's own libraries: loaded when a GPU is first used."""
LIBRARY = re.compile(r"lib(cu|nccl|nv)(?!dart)")
FUNCTION = re.compile(r"cu|nccl|nv")
"""How NVIDIA's names begin."""


def main(site_packages: Path) -> None:
    """Writes the libraries beside those of torch.

    Raises:
        SystemExit: this torch is not as those known.
    """
    folder = site_packages / "torch" / "lib"
    libraries = sorted(each for each in folder.glob("*.so") if each.name not in UNUSED)
    dynamic = _said("readelf", "--dynamic", "--version-info", "--wide", *libraries)
    needed = set(filter(LIBRARY.match, re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic)))
    if not needed:
        raise SystemExit(f"{folder} needs nothing of NVIDIA: is it a torch for CPUs already?")
    wanted = _wanted(libraries)
    # Which library has a function without a version is not said: each gets it.
    plain = set(filter(FUNCTION.match, wanted[""]))
    for name in sorted(needed):
        version = _version_of(name, dynamic)
        _make(folder / name, plain | wanted.get(version, set()), version)
    for name in UNUSED:
        (folder / name).unlink()


def _version_of(library: str, dynamic: str) -> str:
    """The version that is asked of a library's functions; its name if none is."""
    found = re.search(rf"File: {re.escape(library)} .*\n.* Name: (\S+)", dynamic)
    return found[1] if found else library


def _wanted(libraries: Sequence[Path]) -> dict[str, set[str]]:
    """The functions that these expect of others, by version."""
    wanted: dict[str, set[str]] = {}
    for line in _said("nm", "-D", "--undefined-only", *libraries).splitlines():
        if line.split()[:1] == ["U"]:
            name, _, version = line.split()[1].partition("@")
            wanted.setdefault(version, set()).add(name)
    return wanted


def _make(library: Path, functions: set[str], version: str) -> None:
    code = "".join(f".globl {name}\n{name}: ud2\n" for name in sorted(functions))
    with tempfile.TemporaryDirectory() as folder:
        source, made, versions = (Path(folder) / name for name in ("stub.s", "stub.o", "versions"))
        source.write_text(f".text\n{code}.section .note.GNU-stack\n")
        versions.write_text(f'"{version}" {{ *; }};\n')
        _said("as", "-o", made, source)
        link = ("ld", "-shared", "-soname", library.name, "--version-script", versions)
        _said(*link, "-o", library, made)
    print(f"{library.name}: {len(functions)} functions, {library.stat().st_size} bytes")


def _said(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
