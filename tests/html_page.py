"""An HTML file as a browser reads it, as far as tests ask."""

from __future__ import annotations

from html.parser import HTMLParser

from streams.markup import VOID


class Page(HTMLParser):
    """Its elements, which must be closed where they were opened, their attributes and texts."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: dict[str, list[str]] = {}
        self._within: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        id_ = dict(attrs).get("id") or ""
        self.ids += [id_] if id_ else []
        if tag not in VOID:
            self.open.append(tag)
            self._within.append(id_)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._within.pop()

    def handle_data(self, data: str) -> None:
        for id_ in {*self._within, ""}:
            self.texts.setdefault(id_, []).append(data)

    def text(self, id_: str = "") -> str:
        """All text in an element; '': in the page."""
        return " ".join("".join(self.texts.get(id_, [])).split())

    def values(self, name: str) -> list[str]:
        return [value for _, each, value in self.attributes if each == name]
