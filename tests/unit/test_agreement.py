"""A live caption in plain examples: words of 200 ms, heard in more and more audio."""

from __future__ import annotations

from streams.agreement import Caution, LiveCaption
from streams.results import Word


def words(text: str, probability: float = 1.0) -> list[Word]:
    return [
        Word(text=word, start=place * 200, end=(place + 1) * 200, probability=probability)
        for place, word in enumerate(text.split())
    ]


def waiting() -> LiveCaption:
    """A caption that does not lose patience with doubtful words."""
    return LiveCaption(Caution(old_ms=600_000))


def shown(caption: LiveCaption) -> str:
    """The words; the stable ones in capitals."""
    return " ".join(w.text.upper() if w.stable else w.text for w in caption.shown)


def test_what_two_hypotheses_agree_on_is_stable_if_they_agree_on_what_is_beside_it() -> None:
    caption = waiting()
    assert caption.hear(words("a very good morning"), 2000)
    assert shown(caption) == "a very good morning"
    assert caption.hear(words("a very good evening"), 3000)
    assert shown(caption) == "A VERY good morning"


def test_after_the_last_word_something_may_yet_come_unless_the_speaker_pauses() -> None:
    for paused, expected in [(False, "GOOD morning"), (True, "GOOD MORNING")]:
        caption = waiting()
        caption.hear(words("good morning"), 2000)
        caption.hear(words("good morning"), 3000, paused=paused)
        assert shown(caption) == expected


def test_what_is_doubtful_is_never_stable() -> None:
    caption = waiting()
    for until in range(2000, 9000, 1000):
        caption.hear(words("good morning", probability=caption.caution.doubtful), until)
    assert shown(caption) == "good morning"


def test_what_is_doubtful_is_stable_once_it_is_old_and_heard_alike() -> None:
    caption = LiveCaption(Caution(old_ms=1200))
    for until, expected in [(500, "good"), (1000, "good morning"), (1500, "GOOD morning")]:
        caption.hear(words("good morning", probability=caption.caution.doubtful), until)
        assert shown(caption) == expected


def test_one_unsure_word_does_not_hold_up_the_others() -> None:
    caption = waiting()
    caption.hear(words("my name is smith and I am here"), 3000)
    caption.hear(words("my name is smythe and I am here"), 4000, paused=True)
    assert shown(caption) == "MY NAME is smith and I AM HERE"


def test_a_second_opinion_is_shown_once_it_is_heard_twice() -> None:
    caption = waiting()
    for heard in ("this is smith", "this is smythe", "this is smythe"):
        assert "smythe" not in shown(caption).lower()
        caption.hear(words(heard), 3000)
    assert shown(caption).lower() == "this is smythe"


def test_a_word_that_may_be_heard_in_part_is_not_shown_unless_the_speaker_pauses() -> None:
    caption = waiting()
    assert not caption.hear(words("good"), 210)
    assert shown(caption) == ""
    assert caption.hear(words("good"), 210, paused=True)
    assert "good" in shown(caption).lower()


def test_what_is_stable_stays_whatever_is_heard_later() -> None:
    caption = waiting()
    for until in (2000, 3000):
        caption.hear(words("my name is ann"), until, paused=True)
    for until in (4000, 5000, 6000, 7000):
        caption.hear(words("quite another"), until)
        assert shown(caption).startswith("MY NAME IS ANN")


def test_one_hypothesis_alone_takes_nothing_back() -> None:
    caption = waiting()
    caption.hear(words("good morning"), 2000)
    caption.hear([], 3000)
    assert shown(caption) == "good morning"
    caption.hear([], 4000)
    assert shown(caption) == ""


def test_nothing_heard_is_no_change() -> None:
    caption = waiting()
    assert not caption.hear([], 500)
    assert caption.revision == -1


def test_an_utterance_cut_in_two_is_shown_on() -> None:
    caption = waiting()
    for until in (2000, 3000):
        caption.hear(words("good morning my name is"), until)
    rest = caption.cut(600)
    assert rest is not None
    assert (shown(caption), shown(rest)) == ("GOOD MORNING MY", "NAME is")
    assert rest.revision == 0
    later = [word.model_copy(update={"start": word.start + 600}) for word in words("name is ann")]
    assert rest.hear(later, 4000)
    assert shown(rest) == "NAME is ann"
    assert rest.revision == 1
    assert rest.cut(5000) is None
