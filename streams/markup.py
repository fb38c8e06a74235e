"""HTML and SVG as text in which nothing that came from outside can be markup. Pure.

`element` escapes every child and every attribute that is not itself made by `element`. Characters
that neither HTML nor XML may hold, and those that turn the order of a line around, become U+FFFD.
Elements close as XML wants it, so that the same text is good as HTML and as SVG.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final

SVG: Final = "http://www.w3.org/2000/svg"
"""The namespace of drawings, without which they are none outside of HTML."""
VOID: Final = frozenset({"br", "col", "hr", "img", "link", "meta"})
"""HTML elements that have no end."""
_UNFIT: Final = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_PLAIN: Final = re.compile(r"[^&<>\"'\0-\x08\x0b\x0c\x0e-\x1f\x7f-\uffff]*")

Attribute = str | int | float | bool | None


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """A text as itself; what is markup stays as it is."""
    if isinstance(text, Markup):
        return text
    if _PLAIN.fullmatch(text):  # as most are, of the many in a page
        return Markup(text)
    return Markup(html.escape(_UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)))


def joined(parts: Iterable[str]) -> Markup:
    """One after the other."""
    return Markup("".join(map(escaped, parts)))


def element(name: str, *children: str, **attributes: Attribute) -> Markup:
    """An element. `class_` is the attribute class, `stroke_width` is stroke-width; an attribute
    that is None or False is left out, one that is True is only named."""
    given = "".join(map(_attribute, attributes, attributes.values()))
    if name in VOID:
        return Markup(f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{joined(children)}</{name}>")


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f' {name}=""'
    return f' {name}="{escaped(number(value) if isinstance(value, float) else str(value))}"'


def number(value: float) -> str:
    """A measure of a drawing, as short as it can be."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
