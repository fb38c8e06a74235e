"""The captions of a session as a file: WebVTT, SubRip, JSON or plain text. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from streams.cues import NO_AUDIO, Cue, cues, label
from streams.results import CaptionFinal, Gap, Result, Silence, result_event

Account = CaptionFinal | Silence | Gap
"""What accounts for audio: each millisecond of a channel is in exactly one of them."""

COUNTED: Final[Mapping[type[Account], str]] = {
    CaptionFinal: "caption_ms",
    Silence: "silence_ms",
    Gap: "gap_ms",
}


def render(results: Sequence[Result], format: str) -> str:  # noqa: A002  (as the option is called)
    """The text of a file in one of `FORMATS`.

    `results` are of one session, in any order; others than final captions, silence and gaps are
    passed over. Times in the file begin at the first millisecond that these tell of, but JSON has
    them since the epoch.
    """
    accounts = [each for each in results if isinstance(each, Account)]
    accounts.sort(key=lambda each: (each.start, each.end, each.channel))
    return FORMATS[format](accounts)


def _vtt(accounts: Sequence[Account]) -> str:
    """WebVTT (W3C): voices are tags; each gap is also a comment, for those who edit the file."""
    zero = _zero(accounts)
    blocks = [(cue.start, _vtt_cue(cue)) for cue in cues(accounts, zero)]
    blocks += [(gap.start - zero, _note(gap, zero)) for gap in accounts if isinstance(gap, Gap)]
    blocks.sort(key=lambda block: block[0])
    return "\n\n".join(["WEBVTT", *(block for _, block in blocks)]) + "\n"


def _vtt_cue(cue: Cue) -> str:
    voice = f"<v {_escaped(cue.speaker)}>" if cue.speaker else ""
    text = _escaped("\n".join(cue.lines))
    return f"{_clock(cue.start)} --> {_clock(cue.end)}\n{voice}{text}"


def _note(gap: Gap, zero: int) -> str:
    span = f"{_clock(gap.start - zero)} to {_clock(gap.end - zero)}"
    return f"NOTE {span} {_escaped(label(gap.channel) + _said(gap))}"


def _escaped(text: str) -> str:
    """For the text of a cue and the name in a tag; a comment, which knows no escapes, must at
    least not hold the arrow of a cue."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _srt(accounts: Sequence[Account]) -> str:
    """SubRip: with several speakers, each cue begins with its speaker, as there is no tag."""
    shown = cues(accounts, _zero(accounts))
    several = len({cue.speaker for cue in shown}) > 1
    return "\n".join(_srt_cue(i, cue, several=several) for i, cue in enumerate(shown, 1))


def _srt_cue(number: int, cue: Cue, *, several: bool) -> str:
    times = f"{_clock(cue.start)} --> {_clock(cue.end)}".replace(".", ",")
    text = (label(cue.speaker) if several else "") + "\n".join(cue.lines)
    return f"{number}\n{times}\n{text}\n"


def _txt(accounts: Sequence[Account]) -> str:
    """A line for each caption and each gap."""
    zero = _zero(accounts)
    return "".join(
        f"[{_hours(each.start - zero)}] {label(each.channel)}{_said(each)}\n"
        for each in accounts
        if not isinstance(each, Silence)
    )


def _said(account: CaptionFinal | Gap) -> str:
    if isinstance(account, CaptionFinal):
        return " ".join(account.text.split())
    return "[no audio]" if account.reason == NO_AUDIO else f"[not recognised: {account.reason}]"


def _json(accounts: Sequence[Account]) -> str:
    """The results with their types and ids, and how much of each channel they account for."""
    session = {
        "session": accounts[0].session if accounts else None,
        "start": accounts[0].start if accounts else None,
        "end": max((each.end for each in accounts), default=None),
        "channels": coverage(accounts),
        "results": [_identified(each) for each in accounts],
    }
    return json.dumps(session, indent=2, ensure_ascii=False) + "\n"


def coverage(accounts: Iterable[Account]) -> dict[str, dict[str, int]]:
    """How many ms of each channel are accounted for, together and by what."""
    channels: defaultdict[str, dict[str, int]] = defaultdict(
        lambda: dict.fromkeys(("covered_ms", *COUNTED.values()), 0)
    )
    for each in accounts:
        for counted in ("covered_ms", COUNTED[type(each)]):
            channels[each.channel][counted] += each.end - each.start
    return dict(sorted(channels.items()))


def _identified(account: Account) -> dict[str, object]:
    event = result_event(account, source="")
    return {"type": event.type, "id": event.id, **account.model_dump(mode="json")}


def _zero(accounts: Sequence[Account]) -> int:
    return accounts[0].start if accounts else 0


def _hours(ms: int) -> str:
    """h:mm:ss."""
    seconds = ms // 1000
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _clock(ms: int) -> str:
    """hh:mm:ss.mmm."""
    return f"{_hours(ms):0>8}.{ms % 1000:03}"


FORMATS: Final[Mapping[str, Callable[[Sequence[Account]], str]]] = {
    "vtt": _vtt,
    "srt": _srt,
    "json": _json,
    "txt": _txt,
}
