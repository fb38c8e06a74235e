"""The pictures of a report, with what they show and which texts match them. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Final

from streams.markup import SVG, Markup, element, joined
from streams.results import Face, ImageRecognized, Label, Match
from streams.session_report.contents import Contents, Entry
from streams.session_report.facts import Facts, count, listed, percent, short
from streams.session_report.parts import quoted, remark, speaker, table
from streams.thumbnails import Thumbnail

LABELS: Final = 5
FACES: Final = 8
SURE_FACE: Final = 0.5


def pictures(facts: Facts, held: Contents) -> Markup:
    """Each picture with what it shows; those that are not shown themselves in a table."""
    figures = [_picture(facts, held, each) for each in held.images if each.id in held.shown]
    rest = [_listed(facts, each) for each in held.images if each.id not in held.shown]
    parts = [element("div", *figures, class_="pictures")] if figures else []
    if rest:
        heads = ("Time", "Who", "Shows", "Faces")
        parts.append(table(heads, rest, caption="Pictures that are not shown", kind="list"))
    return joined(parts)


def _picture(facts: Facts, held: Contents, entry: Entry) -> Markup:
    image = entry.said
    assert isinstance(image, ImageRecognized)  # noqa: S101  (by how contents are made)
    small = held.shown[entry.id]
    labels = [element("li", *_label(each)) for each in image.labels[:LABELS]]
    faces = [element("li", _face(each)) for each in image.faces[:FACES]]
    more = len(image.faces) - FACES
    return element(
        "figure",
        element("div", _img(image, small), *_boxes(image.faces), class_="frame"),
        element(
            "figcaption",
            element("p", facts.at(image.time), " ", speaker(facts, image.channel), class_="when"),
            element("ul", *labels, class_="labels") if labels else "",
            element("ul", *faces, class_="faces") if faces else "",
            remark(f"and {count(more, 'face')} more") if more > 0 else "",
        ),
        id=entry.anchor,
        class_="picture",
    )


def _img(image: ImageRecognized, small: Thumbnail) -> Markup:
    source = f"data:image/jpeg;base64,{b64encode(small.jpeg).decode()}"
    shows = listed(short(each.name) for each in image.labels[:2]) or "nothing that was recognised"
    faces = f", with {count(len(image.faces), 'face')}" if image.faces else ""
    return element("img", src=source, alt=f"{shows}{faces}", width=small.width, height=small.height)


def _boxes(faces: Sequence[Face]) -> Iterator[Markup]:
    """The faces' boxes over the picture; those that may well be none are dashed."""
    boxes = [
        element(
            "rect",
            x=100 * each.x,
            y=100 * each.y,
            width=100 * each.width,
            height=100 * each.height,
            class_="face" if each.confidence >= SURE_FACE else "face doubtful",
        )
        for each in faces[:FACES]
    ]
    if boxes:
        yield element(
            "svg",
            *boxes,
            xmlns=SVG,
            viewBox="0 0 100 100",
            preserveAspectRatio="none",
            aria_hidden="true",
        )


def _label(label: Label) -> tuple[str, Markup]:
    return f"{short(label.name)} ", element("span", percent(label.probability), class_="share")


def _face(face: Face) -> str:
    sure = (
        "" if face.confidence >= SURE_FACE else f" ({percent(face.confidence)} sure that it is one)"
    )
    likely = [f"{short(each.name)} {percent(each.probability)}" for each in face.expression[:2]]
    return f"face{sure}" + (f": {', '.join(likely)}" if likely else "")


def _listed(facts: Facts, entry: Entry) -> Markup:
    image = entry.said
    assert isinstance(image, ImageRecognized)  # noqa: S101  (by how contents are made)
    shows = ", ".join(
        f"{short(each.name)} {percent(each.probability)}" for each in image.labels[:LABELS]
    )
    return element(
        "tr",
        element("th", facts.at(image.time), scope="row", class_="time"),
        element("td", speaker(facts, image.channel)),
        element("td", shows),
        element("td", "; ".join(map(_face, image.faces[:FACES]))),
        id=entry.anchor,
    )


def matches(facts: Facts, held: Contents) -> Markup:
    """Which texts and pictures are about the same thing."""
    heads = ("Time", "Text", "Picture", "Similarity", "Probability")
    rows = (_match(facts, held, each) for each in held.matches)
    return table(heads, rows, caption="Texts and pictures that match", kind="list")


def _match(facts: Facts, held: Contents, match: Match) -> Markup:
    elsewhere = f" of session {short(match.right_session)}" if match.right_session else ""
    right = None if match.right_session else held.entry(match.right)
    known = match.probability is not None
    return element(
        "tr",
        element("th", facts.at(match.time), scope="row", class_="time"),
        element("td", quoted(facts, held.entry(match.left), match.left_modality)),
        element("td", quoted(facts, right, match.right_modality), elsewhere),
        element("td", f"{match.similarity:.2f}", class_="number"),
        element("td", percent(match.probability or 0.0) if known else "unknown", class_="number"),
    )
