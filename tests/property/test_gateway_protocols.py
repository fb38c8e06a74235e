"""What clients of foreign protocols are told, whatever they do and however results arrive.

A recogniser is played that hears what the client sends: it shows utterances while they grow, ends
them where they pause or were cut, cuts long speech while it already shows what follows, and repeats
some of what it said, as one does that was restarted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.gateway.deepgram_messages import Listening
from streams.gateway.deepgram_query import options_of
from streams.gateway.openai_messages import Conversation, Cut
from streams.gateway.openai_session import Config
from streams.results import CaptionFinal, CaptionPartial, Gap, PartialWord, Result, Silence, Word

T0 = 1_700_000_000_000
PAUSE_MS = 1280
Message = dict[str, Any]
HEARD = {"language": "en", "model": "m", "no_speech_probability": 0.0}
SHORTEST_MS = 3
"""Of audio in which somebody may speak: what is rounded may be wrong by one."""
COUNT = 3
"""Words of an utterance."""


@dataclass
class Recogniser:
    """Of one channel: `at` is how far it has told, `ends` where it must end an utterance."""

    channel: str
    at: int = T0
    end: int = T0
    ms: int = 0
    ends: list[tuple[int, int]] = field(default_factory=list)
    log: list[Result] = field(default_factory=list)
    texts: list[tuple[int, str]] = field(default_factory=list)
    words: int = 0
    revision: int = -1
    next: int | None = None
    """Where the next utterance begins, which is shown already."""

    @property
    def until(self) -> int:
        """Up to where there is audio without a hole."""
        return self.ends[0][0] if self.ends else self.end

    def cut(self, pause: int = 0) -> None:
        """The client ends an utterance, and goes on so much later."""
        self.ends.append((self.end, self.end + pause))
        self.end += pause

    def show(self, shown: int, *, ahead: int = 0) -> list[Result]:
        """An utterance while it grows, or the next one, which begins so much later."""
        if ahead and self.next is None:
            self.next = self.at + ahead
        start = self.next if ahead and self.next else self.at
        end = self.until if ahead or not self.next else self.next
        if start > end - SHORTEST_MS:
            self.next = None if start > self.until - SHORTEST_MS else self.next
            return []
        self.revision += 1
        words = self._spoken(self.words + (COUNT if ahead else 0), start)
        spoken = tuple(
            PartialWord(**word.model_dump(), stable=n < shown - 1)
            for n, word in enumerate(words[:shown])
        )
        text = " ".join(word.text for word in spoken)
        span = {"session": "s", "channel": self.channel, "start": start, "end": end}
        return self._said(
            CaptionPartial(**span, **HEARD, text=text, words=spoken, revision=self.revision)
        )

    def piece(self, kind: str, length: int) -> list[Result]:
        """Ends what is under way, or tells of a hole."""
        while self.ends and self.at == self.ends[0][0]:
            if hole := self._hole():
                return hole
        if self.at == self.until:
            return []
        end = min(self.at + length, self.until)
        end = self.until if end > self.until - SHORTEST_MS else end
        if self.next:
            kind, end, self.next = "speech", self.next, None
        span = {"session": "s", "channel": self.channel, "start": self.at, "end": end}
        said: Result
        if kind == "speech":
            words = self._spoken(self.words, self.at)
            text = " ".join(word.text for word in words)
            said = CaptionFinal(**span, **HEARD, text=text, words=words, revision=0)
            self.texts.append((self.at, text))
        else:
            said = Silence(**span) if kind == "silence" else Gap(**span, reason=kind)
        self.at, self.revision, self.words = end, -1, self.words + COUNT
        return self._said(said)

    def _hole(self) -> list[Result]:
        start, self.at = self.ends.pop(0)
        if start == self.at:
            return []
        span = {"session": "s", "channel": self.channel, "start": start, "end": self.at}
        return self._said(Gap(**span, reason="no-audio"))

    def again(self, count: int) -> list[Result]:
        """The last results, once more."""
        return self.log[-count:]

    def _spoken(self, first: int, start: int) -> tuple[Word, ...]:
        return tuple(
            Word(text=f"w{n}", start=start + 1, end=start + 2, probability=0.9)
            for n in range(first, first + COUNT)
        )

    def _said(self, result: Result) -> list[Result]:
        self.log.append(result)
        return [result]


class Machine(RuleBasedStateMachine):
    """What both protocols have: audio comes, and results of it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Message] = []
        self.recognisers = [Recogniser("1")]

    def hear(self, recogniser: Recogniser, results: list[Result]) -> None:
        raise NotImplementedError

    def take(self, index: int, ms: int) -> None:
        raise NotImplementedError

    def some(self, which: int) -> Recogniser:
        return self.recognisers[which % len(self.recognisers)]

    @rule(ms=st.integers(SHORTEST_MS, 3000))
    def audio(self, ms: int) -> None:
        for index, recogniser in enumerate(self.recognisers):
            recogniser.end += ms
            recogniser.ms += ms
            self.take(index, ms)

    @rule(which=st.integers(0, 1), shown=st.integers(0, COUNT), ahead=st.sampled_from([0, 0, 700]))
    def shows(self, which: int, shown: int, ahead: int) -> None:
        recogniser = self.some(which)
        self.hear(recogniser, recogniser.show(shown, ahead=ahead))

    @rule(
        which=st.integers(0, 1),
        kind=st.sampled_from(["speech", "speech", "silence", "repetition"]),
        length=st.integers(1, 4000),
    )
    def ends(self, which: int, kind: str, length: int) -> None:
        recogniser = self.some(which)
        self.hear(recogniser, recogniser.piece(kind, length))

    @rule(which=st.integers(0, 1), count=st.integers(1, 20))
    def repeats(self, which: int, count: int) -> None:
        recogniser = self.some(which)
        self.hear(recogniser, recogniser.again(count))

    def finish(self) -> None:
        """Everything is recognised."""
        for recogniser in self.recognisers:
            while results := recogniser.piece("speech", 5000):
                self.hear(recogniser, results)


