"""The documentation says what the program says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from coalition import config, wire
from coalition.store.reading import WORKER_COLUMNS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    build = [sys.executable, "-m", "sphinx", "-W", "-q", "-d", str(folder / "cache")]
    subprocess.run([*build, str(DOCS), str(folder / "html")], check=True)
    return folder / "html"


@pytest.mark.parametrize("section", [config.ServerConfig, config.WorkerConfig])
def test_every_setting_is_documented(
    pages: Path, section: type[config.ServerConfig] | type[config.WorkerConfig]
) -> None:
    page = (pages / "configuration.html").read_text("utf-8")
    described = [one for one in config.settings(section) if one.rule.in_file]
    missing = {
        word
        for one in described
        for word in (one.key, one.variable)
        if f">{word}</span>" not in page
    }
    assert described
    assert missing == set()


@pytest.mark.parametrize("script", ["server.py", "worker.py", "control.py"])
def test_every_option_is_documented(script: str) -> None:
    shown = subprocess.run(
        [sys.executable, ROOT / script, "--help"], capture_output=True, text=True, check=True
    )
    options = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", shown.stdout, re.IGNORECASE))
    told = set(re.findall(r"--?[a-z][\w-]*", (DOCS / "cli.rst").read_text("utf-8"), re.IGNORECASE))
    assert options - told - {"-h", "--help"} == set()


def test_every_field_of_a_job_is_documented() -> None:
    page = (DOCS / "rest.rst").read_text("utf-8")
    fields = {*wire.NewJob.__struct_fields__, *wire.READ_ONLY_JOB_FIELDS}
    assert {name for name in fields if f"``{name}``" not in page} == set()


def test_every_field_of_a_worker_is_documented() -> None:
    page = (DOCS / "rest.rst").read_text("utf-8")
    fields = {column.name for column in WORKER_COLUMNS}
    assert {name for name in fields if f"``{name}``" not in page} == set()


def test_every_route_of_the_api_is_documented() -> None:
    page = (DOCS / "rest.rst").read_text("utf-8")
    files = (ROOT / "coalition" / "server" / "routes").glob("*.py")
    source = "".join(path.read_text("utf-8") for path in files)
    routes = {path.replace("*", "ID") for path in re.findall(r'"(/api/[^"]+)"', source)}
    assert routes
    assert {path for path in routes if not re.search(rf"{path}(?![\w/])", page)} == set()


def test_every_field_that_nodes_and_server_exchange_is_documented() -> None:
    page = (DOCS / "architecture.rst").read_text("utf-8")
    shapes = [wire.Report, wire.Slot, wire.End, wire.Chunk, wire.Load, wire.Host, wire.Orders,
              wire.Start, wire.Ahead]  # fmt: skip
    fields = {name for shape in shapes for name in shape.__struct_fields__}
    assert {name for name in fields if f"``{name}``" not in page} == set()


def test_every_package_the_programs_need_has_its_reason() -> None:
    page = (DOCS / "architecture.rst").read_text("utf-8")
    needed = re.findall(r"^[\w-]+", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    assert {name for name in needed if f"* - {name}\n" not in page} == set()
