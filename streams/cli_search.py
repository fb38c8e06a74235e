"""`tenor search` and `tenor match`: what texts and pictures are about, in what Kafka holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.progress import Progress

from streams import codec
from streams.cli_common import brokers_of, settings_or_exit, told_errors
from streams.events import Topics
from streams.features import Feature, Floats, Modality
from streams.inspection import printable
from streams.matching import SIDES

if TYPE_CHECKING:
    from models.align import AlignModel
    from streams.archive import Archive, Contents, Sessions
    from streams.connection import Connection
    from streams.search import Space
    from streams.settings import Settings

# ruff: noqa: PLC0415 - each command imports what it needs, so that `tenor --help` answers at once

Row = dict[str, Any]
"""Something that was found, for machines."""
NAMES: Final = {Modality.MEANING: "text", Modality.IMAGE: "picture"}

top_option = click.option(
    "--top", type=click.IntRange(1, 1000), default=10, show_default=True, help="Only the best."
)
json_option = click.option("--json", "as_lines", is_flag=True, help="A line of JSON for each.")


@click.command()
@click.argument("query", default="")
@click.option(
    "--image",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A picture, to find texts and captions that are about it.",
)
@click.option(
    "--sounds-like",
    "caption",
    metavar="ID",
    help="A caption, to find captions that were said in the same manner.",
)
@click.option("--session", help="Only in this one.  [default: all]")
@top_option
@json_option
def search(
    *,
    query: str,
    file: Path | None,
    caption: str | None,
    session: str | None,
    top: int,
    as_lines: bool,
) -> None:
    """Find pictures by QUERY, words that say what they show; by a picture, texts; or by what was
    said, what sounds like it."""
    if sum(map(bool, (query.strip(), file, caption))) != 1:
        raise click.UsageError(
            "say in words what to look for, or name a picture by --image, or a caption by"
            " --sounds-like"
        )
    settings = settings_or_exit()
    sessions = {session} if session else None

    async def run() -> None:
        async with opened(settings) as (archive, _):
            if caption:
                rows = await sounding(archive, caption, top, sessions)
            else:
                space = space_of(settings)
                place = seen(settings, space, file) if file else read(settings, space, query)
                wanted = Modality.MEANING if file else Modality.IMAGE
                rows = await near(archive, space, wanted, place, top=top, sessions=sessions)
        if not rows:
            where = f" of session {session!r}" if session else ""
            raise click.ClickException(f"Kafka holds nothing{where} to compare with")
        for row in rows:
            click.echo(json.dumps(row) if as_lines else f"{score(row)}  {line(row)}")

    with told_errors():
        asyncio.run(run())


async def near(
    archive: Archive,
    space: Space,
    wanted: Modality,
    place: Floats,
    *,
    top: int,
    sessions: Sessions,
) -> list[Row]:
    """What lies nearest to a place in the common space."""
    from streams.search import find

    found = await find(archive, space, wanted, place, top=top, sessions=sessions)
    contents = await archive.contents(feature for _, feature in found)
    tell_foreign(space)
    return [scored(space.model, cosine) | described(each, contents) for cosine, each in found]


async def sounding(archive: Archive, caption: str, top: int, sessions: Sessions) -> list[Row]:
    """What sounds most like a caption."""
    from streams.sounds import alike

    found = await alike(archive, caption, top=top, sessions=sessions)
    contents = await archive.contents(feature for _, feature in found)
    return [
        {"similarity": likeness, "probability": None} | described(each, contents)
        for likeness, each in found
    ]


@click.command()
@click.option("--session", "sessions", multiple=True, help="One of them; name two or more.")
@click.option("--all", "every", is_flag=True, help="All sessions.")
@click.option(
    "--threshold", type=click.FloatRange(0, 1), help="Cosine of a match.  [default: learned]"
)
@click.option("--publish", is_flag=True, help="Also put every match on the topic of results.")
@top_option
@json_option
def match(
    *,
    sessions: tuple[str, ...],
    every: bool,
    threshold: float | None,
    publish: bool,
    top: int,
    as_lines: bool,
) -> None:
    """Find texts and pictures of different sessions that are about the same thing."""
    if every == bool(sessions) or len(set(sessions)) == 1:
        raise click.UsageError("name two sessions or more, each by --session, or say --all")
    from streams.search import between, publishing

    settings = settings_or_exit()

    async def run() -> None:
        async with AsyncExitStack() as stack:
            archive, brokers = await stack.enter_async_context(opened(settings, publish))
            space = space_of(settings)
            least = threshold or settings.match_threshold or space.model.threshold
            chosen, deliver = None if every else set(sessions), None
            if publish:
                topic = Topics.of(settings.topic_prefix).recognition
                deliver = await stack.enter_async_context(publishing(brokers, topic))
            best, count = await between(archive, space, least, chosen, top=top, deliver=deliver)
            contents = await archive.contents(side for each in best for side in each.sides)
        tell_foreign(space)
        for each in best:
            row = scored(space.model, each.similarity)
            row |= {SIDES[side.modality]: described(side, contents) for side in each.sides}
            click.echo(json.dumps(row) if as_lines else paragraph(row))
        done = "found and published" if publish else "found"
        click.echo(f"{count} matches {done}, of a cosine of {least:.2f} or more", err=True)

    with told_errors():
        asyncio.run(run())


@asynccontextmanager
async def opened(
    settings: Settings, publish: bool = False
) -> AsyncIterator[tuple[Archive, Connection]]:
    """What the topics hold, once Kafka has let us in."""
    from streams import access, rights
    from streams.archive import open_archive

    brokers, topics = brokers_of(settings), Topics.of(settings.topic_prefix)
    await access.check(brokers, rights.of_searcher(topics, publish=publish))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, Any] = {}

        def tell(topic: str, done: int, of: int) -> None:
            if topic not in tasks:
                tasks[topic] = progress.add_task(topic)
            progress.update(tasks[topic], completed=done, total=of)

        yield await open_archive(brokers, topics, tell), brokers


def space_of(settings: Settings) -> Space:
    """The space to compare in."""
    from models import registry
    from streams.search import Space

    text, image = settings.text_model, settings.image_model
    return Space(registry.load_align(settings.align_model, text=text, image=image))


def read(settings: Settings, space: Space, query: str) -> Floats:
    """Where words lie in the common space, [width]."""
    from models import registry

    encoder = registry.load_text(settings.text_model, registry.device(settings.device))
    side, model = SIDES[Modality.MEANING], space.model
    model.check(side, encoder.encoder)
    place: Floats = model.project(side, encoder.encode([query]))[0]
    return place


def seen(settings: Settings, space: Space, file: Path) -> Floats:
    """Where a picture lies in the common space, [width]."""
    from models import registry
    from streams.media import Limits, MediaError, decode_image
    from streams.replay import PICTURES

    try:
        kind = PICTURES.get(file.suffix.lower(), file.suffix)
        pixels = decode_image(kind, file.read_bytes(), Limits())
    except (OSError, MediaError) as error:
        raise click.ClickException(f"{file}: {error}") from error
    device = registry.device(settings.device)
    encoder = registry.load_image(settings.image_model, device, expression="")
    side, model = SIDES[Modality.IMAGE], space.model
    model.check(side, encoder.encoder)
    [content] = encoder.recognize([pixels])
    place: Floats = model.project(side, content.embedding[None])[0]
    return place


def scored(model: AlignModel, similarity: float) -> Row:
    """A cosine and what it is worth."""
    return {"similarity": similarity, "probability": model.probability(similarity)}


def described(feature: Feature, contents: Contents) -> Row:
    """A text or a picture, for machines; `content` is null where it is not held any more."""
    return {
        "modality": SIDES.get(feature.modality, feature.modality),
        "session": feature.session,
        "channel": feature.channel,
        "time": codec.format_time(feature.start),
        "id": feature.evidence,
        "content": contents.get((feature.session, feature.evidence)),
    }


def score(row: Mapping[str, Any]) -> str:
    """The same for people: the cosine, and how likely that makes a match."""
    sure = "" if row["probability"] is None else f"  {row['probability']:4.0%}"
    return f"{row['similarity']:5.2f}{sure}"


def line(row: Mapping[str, Any]) -> str:
    """A text or a picture on a line."""
    content = "(not held any more)" if row["content"] is None else row["content"]
    columns = [row["time"], f"{row['session']:<20}", f"{row['channel'] or '-':<10}", row["id"]]
    return printable("  ".join([*columns, " ".join(content.split())]))


def paragraph(row: Mapping[str, Any]) -> str:
    """A match on three lines."""
    sides = (f"       {NAMES[side]:<8} {line(row[side])}" for side in NAMES)
    return "\n".join([score(row), *sides])


def tell_foreign(space: Space) -> None:
    """Says what could not be compared."""
    for encoder, count in space.foreign.most_common():
        message = f"{count} features of {encoder} are passed over: the align model does not know it"
        click.echo(printable(message), err=True)
