"""What the documents name is there: links and anchors, tests, settings, commands and options."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from streams.cli import main
from streams.docs.markdown import anchor
from streams.docs.settings_page import ELSEWHERE
from streams.gateway.settings import GatewaySettings
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
PLACES = ("*.md", "docs/*.md", "demo/*.md", "models/weights/**/*.md")
PAGES = sorted(path.relative_to(ROOT) for place in PLACES for path in ROOT.glob(place))
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
INDENTED = re.compile(r"^ {4,}.*$", re.M)
HEADING = re.compile(r"^#+ (.*)$", re.M)
LINK = re.compile(r"\]\(([^()\s]+)\)")
TEST = re.compile(r"\b(tests(?:/\w+)+(?:\.\w+)?)(?:::(\w+))?")
MODULE = re.compile(r"(?:-m|\.\.) (tests(?:\.\w+)+)")
VARIABLE = re.compile(r"\bTENOR_[A-Z0-9_]*[A-Z0-9]\b")
LINE = re.compile(r"^ {4,}(?:.*?\$ )?(tenor (?:.*\\\n)*.*)$", re.M)
INLINE = re.compile(r"`(tenor [^`]+)`")
SHELL = {"&", "&&", "|", ">", ">>", ";", "<"}


@cache
def text(page: Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return INDENTED.sub("", FENCED.sub("", text(page)))


@cache
def anchors(page: Path) -> set[str]:
    """Of a page's headings; the second of the same name ends in -1."""
    found: dict[str, int] = {}
    for title in HEADING.findall(FENCED.sub("", text(page))):
        name = anchor(re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title))
        found[name] = found.get(name, -1) + 1
    return {f"{name}-{n}" if n else name for name, most in found.items() for n in range(most + 1)}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Files of ours that a page links, with the anchor within."""
    for target in LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", target):
            file, _, place = target.partition("#")
            path = (ROOT / page.parent / file).resolve() if file else ROOT / page
            yield path.relative_to(ROOT), place


def commands(page: Path) -> set[str]:
    """The lines of a page that begin with `tenor`, whole."""
    found = LINE.findall(text(page)) + INLINE.findall(prose(page))
    return {" ".join(each.replace("\\\n", " ").split()) for each in found}


def words_of(line: str) -> list[str]:
    """What the shell would give the command."""
    words = shlex.split(line, comments=True)[1:]
    ends = [at for at, word in enumerate(words) if word in SHELL or word.startswith(("2>", ">"))]
    return words[: min(ends, default=None)]


def parse(line: str) -> None:
    """Raises click's errors, and AssertionError for an unknown command."""
    command, words = main, words_of(line)
    group: click.Command = command
    while isinstance(group, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in group.commands, f"no command {name}"
        group = group.commands[name]
    context = click.Context(group, info_name=line)
    options, _, _ = group.make_parser(context).parse_args(words)
    for parameter in group.params:
        if isinstance(parameter.type, click.Choice) and parameter.name in options:
            given = options[parameter.name]
            for each in given if isinstance(given, list) else [given]:
                if isinstance(each, str) and "|" not in each and not each.isupper():
                    parameter.type.convert(each, parameter, context)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for path, place in links(page):
        assert (ROOT / path).exists(), f"{page} links {path}"
        if place:
            assert place in anchors(path), f"{page} links {path}#{place}"


def test_every_page_is_found_from_the_index() -> None:
    index = {path for path, _ in links(Path("docs/README.md"))}
    assert {page for page in PAGES if page.parent == Path("docs")} - index == {
        Path("docs/README.md")
    }
    assert Path("docs/README.md") in {path for path, _ in links(Path("README.md"))}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_tests_that_are_named_are_there(page: Path) -> None:
    for name, function in TEST.findall(text(page)):
        path = ROOT / name
        assert path.exists(), f"{page} names {name}"
        if function:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            defined = {getattr(node, "name", "") for node in ast.walk(tree)}
            assert function in defined, f"{page} names {name}::{function}"
    for module in MODULE.findall(text(page)):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), f"{page} names {module}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_settings_that_are_named_are_there(page: Path) -> None:
    known = {f"TENOR_{name.upper()}" for name in Settings.model_fields}
    known |= {f"TENOR_GATEWAY_{name.upper()}" for name in GatewaySettings.model_fields}
    known |= {name for name, *_ in ELSEWHERE}
    assert set(VARIABLE.findall(text(page))) <= known | {"TENOR_GATEWAY"}


LINES = sorted({(str(page), line) for page in PAGES for line in commands(page)})


@pytest.mark.parametrize(("page", "line"), LINES)
def test_commands_have_the_options_that_they_are_shown_with(page: str, line: str) -> None:
    parse(line)


def test_a_command_line_that_is_wrong_is_noticed() -> None:
    parse("tenor export --session my-call --format vtt --out my-call.vtt   # or srt")
    for wrong in ("tenor exprot", "tenor export --sesion a", "tenor export --format doc"):
        with pytest.raises((click.ClickException, AssertionError)):
            parse(wrong)
    assert len(LINES) > 40


CORE = ("codec", "events", "messages", "features", "results", "media")
REFUSALS = {
    "CodecError": 0,
    "MediaError": 0,
    "Refused": 0,
    "_refuse": 1,
    "dead_letter": 1,
    "_number": 3,
}
"""What puts a record aside, and which of its arguments is the reason."""


def reasons() -> Iterator[str]:
    """Why records are put aside, as the code has it."""
    paths = [ROOT / f"streams/{name}.py" for name in CORE]
    for path in [*paths, *(ROOT / "streams/agents").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (place := REFUSALS.get(called(node))) is not None:
                given = node.args[place] if len(node.args) > place else None
                if isinstance(given, ast.Constant):
                    yield str(given.value)


def called(node: ast.Call) -> str:
    function = node.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    page = text(Path("docs/deadletters.md"))
    told = set(re.findall(r"`([a-z0-9-]+)`", page[page.index("## Reasons") :]))
    known = set(reasons())
    assert len(known) > 30
    assert told - {"replay"} == known
