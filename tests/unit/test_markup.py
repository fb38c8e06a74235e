"""Text becomes markup only where it is meant to."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from streams.markup import Markup, element
from tests.html_page import Page

UNFIT = "\N{REPLACEMENT CHARACTER}"


@given(st.text())
def test_any_text_is_read_back_as_itself(text: str) -> None:
    made = element("p", text, title=text, id="x")
    read = Page(made)
    found = "".join(read.texts.get("x", []))
    assert read.tags == ["p"]
    assert len(found) == len(text)
    assert all(a in (b, UNFIT) for a, b in zip(found, text, strict=True))
    assert read.values("title") == [found]
    ElementTree.fromstring(made)  # noqa: S314


def test_markup_stays_as_it_is_and_nothing_else_does() -> None:
    assert element("b", Markup("<i>x</i>"), "<i>") == "<b><i>x</i>&lt;i&gt;</b>"
    assert element("img", alt='"', width=1.50, hidden=True, lang=None, open=False) == (
        '<img alt="&quot;" width="1.5" hidden=""/>'
    )
