"""A stranger who knows nothing but the documentation, and does what its examples show."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 60.0
"""Seconds for a command; the shell of one that takes longer is ended."""

DONE = "-- done with this command --"

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block:: (?P<kind>\w+)\n"
    r"(?P<options>(?:(?P=indent)   :\w+:.*\n)*)"
    r"(?P<body>(?:\n|(?P=indent)   .*\n)+)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """An example: of which kind, under which caption, in which line, and its text."""

    kind: str
    caption: str
    line: int
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the examples of a page in reStructuredText or Markdown, from the top."""
    text = page.read_text("utf-8").rstrip() + "\n"
    if page.suffix == ".md":
        found = FENCE.finditer(text)
        return [Block(one[1], "", line_of(text, one), one[2].rstrip()) for one in found]
    return [restructured(text, one) for one in BLOCK.finditer(text)]


def line_of(text: str, found: re.Match[str]) -> int:
    return text.count("\n", 0, found.start()) + 1


def restructured(text: str, found: re.Match[str]) -> Block:
    margin = len(found["indent"]) + 3
    lines = [line[margin:] for line in found["body"].strip("\n").splitlines()]
    caption = re.search(r":caption: (.*)", found["options"])
    shown = caption[1].strip() if caption else ""
    return Block(found["kind"], shown, line_of(text, found), "\n".join(lines).rstrip())


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Give the commands of a console, and what each is shown to print."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output.rstrip()


def alike(shown: str, came: str) -> bool:
    """Say whether what came is what is shown, where `...` is anything.

    Neither spaces at the end of a line nor how wide the columns of a table are make a difference.
    """
    want, got = (re.sub(r"(?<=\S)  +", "  ", plain(text)) for text in (shown, came))
    return doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS)


def plain(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.strip("\n").split("\n"))


class Shell:
    """A shell that stays, as in a terminal."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> str:
        """Return what a command prints."""
        pipes = self.process
        assert pipes.stdin and pipes.stdout
        # A command may ask how the one before has ended.
        ask = f"{{ {command}\n}} </dev/null; _code=$?; printf '%s\\n' '{DONE}'; (exit $_code)\n"
        alarm = threading.Timer(PATIENCE, pipes.kill)
        alarm.start()
        try:
            pipes.stdin.write(ask)
            pipes.stdin.flush()
            printed = ""
            for line in pipes.stdout:
                if line.endswith(f"{DONE}\n"):
                    return printed + line.removesuffix(f"{DONE}\n")
                printed += line
        finally:
            alarm.cancel()
        raise AssertionError(f"{command!r} took too long or ended the shell: {printed}")

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


class Session:
    """Python's prompt, as it stays over a page."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def type_in(self, text: str, line: int) -> None:
        """Enter what stands behind the prompts; fails when something else comes than is shown."""
        made = doctest.DocTestParser().get_doctest(text + "\n", {}, self.name, self.name, line)
        made.globs = self.names
        told = io.StringIO()
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(made, out=told.write, clear_globs=False)
        assert made.examples, f"{self.name}: line {line} has no prompt"
        assert runner.failures == 0, told.getvalue()

    def run(self, text: str) -> None:
        """Run a script."""
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(text, self.name, "exec"), self.names)
