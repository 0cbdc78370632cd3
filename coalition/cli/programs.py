"""A server and its nodes as programs on this computer: started, waited for and ended."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from coalition.errors import CoalitionError

ROOT = Path(__file__).resolve().parents[2]
"""The folder in which server.py, worker.py and control.py stand."""

STARTING = 60.0
"""Seconds a program is given to be there; a cold disk is no reason to give up."""

ENDING = 8.0
"""Seconds between requests to end: after the first a worker still finishes its jobs."""

GLANCE = 0.05
"""Seconds between two looks at something that is awaited."""


class ProgramError(CoalitionError):
    """A program did not do what it was started for."""

    code = "program"


@dataclass
class Program:
    """A program that runs; what it prints is in the file `output`."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        """Return what the program has printed, its last 4,000 characters."""
        return self.output.read_text("utf-8", "replace")[-4000:]

    def check(self) -> None:
        """Raise ProgramError, with what it printed, when the program has ended."""
        if self.process.poll() is not None:
            code = self.process.returncode
            raise ProgramError(f"{self.name} has ended with code {code}:\n{self.said()}")

    def end(self) -> int:
        """End the program, politely twice, then by force; return its exit code."""
        try:
            for _ in range(2):
                if self.process.poll() is None:
                    self.process.terminate()
                    self._wait(ENDING)
        finally:
            # Also when whoever asked is too impatient to wait: nothing stays behind.
            self.process.kill()
        return self.process.wait()

    def _wait(self, seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)


@contextmanager
def running(script: str, arguments: Sequence[str], folder: Path, name: str) -> Iterator[Program]:
    """Run one of the scripts in ROOT with its working directory in `folder`, and end it on leaving.

    It is out of reach of the terminal's Ctrl-C, so that it is ended in the order that suits it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{name}.out"
    with output.open("wb") as printed:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / script), *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    program = Program(name, process, output)
    try:
        yield program
    finally:
        program.end()


@contextmanager
def server(datadir: Path, port: int) -> Iterator[Program]:
    """Run a server on the data folder, once it answers; raises ProgramError if it does not."""
    arguments = ["--datadir", str(datadir), "--port", str(port)]
    with running("server.py", arguments, datadir, "server") as program:
        until = time.monotonic() + STARTING
        while not answers(f"http://127.0.0.1:{port}/api/jobs"):
            program.check()
            if time.monotonic() > until:
                raise ProgramError(f"the server does not answer:\n{program.said()}")
            time.sleep(GLANCE)
        yield program


def answers(url: str) -> bool:
    """Say whether a GET of the URL is answered with 200."""
    try:
        return requests.get(url, timeout=STARTING).status_code == 200
    except requests.ConnectionError:
        return False


def control(url: str, *words: str) -> str:
    """Run control.py and return what it prints; raises ProgramError when it is refused."""
    command = [sys.executable, str(ROOT / "control.py"), url, *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise ProgramError(f"control.py {' '.join(words)}: {run.stderr.strip()}")
    return run.stdout.strip()
