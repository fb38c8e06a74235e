"""The page as it is served: what belongs to it, and that a browser is kept to that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from streams.gateway import page
from streams.gateway.problems import Problem

LARGEST = 150_000
NAMES = sorted(page.FILES)
SCRIPTS = [name for name in NAMES if name.endswith(".js")]


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(page.router)

    @app.exception_handler(Problem)
    def told(_: Request, problem: Problem) -> JSONResponse:
        return JSONResponse(problem.document(), problem.status)

    with TestClient(app) as client:
        yield client


def text(name: str) -> str:
    return page.FILES[name].data.decode()


def test_the_whole_page_is_small() -> None:
    assert sum(len(file.data) for file in page.FILES.values()) <= LARGEST


def test_it_is_served_with_its_types(client: TestClient) -> None:
    assert client.get("/").headers["content-type"] == "text/html; charset=utf-8"
    for name in NAMES:
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200
        assert answer.content == page.FILES[name].data
        assert answer.headers["content-type"] == page.TYPES[name.rpartition(".")[2]]


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/page/style.css"])
def test_a_browser_is_kept_to_it(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = {
        name: values
        for name, *values in (
            each.split() for each in headers["content-security-policy"].split(";")
        )
    }
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == ["'self'"]
    assert policy["base-uri"] == policy["frame-ancestors"] == ["'none'"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_what_a_browser_has_already_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/page/style.css")
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = client.get("/page/style.css", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert client.get("/page/style.css", headers={"If-None-Match": '"other"'}).content


def test_tags_tell_files_apart() -> None:
    assert len({file.etag for file in page.FILES.values()}) == len(page.FILES)


def test_head_has_the_headers_and_no_body(client: TestClient) -> None:
    answer = client.head("/")
    assert answer.status_code == 200
    assert not answer.content
    assert answer.headers["etag"] == page.FILES["index.html"].etag


@pytest.mark.parametrize(
    "path",
    [
        "/page/../page.py",
        "/page/..%2fpage.py",
        "/page/%2e%2e/page.py",
        "/page/..%5cpage.py",
        "/page//etc/passwd",
        "/page/%2fetc%2fpasswd",
        "/page/app.js%00",
        "/page/nothing.js",
        "/page/",
    ],
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_there_are_no_other_files_in_its_folder() -> None:
    """What is not served would be a leftover."""
    folder = files("streams.gateway").joinpath("page")
    assert sorted(each.name for each in folder.iterdir()) == NAMES


def test_every_file_is_used_and_every_use_is_there() -> None:
    used = {"index.html"}
    for name in NAMES:
        used |= set(re.findall(r"[\"']/page/([\w.-]+)[\"']", text(name)))
        used |= set(re.findall(r"(?:from|import) '\./([\w.-]+)'", text(name)))
    assert used == set(NAMES)


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_module_imports_is_exported(name: str) -> None:
    for names, source in re.findall(r"import \{([^}]*)\} from '\./([\w.-]+)'", text(name)):
        exported = re.findall(
            r"^export (?:async )?(?:const|function|class|let) (\w+)", text(source), re.M
        )
        for each in filter(None, (one.strip() for one in names.split(","))):
            assert each.split(" as ")[0] in exported, f"{source} exports no {each}"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_comes_from_elsewhere(name: str) -> None:
    found = set(re.findall(r"(?:https?:)?//[\w-]+\.[\w./-]+", text(name)))
    assert found <= {"http://www.w3.org/2000/svg"}, "the page is complete in itself"


def test_the_document_has_no_code_or_style_of_its_own() -> None:
    document = text("index.html")
    assert re.findall(r"<script([^>]*)>(.*?)</script>", document, re.S) == [
        (' type="module" src="/page/app.js"', "")
    ]
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", document)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_text_is_ever_read_as_code(name: str) -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    assert not re.search(forbidden, text(name))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_module_says_what_it_is_for(name: str) -> None:
    assert text(name).startswith("/** ")


def test_the_key_is_kept_for_a_tab_only_and_in_no_address() -> None:
    for name in SCRIPTS:
        assert not re.search(r"localStorage[^\n]*(key|KEY)\b", text(name).replace("tenor.", ""))
    assert "sessionStorage" in text("api.js")


def test_icons_that_are_used_are_in_the_document() -> None:
    there = set(re.findall(r'<symbol id="i-(\w+)"', text("index.html")))
    for name in SCRIPTS:
        assert set(re.findall(r"\bicon\('(\w+)'\)", text(name))) <= there
    everything = "".join(text(name) for name in ("index.html", *SCRIPTS))
    for icon in there:
        assert re.search(rf"#i-{icon}\b|'{icon}'", everything), f"{icon} is not used"


def test_colours_of_the_canvas_are_in_the_sheet() -> None:
    named = set(re.findall(r"--([\w-]+):", text("style.css")))
    for name in SCRIPTS:
        for colour in re.findall(r"\bink\('([\w-]+)'\)", text(name)):
            assert colour in named
