"""Settings come from the environment, and wrong ones are refused by name."""

from __future__ import annotations

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


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().threads = 4  # type: ignore[misc]
