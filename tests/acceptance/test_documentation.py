"""A stranger can follow the examples of the documentation, and gets what they show."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from coalition.cli import programs
from coalition.cli.programs import ROOT, Program
from tests.acceptance import farm
from tests.acceptance.stranger import Block, Session, Shell, alike, blocks, commands

PAGES = [*sorted((ROOT / "docs").glob("*.rst")), ROOT / "README.md"]

RUN = ("console", "pycon", "python")
"""Kinds of examples that are to be run; the others are only to be looked at."""

ADDRESSES = ("http://farm:19211", "http://localhost:19211")

TOGETHER = 40
"""Examples of all pages that there are at least: fewer, and they are no longer found."""


def runnable(page: Path) -> list[Block]:
    return [one for one in blocks(page) if one.kind in RUN]


def needs_farm(page: Path) -> bool:
    """Say whether a page is about a farm that is there, and none that it starts itself."""
    shown = runnable(page)
    own = any(one.kind == "console" and one.caption for one in shown)
    return not own and any(address in one.text for one in shown for address in ADDRESSES)


@pytest.mark.parametrize("page", [*filter(runnable, PAGES)], ids=lambda page: page.name)
def test_the_examples_of_a_page_do_what_they_show(
    page: Path, tmp_path: Path, free_port: int
) -> None:
    if shutil.which("curl") is None and any("curl" in one.text for one in runnable(page)):
        pytest.skip("this page shows requests with curl, which is not installed")
    reader = Reader(page, tmp_path, free_port)
    with ExitStack() as open_terminals:
        open_terminals.callback(reader.shell.end)
        if needs_farm(page):
            open_terminals.enter_context(reader.farm())
        for one in blocks(page):
            reader.follow(one, open_terminals)


def test_the_examples_are_found() -> None:
    prompts = sum(
        one.text.count(">>> ") if one.kind == "pycon" else len([*commands(one.text)])
        for page in PAGES
        for one in runnable(page)
    )
    assert prompts >= TOGETHER


class Reader:
    """Who follows a page, in a copy of the programs' folder."""

    def __init__(self, page: Path, folder: Path, port: int) -> None:
        self.page = page
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder / "coalition"
        for name in ("coalition", "public"):
            shutil.copytree(ROOT / name, self.folder / name)
        for path in (*ROOT.glob("*.py"), *ROOT.glob("_*.ini")):
            shutil.copy(path, self.folder)
        (self.folder / ".venv").symlink_to(sys.prefix)
        self.environ = {
            **os.environ,
            "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
            "COALITION_SERVER_PORT": str(port),
            # A broadcast that stays on this computer.
            "COALITION_WORKER_BROADCAST": "127.255.255.255",
        }
        self.shell = Shell(self.folder, self.environ)
        self.session = Session(page.name)

    @contextmanager
    def farm(self) -> Iterator[None]:
        """Run the farm that a page finds if it starts none: a server and a node."""
        data = self.folder.parent / "farm"
        with (
            farm.running_server(data, f"sqlite:///{data / 'coalition.db'}", self.port),
            farm.running_node(self.folder.parent / "node", self.url, "node"),
        ):
            farm.eventually(lambda: farm.worker_states(self.url) == {"node": "WAITING"})
            yield

    def follow(self, one: Block, open_terminals: ExitStack) -> None:
        """Do what an example says."""
        text = self.here(one.text)
        if one.kind == "pycon":
            self.session.type_in(text, one.line)
        elif one.kind == "python":
            self.session.run(text)
        elif one.kind == "console" and one.caption:
            for command, _ in commands(text):
                open_terminals.enter_context(self.terminal(command, one.line))
        elif one.kind == "console":
            self.type_in(one, text)
        elif one.caption:
            (self.folder / one.caption).write_text(f"{text}\n", "utf-8")

    def here(self, text: str) -> str:
        """Put the farm of this test where the documentation has its own."""
        for address in ADDRESSES:
            text = text.replace(address, self.url)
        return text

    def type_in(self, one: Block, text: str) -> None:
        typed = [*commands(text)]
        assert typed, f"{self.page.name}: line {one.line} has no prompt"
        for command, shown in typed:
            came = self.shell.run(command)
            assert alike(shown, came), (
                f"{self.page.name}, example in line {one.line}: {command}\n"
                f"--- it shows\n{shown}\n--- it gives\n{came}"
            )

    @contextmanager
    def terminal(self, command: str, line: int) -> Iterator[None]:
        """Keep a program in a terminal of its own, once the farm answers."""
        output = self.folder.parent / f"line-{line}.out"
        with output.open("wb") as printed:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environ,
                stdout=printed,
                stderr=printed,
            )
        program = Program(command, process, output)
        try:
            with farm.shown_on_failure(self.folder.parent):
                farm.eventually(lambda: program.check() or programs.answers(f"{self.url}/health"))
            yield
        finally:
            program.end()
