"""The real Prometheus on a running Tenor, as deploy/ configures it, and a call to be watched."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from websockets.asyncio.client import ClientConnection, connect

from streams.broker import die_with_parent, free_ports
from streams.processes import GatewayProcess, WorkerProcess
from streams.replay import Moment, Script

ROOT: Final = Path(__file__).parents[1]
DEPLOY: Final = ROOT / "deploy"
UNPACKED: Final = ROOT / ".cache" / "prometheus" / "usr" / "bin"
"""Where `make prometheus` puts what it does not install."""
MISSING: Final = "there is no Prometheus on this machine: `make prometheus`"
READY_S: Final = 60.0
ENCODINGS: Final = {"audio/PCMU;rate=8000": "mulaw", "audio/L16;rate=16000": "linear16"}


def tool(name: str) -> str | None:
    """Where a program of Prometheus is, if it is on this machine."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), str(UNPACKED)]))


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs, by its HTTP API."""

    url: str

    def get(self, path: str, **parameters: str | float) -> Any:  # noqa: ANN401  (it is JSON)
        """What it answers, without the envelope. A query that it refuses fails."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        assert answer.is_success, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def query(self, query: str) -> list[dict[str, Any]]:
        """The series that a query of a dashboard gives now."""
        found: list[dict[str, Any]] = self.get("query", query=filled(query))["result"]
        return found

    def course(self, query: str, begin: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series that it gives between two times (s since 1970)."""
        span = {"start": begin, "end": end, "step": step}
        found: list[dict[str, Any]] = self.get("query_range", query=filled(query), **span)["result"]
        return found

    def rules(self) -> dict[str, str]:
        """How each rule does, by its name: `ok`, or not."""
        groups = self.get("rules")["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        alerts = self.get("alerts")["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}


def filled(query: str) -> str:
    """With Grafana's variables as they are when nobody has chosen anything."""
    return query.replace("$instance", ".*").replace("$__rate_interval", "20s")


def configuration(targets: Mapping[str, list[str]]) -> dict[str, Any]:
    """That of deploy/ for targets on this machine, with each second looked at."""
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    read["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    read["rule_files"] = [str(DEPLOY / "prometheus" / each) for each in read["rule_files"]]
    del read["alerting"]
    read["scrape_configs"] = [
        {"job_name": each["job_name"], "static_configs": [{"targets": targets[each["job_name"]]}]}
        for each in read["scrape_configs"]
        if each["job_name"] in targets
    ]
    return read


@contextmanager
def prometheus(
    folder: Path, workers: list[WorkerProcess], gateways: list[GatewayProcess]
) -> Iterator[Prometheus]:
    """One that watches these; ended afterwards."""
    (port,) = free_ports(1)
    listening = f"127.0.0.1:{port}"
    targets = {
        "worker": [f"127.0.0.1:{each.port}" for each in workers],
        "gateway": [f"127.0.0.1:{each.port}" for each in gateways],
        "prometheus": [listening],
    }
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration(targets)))
    program = tool("prometheus")
    assert program, MISSING
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address={listening}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),  # noqa: PLW1509  (one call of libc, no lock)
        )
    try:
        _until_ready(f"http://{listening}")
        yield Prometheus(f"http://{listening}")
    finally:
        process.terminate()
        process.wait()


def _until_ready(url: str) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/-/ready").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("Prometheus did not get ready")


async def speak(
    gateway: GatewayProcess, session: str, script: Script, seconds: float, traceparent: str = ""
) -> None:
    """The first seconds of a conversation, through a gateway and in real time; then it ends. What
    is heard is part of a trace, if one is given."""
    heard = [each for each in script.moments if each.at <= seconds]
    channels = groupby(
        sorted((m for m in heard if m.topic == "audio"), key=lambda m: (m.channel, m.at)),
        key=lambda m: m.channel,
    )
    begun = time.monotonic()
    place = f"127.0.0.1:{gateway.serving}/v1/sessions/{session}"
    talking = [
        _talk(f"ws://{place}/audio", list(moments), begun, traceparent) for _, moments in channels
    ]
    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(
            *talking, *(_post(client, place, m, begun) for m in heard if m.topic != "audio")
        )
        (await client.post(f"http://{place}/end")).raise_for_status()


async def _talk(address: str, moments: list[Moment], begun: float, traceparent: str) -> None:
    first = moments[0]
    encoding = ENCODINGS[first.content_type]
    rate = first.content_type.partition("rate=")[2]
    query = f"channel={first.channel}&encoding={encoding}&sample_rate={rate}"
    traced = {"traceparent": traceparent} if traceparent else {}
    async with connect(f"{address}?{query}", compression=None, additional_headers=traced) as socket:
        listening = asyncio.create_task(_listen(socket))
        for each in moments:
            await _until(begun + each.at)
            await socket.send(each.data)
        await socket.send('{"type": "close"}')
        await listening


async def _listen(socket: ClientConnection) -> None:
    """Until all is confirmed; who reads nothing hears no ping either."""
    async for _ in socket:
        pass


async def _post(client: httpx.AsyncClient, place: str, moment: Moment, begun: float) -> None:
    await _until(begun + moment.at)
    answer = await client.post(
        f"http://{place}/{moment.topic}?channel={moment.channel}",
        content=moment.data,
        headers={"Content-Type": moment.content_type},
    )
    answer.raise_for_status()


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
