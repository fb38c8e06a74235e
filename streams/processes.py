"""Workers and gateways as a supervisor runs them: for the demo, the tests and `prove`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from streams.broker import die_with_parent, free_ports
from streams.errors import UserError
from streams.settings import AGENTS

READY_S = 240.0
STOP_S = 30.0
TAIL = 10
"""Lines of a log that an error quotes."""
CLI = (sys.executable, "-m", "streams.cli")


class ProcessError(UserError):
    """A process ended or did not get ready; the message quotes the end of its log."""


@dataclass(eq=False)
class TenorProcess:
    """A process with /readyz and /metrics on `port`, and the file that it writes its log to.

    It hears nothing of a Ctrl-C, and ends with the thread that started it.
    """

    name: ClassVar[str]

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def works(self) -> bool:
        """Whether it says that it is ready."""
        try:
            self.get("readyz")
        except OSError:
            return False
        return True

    def ready(self, timeout_s: float = READY_S) -> None:
        """Waits until it works.

        Raises:
            ProcessError: it ended, or it took too long.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.ended:
                raise ProcessError(f"the {self.name} ended; {self._tail()}")
            if self.works:
                return
            time.sleep(0.1)
        raise ProcessError(f"the {self.name} was not ready after {timeout_s:g} s; {self._tail()}")

    @contextmanager
    def running(self) -> Iterator[Self]:
        """From ready to ended. Raises ProcessError as `ready`."""
        try:
            self.ready()
            yield self
        finally:
            self.stop()

    def get(self, path: str) -> str:
        """What it answers at `/path`. Raises OSError."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def kill(self) -> None:
        """Ends it as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Asks it to end, and insists after a while; its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.wait()

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL:]
        return "\n".join([f"the end of {self.log}:", *lines])


@dataclass(eq=False)
class WorkerProcess(TenorProcess):
    """A worker."""

    name = "worker"

    @classmethod
    def start(
        cls,
        log: Path,
        settings: Mapping[str, str],
        *,
        agents: Iterable[str] = AGENTS,
        command: Sequence[str] = CLI,
    ) -> Self:
        """Starts one, which is not ready yet; `settings` go over those of the environment."""
        port = free_ports(1)[0]
        arguments = [*command, "worker", "--agents", ",".join(agents)]
        return cls(_start(arguments, {**settings, "TENOR_METRICS_PORT": str(port)}, log), port, log)


@dataclass(eq=False)
class GatewayProcess(TenorProcess):
    """A gateway, which serves on `serving`."""

    name = "gateway"

    serving: int

    @classmethod
    def start(
        cls,
        log: Path,
        settings: Mapping[str, str],
        *,
        port: int = 0,
        command: Sequence[str] = CLI,
    ) -> Self:
        """Starts one on a port, or any that is free; else as a worker."""
        free, metrics = free_ports(2)
        ports = {
            "TENOR_GATEWAY_PORT": str(port or free),
            "TENOR_GATEWAY_METRICS_PORT": str(metrics),
        }
        process = _start([*command, "gateway"], {**ports, **settings}, log)
        return cls(process, metrics, log, port or free)

    @property
    def url(self) -> str:
        """Of its page, if it has no TLS."""
        return f"http://127.0.0.1:{self.serving}"


def _start(
    arguments: Sequence[str], settings: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            arguments,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509  (one call of libc, no lock)
        )
