"""The images, built and at work: how large, how soon ready, what memory, how long to the end.

    python -m tests.bench.images                        # needs a Docker engine with BuildKit
    python -m tests.bench.images --targets worker-cuda --no-run

Builds each target of deploy/Dockerfile. Then a private Kafka, and a container of the first worker
with a read-only root, no capabilities, 2 cores and 4 GiB; the demo call is sent at once, and its
results awaited. `--python` names another base image, `--network` one for building (`host`: that of
this machine). Prints JSON; MB are 10^6 bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from streams.broker import Broker
from streams.connection import Connection
from streams.events import EventType, Topics
from streams.processes import WorkerProcess
from streams.replay import load, replay
from tests.deployment import ROOT
from tests.harness import RESULTS, Installation, events

DOCKER: Final = os.environ.get("DOCKER", "docker")
CONTAINER: Final = "tenor-bench-worker"
RUN: Final = (
    *(DOCKER, "run", "--rm", "--name", CONTAINER, "--network", "host", "--read-only"),
    *("--tmpfs", "/tmp", "--tmpfs", "/cache:uid=10001,gid=10001,mode=0700"),  # noqa: S108
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--cpus", "2"),
    *("--memory", "4g", "--init"),
)
PASSED_ON: Final = ("TENOR_BROKERS", "TENOR_TOPIC_PREFIX", "TENOR_GROUP", "TENOR_METRICS_PORT")
PATIENCE_S: Final = 600


def said(*command: str) -> str:
    """What a command of Docker prints."""
    done = subprocess.run([DOCKER, *command], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def build(target: str, options: Sequence[str]) -> dict[str, Any]:
    """Builds an image; what it and its base hold."""
    started = time.monotonic()
    command = [DOCKER, "build", "-f", "deploy/Dockerfile", "--target", target, *options]
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    subprocess.run([*command, "-t", image(target), "."], cwd=ROOT, env=environment, check=True)
    megabytes = int(said("image", "inspect", "--format", "{{.Size}}", image(target))) / 1e6
    du = ("run", "--rm", "--entrypoint", "du", image(target), "-sm", "--block-size=1000000")
    packages = int(said(*du, "/opt/tenor").split()[0])
    seconds = round(time.monotonic() - started)
    return {"image_mb": round(megabytes), "packages_mb": packages, "built_in_s": seconds}


def image(target: str) -> str:
    """The name that the bench gives it."""
    return f"tenor-{target}:bench"


async def work(target: str, folder: Path) -> dict[str, Any]:
    """A container takes the demo call from a private Kafka."""
    with Broker(folder / "kafka") as kafka:
        brokers = Connection(kafka.bootstrap)
        tenor = Installation(brokers, Topics.of("bench."), "bench.", folder)
        await tenor.make_topics()
        started = time.monotonic()
        passed = [word for name in PASSED_ON for word in ("-e", name)]
        worker = WorkerProcess.start(
            folder / "worker.log", tenor.settings, command=(*RUN, *passed, image(target))
        )
        with worker.running():
            ready = time.monotonic() - started
            script = load([ROOT / "demo" / "call"])
            await replay(script, brokers, tenor.topics, "call", speed=0)
            records = await tenor.read(RESULTS, until=EventType.SENTIMENT_SESSION, s=PATIENCE_S)
            memory = said("stats", "--no-stream", "--format", "{{.MemUsage}}", CONTAINER)
            stopping = time.monotonic()
            status = worker.stop()
        return {
            "ready_s": round(ready, 1),
            "memory": memory.partition(" /")[0],
            "end_s": round(time.monotonic() - stopping, 1),
            "exit_status": status,
            "results": Counter(event.type for event in events(records)),
        }


def main() -> None:
    """Builds, runs and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--targets", default="worker-cpu,gateway")
    parser.add_argument("--python", help="Base image.  [default: the Dockerfile's]")
    parser.add_argument("--network", default="default")
    parser.add_argument("--no-run", action="store_true", help="Only build.")
    given = parser.parse_args()
    options = ["--network", given.network]
    options += ["--build-arg", f"PYTHON={given.python}"] if given.python else []
    targets = given.targets.split(",")
    figures: dict[str, Any] = {target: build(target, options) for target in targets}
    if not given.no_run:
        worker = next(target for target in targets if target.startswith("worker"))
        with tempfile.TemporaryDirectory() as folder:
            figures[worker] |= asyncio.run(work(worker, Path(folder)))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
