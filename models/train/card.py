"""Model cards: what a network learned from, on which terms, how good it is and where it ends.

After Mitchell et al., "Model Cards for Model Reporting", 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.train.terms import TERMS

FILE: Final = "MODEL_CARD.md"

Table = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Card:
    """`corpora` are those learned from or measured on, with what each was used for; `tables` are
    rows of figures by title; `pictures` files beside the card."""

    title: str
    made_by: str
    revision: str
    corpora: Mapping[str, str]
    tables: Mapping[str, Table]
    pictures: Sequence[str]
    limits: Sequence[str]
    notes: str = ""


def write(out: Path, card: Card) -> None:
    """Writes the card into the model's folder."""
    (out / FILE).write_text("\n".join(_lines(card)) + "\n", encoding="utf-8")


def _lines(card: Card) -> Iterator[str]:
    yield f"# {card.title}: model card\n"
    yield f"Written by `{card.made_by}`; revision `{card.revision}`.\n"
    yield "## Data and terms\n"
    yield "| corpus | used for | terms |\n|---|---|---|"
    for name, use in card.corpora.items():
        terms = TERMS[name]
        yield f"| {terms.title} | {use} | {terms.licence} |"
    bound = [TERMS[name].title for name in card.corpora if not TERMS[name].free]
    if bound:
        yield f"\nNot freely usable: {'; '.join(bound)}. Who uses these weights minds those terms."
    if card.notes:
        yield f"\n{card.notes}"
    yield "\n## Figures"
    for title, table in card.tables.items():
        yield from _table(title, table)
    for picture in card.pictures:
        yield f"\n![{Path(picture).stem}]({picture})"
    yield "\n## Limits\n"
    yield from (f"- {limit}" for limit in card.limits)


def _table(title: str, rows: Table) -> Iterator[str]:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    yield f"\n### {title}\n"
    yield "| | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, row in rows.items():
        cells = (f"{row[column]:g}" if column in row else "" for column in columns)
        yield f"| {name} | " + " | ".join(cells) + " |"