class DeepgramMachine(Machine):
    def __init__(self) -> None:
        super().__init__()
        query = (
            "encoding=linear16 sample_rate=16000 channels=2 multichannel=true"
            " interim_results=true utterance_end_ms=500 vad_events=true"
        )
        options = options_of([(a, b) for a, b in (each.split("=") for each in query.split())], "en")
        self.core = Listening(options, "id")
        self.recognisers = [Recogniser("1"), Recogniser("2")]
        self.begun = [False, False]
        self.asked = [0, 0]

    def take(self, index: int, ms: int) -> None:
        if not self.begun[index]:
            self.core.begin(index, self.recognisers[index].end - ms)
            self.begun[index] = True
        self.core.take(index, ms)

    def hear(self, recogniser: Recogniser, results: list[Result]) -> None:
        for result in results:
            self.told += self.core.result(recogniser.channel, result)

    @rule(ago=st.integers(-500, 3000))
    def time_passes(self, ago: int) -> None:
        self.told += self.core.heard(max(each.end for each in self.recognisers) - ago)

    @rule(index=st.integers(0, 1), pause=st.sampled_from([0, PAUSE_MS]))
    def finalize(self, index: int, pause: int) -> None:
        self.asked[index] += 1
        self.told += self.core.finalize(index)
        if self.begun[index]:
            self.recognisers[index].cut(pause)
            self.begun[index] = not pause

    def of(self, type_: str, index: int) -> list[Message]:
        place = "channel_index" if type_ == "Results" else "channel"
        return [m for m in self.told if m["type"] == type_ and m[place] == [index, 2]]

    def finals(self, index: int) -> list[Message]:
        return [m for m in self.of("Results", index) if m["is_final"]]

    @invariant()
    def final_results_follow_each_other_without_a_hole(self) -> None:
        for index in (0, 1):
            at = 0.0
            for message in self.finals(index):
                assert abs(message["start"] - at) < 0.0011
                at = message["start"] + message["duration"]

    @invariant()
    def all_that_was_said_is_told_once_and_in_order(self) -> None:
        for index, recogniser in enumerate(self.recognisers):
            told = [m["channel"]["alternatives"][0]["transcript"] for m in self.finals(index)]
            assert [text for text in told if text] == [text for _, text in recogniser.texts]

    @invariant()
    def nothing_final_is_shown_as_interim(self) -> None:
        for index in (0, 1):
            final = 0.0
            for message in self.of("Results", index):
                if message["is_final"]:
                    final = message["start"] + message["duration"]
                else:
                    assert message["start"] >= final - 0.0011

    @invariant()
    def ends_of_utterances_are_those_of_words(self) -> None:
        for index in (0, 1):
            ends = [m["last_word_end"] for m in self.of("UtteranceEnd", index)]
            words = {
                m["channel"]["alternatives"][0]["words"][-1]["end"]
                for m in self.finals(index)
                if m["channel"]["alternatives"][0]["words"]
            }
            assert ends == sorted(set(ends)) and set(ends) <= words

    def teardown(self) -> None:
        self.finish()
        assert self.core.complete
        for index, recogniser in enumerate(self.recognisers):
            finals = self.finals(index)
            assert bool(self.asked[index]) == any(m["from_finalize"] for m in finals)
            assert not self.core.channels[index].finalize
            assert round(sum(m["duration"] for m in finals) * 1000) == recogniser.ms
        self.final_results_follow_each_other_without_a_hole()
        self.all_that_was_said_is_told_once_and_in_order()


