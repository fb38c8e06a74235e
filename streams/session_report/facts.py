"""What a report tells of a session, put in order: whose it was, how long, who spoke, how the mood
went; and how times and numbers are written in it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

from streams.courses import Course
from streams.export import Account, coverage
from streams.messages import Typed
from streams.results import (
    CaptionFinal,
    ChannelSentiment,
    Gap,
    ImageRecognized,
    Match,
    Result,
    Sentiment,
    SentimentSession,
    SentimentWindow,
    Silence,
)
from streams.thumbnails import Thumbnail

EVERYBODY: Final = ""
"""The channel of what is said of the whole conversation."""
CHANNELS: Final = 8
"""Channels that are drawn, those that spoke most: so many colours can be told apart."""
NAME: Final = 60
"""Characters of a channel's name, a label or a model that are shown."""
STEADY: Final = 0.1
"""Less change of a score than this, from first to last, is no trend."""

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Facts:
    """The results of one session as `streams.history.read_session` gives them: final, each once."""

    results: tuple[Result, ...]
    texts: tuple[Typed, ...] = ()
    pictures: tuple[Thumbnail, ...] = ()

    def of(self, kind: type[R]) -> list[R]:
        """All results of a kind, in order of time."""
        found = [each for each in self.results if isinstance(each, kind)]
        return sorted(found, key=lambda each: (each.span(), getattr(each, "channel", "")))

    @cached_property
    def session(self) -> str:
        return self.results[0].session if self.results else ""

    @cached_property
    def captions(self) -> list[CaptionFinal]:
        return self.of(CaptionFinal)

    @cached_property
    def gaps(self) -> list[Gap]:
        return self.of(Gap)

    @cached_property
    def images(self) -> list[ImageRecognized]:
        return self.of(ImageRecognized)

    @cached_property
    def matches(self) -> list[Match]:
        return self.of(Match)

    @cached_property
    def coverage(self) -> dict[str, dict[str, int]]:
        """The ms of each channel that captions, silence and gaps account for."""
        return coverage(self.accounts)

    @cached_property
    def accounts(self) -> list[Account]:
        return [*self.captions, *self.of(Silence), *self.gaps]

    @cached_property
    def summary(self) -> SentimentSession | None:
        """What was said of the session at its end; None: it has not ended, or goes on after it."""
        found = max(self.of(SentimentSession), key=lambda each: each.end, default=None)
        told = (*self.captions, *self.of(SentimentWindow))
        if found and any(each.start >= found.end for each in told):
            return None
        return found

    @cached_property
    def windows(self) -> dict[str, list[SentimentWindow]]:
        """By channel, in order of time; that of everybody is the last channel."""
        by_channel: dict[str, list[SentimentWindow]] = {}
        for each in self.of(SentimentWindow):
            by_channel.setdefault(each.channel, []).append(each)
        return {name: by_channel[name] for name in sorted(by_channel, key=_everybody_last)}

    @cached_property
    def span(self) -> tuple[int, int]:
        """From the first to the last moment (ms since the epoch) that is told of. Windows begin and
        end at round times, so they count only where there was no audio."""
        told: list[Result] = [*self.accounts, *self.images]
        spans = [each.span() for each in (told if self.accounts else self.results)]
        spans += [(each.time, each.time) for each in self.texts]
        start = min((start for start, _ in spans), default=0)
        return start, max(start + 1, *(end for _, end in spans)) if spans else start + 1

    @property
    def start(self) -> int:
        return self.span[0]

    @property
    def length(self) -> int:
        return self.span[1] - self.span[0]

    @cached_property
    def channels(self) -> list[str]:
        """Those that were heard, wrote, showed or were scored, by name."""
        names = {each.channel for each in (*self.accounts, *self.images, *self.texts)}
        return sorted(names | (self.windows.keys() - {EVERYBODY}))

    @cached_property
    def drawn(self) -> list[str]:
        """The channels that figures show, by name."""
        ranked = sorted(self.channels, key=lambda name: (-self.talk_ms(name), name))
        return sorted(ranked[:CHANNELS])

    @cached_property
    def scored(self) -> list[str]:
        """The channels of which figures of sentiment are made; everybody, where there are several,
        is the last."""
        own = [name for name in self.windows if name != EVERYBODY and name in self.drawn]
        return own if len(own) == 1 else [*own, *(self.windows.keys() & {EVERYBODY})]

    @cached_property
    def means(self) -> dict[str, ChannelSentiment]:
        """How each channel's sentiment went: as it was said at the end, or so far."""
        if self.summary:
            return dict(self.summary.channels)
        return {name: _course(windows) for name, windows in self.windows.items()}

    def talk_ms(self, channel: str) -> int:
        """How long a channel spoke, as far as it was heard."""
        return self._talk_ms[channel]

    @cached_property
    def _talk_ms(self) -> Counter[str]:
        spoken = Counter[str]()
        for each in self.captions:
            spoken[each.channel] += each.end - each.start - each.lost_ms
        return spoken

    def share(self, channel: str) -> float:
        """A channel's share of all that was spoken."""
        return self.talk_ms(channel) / max(1, sum(self._talk_ms.values()))

    def at(self, time: int) -> str:
        """A time (ms since the epoch) as people say it: since the beginning."""
        return clock(time - self.start)

    def between(self, start: int, end: int) -> str:
        return f"{self.at(start)}{DASH}{self.at(end)}"

    def colour(self, channel: str) -> str:
        """The class of what belongs to a channel."""
        if channel in self.drawn:
            return f"c{self.drawn.index(channel)}"
        return "call"


def _everybody_last(name: str) -> tuple[bool, str]:
    return name == EVERYBODY, name


def _course(windows: Sequence[SentimentWindow]) -> ChannelSentiment:
    """As the join sums it up at the end. A mean is called as the window nearest to it: what scores
    are called only the fusion model knows."""
    course = Course()
    for each in windows:
        course.add(each.start, each.end, each.score)

    def label(mean: float) -> Sentiment:
        return min(windows, key=lambda each: abs(each.score - mean)).label

    return course.summary(label)


def strongest(window: SentimentWindow) -> tuple[str, float]:
    """The likeliest emotion and its probability."""
    found = max(window.emotions.items(), key=lambda each: each[1], default=("", 0.0))
    return short(found[0]), found[1]


def interval(score: float, deviation: float) -> tuple[float, float]:
    """Where 90 % of the truths are."""
    return max(-1.0, score - 1.645 * deviation), min(1.0, score + 1.645 * deviation)


def clock(ms: int) -> str:
    """m:ss, or h:mm:ss; before the beginning with a minus."""
    seconds = abs(ms) // 1000
    minus = MINUS if ms <= -1000 else ""
    if seconds < 3600:
        return f"{minus}{seconds // 60}:{seconds % 60:02}"
    return f"{minus}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def duration(ms: int) -> str:
    """In words."""
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def signed(value: float) -> str:
    """A score."""
    text = f"{abs(value):.2f}"
    if text == "0.00":
        return text
    return (MINUS if value < 0 else "+") + text


def percent(share: float) -> str:
    return f"{share:.0%}".replace("%", f"{THIN}%")


def count(number: int, one: str, many: str = "") -> str:
    """So many of something."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def short(text: str, most: int = NAME) -> str:
    """A name that may be of any length."""
    return text if len(text) <= most else text[: most - 1] + "…"


def listed(parts: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = [*parts] or [""]
    return f"{', '.join(most)} and {last}" if most else last


DASH: Final = "\N{EN DASH}"
MINUS: Final = "\N{MINUS SIGN}"
THIN: Final = "\N{NARROW NO-BREAK SPACE}"
