"""Commands that are really started, and a program that starts some, which a test may kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from twisted.internet.defer import Deferred

from coalition.worker.command.command import Command, CommandError, Mark
from coalition.worker.command.owner import Owner
from coalition.worker.process import Exit, Processes, boottime, cgroup, line, posix
from coalition.worker.process.cgroup import Cgroups
from coalition.worker.reactor import sleep
from coalition.worker.shortage import Shortage
from tests.worker.real import ROOT, eventually, in_reactor

SERVER = "http://farm:19211"

Result = TypeVar("Result")


class Commands:
    """What a node has started, and what has become of it; runs are numbered from 1."""

    def __init__(
        self, reactor: Any, environ: Mapping[str, str], name: str, kind: Any = Processes
    ) -> None:
        self.reactor = reactor
        self.processes: Processes = kind(reactor, self, environ, name)
        self.environ = environ
        self.output: dict[int, bytearray] = {}
        self.events: list[tuple[Any, ...]] = []
        self.pids: dict[int, int] = {}
        self.started: dict[int, float] = {}
        self._awaited: list[tuple[Callable[[], object], Deferred[None]]] = []

    def start(self, text: str, worker: str = "node", **more: Any) -> int:
        """Start a shell command; return the number of its run."""
        run = len(self.output) + 1
        mark = Mark(run, worker, SERVER)
        variables = more.pop("variables", mark.variables())
        arguments = more.pop("arguments", ["/bin/sh", "-c", text])
        lease = more.pop("lease", None)
        command = Command(arguments, more.pop("dir", "/"), variables, [], **more)
        self.output[run] = bytearray()
        self.processes.start(worker, run, command, lease)
        self.processes.send()
        return run

    async def until(self, what: Callable[[], object]) -> None:
        """Wait for something that is true after an event."""
        if not what():
            seen: Deferred[None] = Deferred()
            self._awaited.append((what, seen))
            await seen

    async def passed(self, time: float) -> None:
        """Wait until it is later than a time of `boottime`."""
        while boottime() <= time:
            await sleep(self.reactor, 0.01)

    async def wrote(self, run: int, text: bytes) -> None:
        await self.until(lambda: text in self.output[run])

    async def event(self, kind: str, run: int) -> tuple[Any, ...]:
        await self.until(lambda: self.find(kind, run))
        found = self.find(kind, run)
        assert found is not None
        return found

    def find(self, kind: str, run: int) -> tuple[Any, ...] | None:
        return next((event for event in self.events if event[:2] == (kind, run)), None)

    async def ended(self, run: int) -> int:
        return (await self.exit(run)).code

    async def exit(self, run: int) -> Exit:
        return Exit(*(await self.event("ended", run))[2:])

    def keepers(self) -> list[psutil.Process]:
        """Return the keepers of this process."""
        return [
            child
            for child in psutil.Process().children()
            if child.status() != psutil.STATUS_ZOMBIE and line.PROGRAM in child.cmdline()
        ]

    # --- what the processes tell -------------------------------------------------------------

    def on_began(self, run: int, pid: int, started: float) -> None:
        self.pids[run] = pid
        self.started[run] = started
        self.events.append(("began", run))

    def on_output(self, run: int, output: bytes) -> None:
        assert output
        self.output[run] += output

    def on_ended(self, run: int, exit: Exit) -> None:
        self.events.append(("ended", run, *exit))

    def on_failed(self, run: int, error: CommandError | Shortage) -> None:
        self.events.append(("failed", run, error))

    def on_dropped(self, run: int) -> None:
        self.events.append(("dropped", run))

    def on_lost(self, run: int) -> None:
        self.events.append(("lost", run))

    def on_killed(self, run: int, remarks: list[str]) -> None:
        self.events.append(("killed", run, remarks))

    def on_turn(self) -> None:
        due = [one for one in self._awaited if one[0]()]
        self._awaited = [one for one in self._awaited if one not in due]
        for _, seen in due:
            seen.callback(None)


def with_commands(
    work: Callable[[Commands], Coroutine[Any, Any, Result]],
    environ: Mapping[str, str] = os.environ,
    name: str = "",
    kind: Any = Processes,
) -> Result:
    """Run `work(commands)` in a reactor and end all that is left; `kind` is the class to test."""

    async def live(reactor: Any) -> Result:
        commands = Commands(reactor, environ, name or f"test of {os.getpid()}", kind)
        try:
            return await work(commands)
        finally:
            await commands.processes.close()

    return in_reactor(live)


def run(text: str, **more: Any) -> tuple[int, bytes]:
    """Run a command to its end; return its exit code and output."""

    async def work(commands: Commands) -> tuple[int, bytes]:
        number = commands.start(text, **more)
        return await commands.ended(number), bytes(commands.output[number])

    return with_commands(work)


def refusal(text: str, **more: Any) -> CommandError | Shortage:
    """Fail to start a command; return the reason."""

    async def work(commands: Commands) -> CommandError | Shortage:
        number = commands.start(text, **more)
        error: CommandError | Shortage = (await commands.event("failed", number))[2]
        assert len(commands.events) == 1
        return error

    return with_commands(work)


def no_cgroups(node: str) -> Cgroups:
    """Return what a system without control groups has."""
    groups = Cgroups(node)
    groups._own = groups._mount = None
    return groups


def have_cgroups() -> bool:
    groups = cgroup.Cgroups("a try")
    made = groups.make(1)
    groups.remove()
    return bool(made)


needs_cgroups = pytest.mark.skipif(not have_cgroups(), reason="no control groups can be made here")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another user")


def keeper_program(folder: Path, first: str) -> str:
    """Return a program that is a keeper, but for a line that it runs before."""
    path = folder / "keeper.py"
    home = str(Path(line.PROGRAM).parents[1])
    lines = ["import os, sys", f"sys.path.append({home!r})", "import keeper.keeping", first]
    path.write_text("\n".join([*lines, "keeper.keeping.main(sys.argv[1:])", ""]))
    return str(path)


class Starter:
    """A process of its own that starts commands, and prints what becomes of them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def next(self, *kinds: str) -> list[Any]:
        """Return what it tells next of these kinds."""
        assert self.process.stdout is not None
        while True:
            told: list[Any] = json.loads(self.process.stdout.readline())
            if told[0] in kinds:
                return told

    def exit(self) -> tuple[int, Exit]:
        """Return the number of the run that ends next, and how it ended."""
        _, run, *told = self.next("ended")
        return run, Exit(*told)