class OpenAIMachine(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.core = Conversation("id", Config("en"))
        self.told.append(self.core.created())
        self.begun = False
        self.cleared: list[tuple[int, int]] = []
        self.forgotten: set[str] = set()
        self.before: set[str] = set()
        self.since = T0

    def take(self, index: int, ms: int) -> None:
        if not self.begun:
            self.core.begin(self.recognisers[index].end - ms)
            self.begun = True
        self.core.take(ms)

    def hear(self, recogniser: Recogniser, results: list[Result]) -> None:
        for result in results:
            if isinstance(result, CaptionFinal):
                heard = self.forgotten if self.was_cleared(result.start) else self.before
                heard.add(result.text)
            self.told += self.core.result(result)

    def was_cleared(self, time: int) -> bool:
        return any(since <= time < end for since, end in self.cleared)

    def send(self, pause: int = 0, **event: Any) -> bool:  # noqa: ANN401  (its fields)
        told, deed = self.core.event(json.dumps(event))
        self.told += told
        if isinstance(deed, Cut) and self.begun:
            self.recognisers[0].cut(pause)
            self.begun = not pause
        return deed is not None

    @rule(pause=st.sampled_from([0, PAUSE_MS]))
    def commit(self, pause: int) -> None:
        end = self.recognisers[0].end
        if self.send(pause, type="input_audio_buffer.commit"):
            self.since = end

    @rule(pause=st.sampled_from([0, PAUSE_MS]))
    def clear(self, pause: int) -> None:
        end = self.recognisers[0].end if self.begun else self.since
        assert self.send(pause, type="input_audio_buffer.clear")
        self.cleared.append((self.since, end))
        self.since = max(end, self.since)

    @rule(detects=st.booleans())
    def configure(self, detects: bool) -> None:
        turn = {"type": "server_vad"} if detects else None
        session = {"type": "transcription", "audio": {"input": {"turn_detection": turn}}}
        assert self.send(type="session.update", session=session)

    @rule(text=st.sampled_from(["", "[]", '{"type": "response.create"}']))
    def nonsense(self, text: str) -> None:
        told, deed = self.core.event(text)
        assert deed is None and [each["type"] for each in told] == ["error"]

    def items(self) -> dict[str, list[Message]]:
        found: dict[str, list[Message]] = {}
        for message in self.told:
            if id_ := message.get("item_id") or message.get("item", {}).get("id"):
                found.setdefault(id_, []).append(message)
        return found

    @invariant()
    def items_go_their_way(self) -> None:
        for messages in self.items().values():
            kinds = [m["type"].rpartition(".")[2] for m in messages]
            kinds = [kind for kind in kinds if kind != "delta"]
            steps = ["committed", "added", "created", "done"]
            assert kinds.count("speech_started") <= 1
            if "committed" in kinds:
                at = kinds.index("committed")
                assert kinds[at : at + 4] == steps
                assert {*kinds[:at]} <= {"speech_started", "speech_stopped"}
                assert kinds[at + 4 :] in ([], ["completed"], ["failed"])
            else:
                assert kinds in ([], ["speech_started"])

    @invariant()
    def deltas_are_what_is_completed(self) -> None:
        """But for words that were shown as stable, and then were none."""
        for messages in self.items().values():
            deltas = "".join(m["delta"] for m in messages if m["type"].endswith("delta")).split()
            for message in messages:
                if message["type"].endswith("completed"):
                    words = message["transcript"].split()
                    assert [each for each in deltas if each in words] == words

    @invariant()
    def what_was_cleared_before_it_was_recognised_is_not_told(self) -> None:
        told = " ".join(self.transcripts())
        assert not [text for text in self.forgotten - self.before if text in told]

    @invariant()
    def items_are_chained(self) -> None:
        before = None
        for message in self.told:
            if message["type"].endswith("committed"):
                assert message["previous_item_id"] == before
                before = message["item_id"]

    @invariant()
    def every_event_has_an_id_of_its_own(self) -> None:
        ids = [message["event_id"] for message in self.told]
        assert len({*ids}) == len(ids)

    @precondition(lambda self: self.recognisers[0].end > T0)
    @rule()
    def nothing_is_told_twice(self) -> None:
        words = " ".join(self.transcripts()).split()
        assert len(words) == len({*words})

    def transcripts(self) -> list[str]:
        return [m["transcript"] for m in self.told if m["type"].endswith(".completed")]

    def teardown(self) -> None:
        self.finish()
        assert self.core.spoken.complete
        if self.begun:
            self.send(type="input_audio_buffer.commit")
        said = [text for start, text in self.recognisers[0].texts if not self.was_cleared(start)]
        told = " ".join(filter(None, self.transcripts()))
        missing = [text for text in said if text not in told]
        open_ = self.core._open  # not committed: too short, or nobody did
        assert missing == (open_.texts if open_ else [])
        assert not self.core._committed


BUDGET = settings(stateful_step_count=40)

TestDeepgram = DeepgramMachine.TestCase
TestDeepgram.settings = BUDGET
TestOpenAI = OpenAIMachine.TestCase
TestOpenAI.settings = BUDGET
