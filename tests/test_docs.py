"""Nothing that the program has is missing in the pages of the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from html import unescape
from pathlib import Path
from typing import get_args

import pytest

import coalition
import coalition.server.site  # it registers the routes
from coalition import config, errors, wire
from coalition.cli import control, crew
from coalition.cli import server as server_program
from coalition.cli import worker as worker_program
from coalition.core.states import MOVES, RunState, State, WorkerState
from coalition.server.routes import routes

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

MISSING = "coalition.core.states.State = typing.Literal['WAITING', 'PENDING', 'DREAMING']"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pages, as `make docs` builds them: a warning is an error."""
    folder = tmp_path_factory.mktemp("pages")
    build = [sys.executable, "-m", "sphinx", "-W", "-n", "-q", "-d", str(folder / "cache")]
    subprocess.run([*build, str(DOCS), str(folder / "html")], check=True)
    return folder / "html"


def html(pages: Path, name: str) -> str:
    return (pages / f"{name}.html").read_text("utf-8")


def missing(pages: Path, name: str, words: Iterable[str]) -> set[str]:
    """Return the words that a reader does not find on a page."""
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", html(pages, name))).split())
    wanted = {*words}
    assert wanted
    return {
        word for word in wanted if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)
    }


@pytest.mark.parametrize("section", [config.ServerConfig, config.WorkerConfig])
def test_every_setting_is_documented(
    pages: Path, section: type[config.ServerConfig] | type[config.WorkerConfig]
) -> None:
    described = [one for one in config.settings(section) if one.rule.in_file]
    names = {word for one in described for word in (one.key, one.variable)}
    assert missing(pages, "configuration", names) == set()


@pytest.mark.parametrize(
    ("parser", "page"),
    [
        (server_program.parser(windows=True), "running"),
        (server_program.parser(windows=False), "running"),
        (worker_program.parser(), "running"),
        (control.parser(), "control"),
    ],
    ids=["server.py on Windows", "server.py", "worker.py", "control.py"],
)
def test_every_option_is_documented(pages: Path, parser: control.Parser, page: str) -> None:
    options = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", parser.format_help(), re.IGNORECASE))
    assert missing(pages, page, options - {"-h", "--help"}) == set()


def test_every_action_and_exit_code_of_control_is_documented(pages: Path) -> None:
    codes = [line.split()[0] for line in control.EXIT_CODES.splitlines()]
    assert missing(pages, "control", [*control.ACTIONS, *crew.ORDERS, *codes]) == set()


def test_every_route_is_documented(pages: Path) -> None:
    page = html(pages, "rest")
    found = set(re.findall(r'<h3><b class="\w+">(\w+)</b> <code>([^<]+)</code></h3>', page))
    known = {(one.method, one.path) for one in routes() if not one.path.startswith("/workers/")}
    assert found == known


def test_every_route_of_the_workers_is_documented(pages: Path) -> None:
    paths = {one.path for one in routes() if one.path.startswith("/workers/")}
    assert missing(pages, "protocol", paths) == set()


@pytest.mark.parametrize(
    "shape", [wire.NewJob, wire.JobEdit, wire.JobWithDependencies, wire.Worker]
)
def test_every_field_is_documented(pages: Path, shape: type[wire.NewJob]) -> None:
    _, _, described = html(pages, "rest").partition(f'<article id="{shape.__name__}">')
    table, _, _ = described.partition("</article>")
    assert set(re.findall(r"<tr><td><code>(\w+)</code>", table)) == {*shape.__struct_fields__}


def test_every_error_code_is_documented(pages: Path) -> None:
    kinds = [errors.Refused, errors.Unavailable]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert missing(pages, "rest", [kind.code for kind in kinds]) == set()


def test_every_state_and_move_is_documented(pages: Path) -> None:
    states = {*get_args(State), *get_args(RunState), *get_args(WorkerState)}
    assert missing(pages, "jobs", states | {*MOVES}) == set()


def test_a_state_that_no_page_explains_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text(
        f"import sys, typing\nsys.path[:0] = [{str(ROOT)!r}, {str(DOCS / '_ext')!r}]\n"
        f"import coalition.core.states\n{MISSING}\nextensions = ['states']\n"
    )
    (tmp_path / "index.rst").write_text(
        "A page\n======\n\n.. states:: job\n\n   WAITING\n      One.\n\n   PENDING\n      Two.\n"
    )
    build = [sys.executable, "-m", "sphinx", "-W", "-q", str(tmp_path), str(tmp_path / "html")]
    ended = subprocess.run(build, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "missing here or do not exist: DREAMING" in ended.stderr


def test_all_that_a_script_can_use_is_documented(pages: Path) -> None:
    page = html(pages, "python")
    names = [name for name in coalition.__all__ if not name.startswith("_")]
    calls = [f"Connection.{name}" for name in dir(coalition.Connection) if not name.startswith("_")]
    places = {f"coalition.{name}" for name in (*names, *calls)}
    assert {place for place in places if f'id="{place}"' not in page} == set()


def test_every_field_that_nodes_and_server_exchange_is_documented(pages: Path) -> None:
    shapes = [wire.Report, wire.Slot, wire.End, wire.Chunk, wire.Load, wire.Host, wire.Orders,
              wire.Start, wire.Ahead]  # fmt: skip
    fields = {name for shape in shapes for name in shape.__struct_fields__}
    assert missing(pages, "protocol", fields) == set()


def test_every_package_the_programs_need_has_its_reason() -> None:
    page = (DOCS / "architecture.rst").read_text("utf-8")
    needed = re.findall(r"^[\w-]+", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    assert {name for name in needed if f"* - {name}\n" not in page} == set()


def test_every_page_can_be_reached_from_the_first(pages: Path) -> None:
    first = html(pages, "index")
    names = {path.stem for path in DOCS.glob("*.rst")} - {"index"}
    assert {name for name in names if f'href="{name}.html"' not in first} == set()


def test_the_pages_need_nothing_from_the_internet(pages: Path) -> None:
    loaded = re.compile(
        r"""<(?:script|img|iframe|source)[^>]+src=["']?(?:https?:)?//"""
        r"""|<link[^>]+href=["']?(?:https?:)?//|url\(\s*["']?(?:https?:)?//|@import[^;]*//"""
    )
    read = [path for path in pages.rglob("*") if path.suffix in (".html", ".css")]
    assert read
    assert {path.name for path in read if loaded.search(path.read_text("utf-8"))} == set()


def test_the_pages_are_searched_for_routes_and_settings(pages: Path) -> None:
    index = (pages / "searchindex.js").read_text("utf-8")
    assert {word for word in ("childrendepend", "maxlogs") if word not in index} == set()