@contextmanager
def starter(
    *commands: Mapping[str, Any], prefix: list[str] | None = None, **more: Any
) -> Iterator[Starter]:
    """Start commands by a process of its own; `commands` are arguments of `Commands.start`.

    When the first one has written "up", it is ended with the grace `end_after`, or the leases are
    over after `lapse_after` seconds, if these are given.
    """
    name = more.setdefault("name", f"starter of {os.getpid()}")
    process = subprocess.Popen(
        [*(prefix or []), sys.executable, "-m", "tests.worker.commands"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"commands": commands, **more}) + "\n")
    process.stdin.flush()
    try:
        yield Starter(process)
    finally:
        process.kill()
        process.communicate()
        in_reactor(lambda reactor: Cgroups(name).end_old(reactor))


async def _serve(reactor: Any, plan: dict[str, Any]) -> None:
    """Start the commands of a plan and print what becomes of them, for ever."""
    if not plan.get("cgroups", True):
        vars(posix)["Cgroups"] = no_cgroups
    commands = Commands(reactor, os.environ, plan["name"])
    await commands.processes.prepare(["node"])
    for command in plan["commands"]:
        user = command.pop("user", None)
        commands.start(**command, user=Owner(*user) if user else None)
    if "end_after" in plan:
        await commands.wrote(1, b"up")
        commands.processes.end(1, plan["end_after"])
    if "lapse_after" in plan:
        await commands.wrote(1, b"up")
        commands.processes.lease(boottime() + plan["lapse_after"])
        commands.processes.send()
        print('["lapsing"]', flush=True)
    while True:
        await commands.until(lambda: commands.events)
        for event in commands.events:
            print(json.dumps(event, default=str), flush=True)
        commands.events.clear()


def gone(what: Callable[[], object]) -> None:
    eventually(lambda: not what())


if __name__ == "__main__":
    in_reactor(lambda reactor: _serve(reactor, json.loads(sys.stdin.readline())))
