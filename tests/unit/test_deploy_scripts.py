"""The programs of the images' own: a health check, and what makes a torch for CPUs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from streams.broker import free_ports
from tests.deployment import DEPLOY


@contextmanager
def answering(status: int, text: str) -> Iterator[int]:
    """A server that says this of its readiness; its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def health(port: int, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEPLOY / "healthcheck.py", "THE_PORT", str(port)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_ready_process_is_healthy() -> None:
    with answering(200, "ready") as port:
        assert health(port).returncode == 0
        assert health(free_ports(1)[0], THE_PORT=str(port)).returncode == 0


def test_one_that_is_not_ready_says_why() -> None:
    with answering(503, "loading models") as port:
        done = health(port)
    assert done.returncode == 1
    assert "loading models" in done.stderr


def test_one_that_does_not_answer_is_not_healthy() -> None:
    done = health(free_ports(1)[0])
    assert done.returncode == 1
    assert "refused" in done.stderr


@pytest.fixture
def linker() -> str:
    """Of binutils."""
    if not all(map(shutil.which, ("as", "ld", "nm", "readelf"))):
        pytest.skip("install binutils (as, ld, nm, readelf) to make libraries here")
    return "ld"


@pytest.fixture
def torch_like(tmp_path: Path, linker: str) -> Path:
    """A package of whose libraries one needs functions of two of NVIDIA's, which are not there."""
    folder = tmp_path / "torch" / "lib"
    folder.mkdir(parents=True)
    for name in ("libtorch_cuda_linalg.so", "libcaffe2_nvrtc.so"):
        (folder / name).touch()
    (tmp_path / "versions").write_text('"BLAS_13" { *; };\n')
    assembled(tmp_path / "blas", ".globl cublasCreate\ncublasCreate: ret\n")
    assembled(tmp_path / "nccl", ".globl ncclInit\nncclInit: ret\n")
    assembled(
        tmp_path / "ours",
        ".globl answer\nanswer: mov $42, %eax\nret\n"
        ".globl use\nuse: call cublasCreate@PLT\ncall ncclInit@PLT\nret\n",
    )
    blas, nccl = tmp_path / "libcublas.so.13", tmp_path / "libnccl.so.2"
    linked(linker, blas, tmp_path / "blas", "--version-script", tmp_path / "versions")
    linked(linker, nccl, tmp_path / "nccl")
    linked(linker, folder / "libtorch.so", tmp_path / "ours", blas, nccl, "-rpath", "$ORIGIN")
    blas.unlink()
    nccl.unlink()
    return tmp_path


def assembled(path: Path, code: str) -> None:
    source = path.with_suffix(".s")
    source.write_text(f".text\n{code}.section .note.GNU-stack\n")
    subprocess.run([shutil.which("as") or "", "-o", path, source], check=True)


def linked(linker: str, library: Path, *parts: str | Path) -> None:
    command: list[str | Path] = [linker, "-shared", "-soname", library.name, "-o", library, *parts]
    subprocess.run(command, check=True)


def loaded(library: Path, call: str) -> int:
    """The exit status of a process that calls a function of a library, all symbols resolved."""
    code = "import ctypes, os, sys; library = ctypes.CDLL(sys.argv[1], os.RTLD_NOW)\n"
    code += "sys.exit(getattr(library, sys.argv[2])())"
    return subprocess.run([sys.executable, "-c", code, library, call], check=False).returncode


def test_a_torch_without_nvidias_libraries_loads_and_never_calls_them(torch_like: Path) -> None:
    library = torch_like / "torch" / "lib" / "libtorch.so"
    assert loaded(library, "answer") == 1  # it cannot be loaded
    command: list[str | Path] = [sys.executable, DEPLOY / "cpu_torch.py", torch_like]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert loaded(library, "answer") == 42
    assert loaded(library, "use") == -4  # SIGILL
    assert not (library.parent / "libcaffe2_nvrtc.so").exists()


def test_a_torch_that_needs_nothing_of_nvidia_is_refused(torch_like: Path, linker: str) -> None:
    assembled(torch_like / "plain", ".globl answer\nanswer: ret\n")
    linked(linker, torch_like / "torch" / "lib" / "libtorch.so", torch_like / "plain")
    done = subprocess.run(
        [sys.executable, DEPLOY / "cpu_torch.py", torch_like],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is it a torch for CPUs already?" in done.stderr
