"""Settings come from the environment, and wrong ones are refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from streams.settings import Settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TENOR_{name.upper()}", raising=False)


def test_the_defaults_satisfy_their_own_limits() -> None:
    defaults = Settings()
    assert Settings.model_validate(defaults.model_dump()) == defaults


def test_each_setting_says_what_it_is_for() -> None:
    assert not [name for name, field in Settings.model_fields.items() if not field.description]


def test_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENOR_WINDOW_MS", "2500")
    monkeypatch.setenv("tenor_brokers", "kafka-1:9092,kafka-2:9092")
    settings = Settings()
    assert settings.window_ms == 2500
    assert settings.brokers == "kafka-1:9092,kafka-2:9092"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WINDOW_MS", "abc"),
        ("WINDOW_MS", "0"),
        ("LATENESS_MS", "-1"),
        ("PARTITIONS", "0"),
        ("DEVICE", "tpu"),
        ("TOPIC_PREFIX", "a b"),
        ("GROUP", ""),
        ("METRICS_PORT", "65536"),
        ("IDLE_AFTER_S", "0"),
        ("IDLE_AFTER_S", "nan"),
        ("LOG_LEVEL", "loud"),
        ("LANGUAGE", "english"),
    ],
)
def test_a_wrong_setting_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(f"TENOR_{name}", text)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert [each["loc"] for each in refused.value.errors()] == [(name.lower(),)]


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        ({"WINDOW": "sliding"}, "window"),
        ({"WINDOW": "hopping", "HOP_MS": "1500"}, "hop_ms"),
        ({"WINDOW": "hopping", "WINDOW_MS": "2500"}, "hop_ms"),
        ({"WINDOW": "hopping", "HOP_MS": "10000"}, "hop_ms"),
        ({"WINDOW": "session", "GAP_MS": "5001"}, "gap_ms"),
        ({"WINDOW": "session", "WINDOW_MS": "500"}, "gap_ms"),
    ],
)
def test_windows_that_make_no_sense_are_refused(
    monkeypatch: pytest.MonkeyPatch, texts: dict[str, str], name: str
) -> None:
    for each, text in texts.items():
        monkeypatch.setenv(f"TENOR_{each}", text)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert [each["loc"] for each in refused.value.errors()] == [(name,)]


def test_what_windows_do_not_use_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENOR_WINDOW_MS", "700")
    assert Settings().hop_ms == 1000


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().threads = 4  # type: ignore[misc]


def test_the_readme_shows_settings_as_they_are() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    shown = re.findall(r"^\| `TENOR_([A-Z_]+)` \| (?:`([^`]*)`)? ?\| (.*) \|$", readme, re.M)
    told = [
        (name.upper(), str(field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]
    assert len(shown) > 5
    assert shown == [row for row in told if row in shown]
