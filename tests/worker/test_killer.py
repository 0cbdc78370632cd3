"""What a runcommand has made another user's is ended by it, where the keeper has no right to."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from coalition import wire
from coalition.worker.command.command import Mark, Way, prepare
from coalition.worker.command.owner import owner_of
from coalition.worker.process import line, posix
from coalition.worker.process.keeper.killer import signalling
from tests.worker.commands import (
    SERVER,
    Commands,
    gone,
    keeper_program,
    needs_root,
    no_cgroups,
    with_commands,
)
from tests.worker.real import running_with
from tests.worker.scripted import ScriptedServer
from tests.worker.unprivileged import CHANGE, OWNER, setuid_folder, unprivileged_node

pytestmark = needs_root

RIGHTLESS = """
import ctypes, keeper.ending, keeper.killer
header, rights = (ctypes.c_uint32 * 2)(0x20080522), (ctypes.c_uint32 * 6)()
ctypes.CDLL(None).capget(header, rights)
rights[0] = rights[1] = rights[0] & ~(1 << 5)
assert ctypes.CDLL(None).capset(header, rights) == 0
"""
"""Takes CAP_KILL from a keeper, but not from what it starts."""

HASTY = "keeper.ending.FORCED, keeper.killer.PATIENCE = 2.0, 0.5"


def rightless_keepers(monkeypatch: pytest.MonkeyPatch, folder: Path, more: str = "") -> Path:
    monkeypatch.setattr(posix, "Cgroups", no_cgroups)
    monkeypatch.setattr(line, "PROGRAM", keeper_program(folder, RIGHTLESS + more))
    return folder


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder for a runcommand, on a node whose keepers may not signal other users' processes."""
    return rightless_keepers(monkeypatch, tmp_path)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The same with keepers that give up sooner than usual."""
    return rightless_keepers(monkeypatch, tmp_path, HASTY)


def start(commands: Commands, folder: Path, text: str, later: str = "", **more: str) -> int:
    """Start a command by a runcommand that does `later` first, once there is a file `later`."""
    runner = folder / "runner"
    runner.write_text(
        f"#!/bin/sh\n[ ! -e {folder}/later ] || {later or 'true'}\nuser=$1; shift\n"
        'exec setpriv --reuid="$user" --regid=nogroup --clear-groups -- "$@"\n'
    )
    runner.chmod(0o755)
    way = Way(f"{runner} __user__ sh -c 'cd __dir__; __cmd__'", beyond=True)
    job = wire.Start("node", 1, 1, text, dir="/", user=OWNER, **more)
    made = prepare(job, Mark(1, "node", SERVER), os.environ, way, owner=owner_of(OWNER))
    parts = {"variables": made.variables, "killer": made.killer}
    return commands.start("", arguments=made.arguments, **parts)


async def ended(commands: Commands, number: int, grace: float) -> tuple[int, list[str]]:
    """End a run that has written "up"; return its exit code and remarks."""
    await commands.wrote(number, b"up")
    commands.processes.end(number, grace)
    exit = await commands.exit(number)
    return exit.code, exit.remarks


def killers() -> list[psutil.Process]:
    """Return the processes that signal others by a command, known by how its text begins."""
    beginning = signalling([(1, 1)], (signal.SIGTERM,), force=False).partition("/proc/")[0]
    assert beginning == "read -r keeper <"
    return running_with(beginning)


async def clean_exit(commands: Commands, number: int) -> int:
    """Return the exit code of a run that leaves nothing to say."""
    exit = await commands.exit(number)
    assert exit.remarks == []
    return exit.code


@pytest.mark.parametrize(
    "text",
    [
        "echo up; exec sleep 7601.5",
        "sleep 7601.5 & echo up; wait",
        "(setsid sh -c 'sleep 7601.5 & echo up' &); sleep 7601.5",
        "sleep 7601.5 & kill -STOP $!; echo up; kill -STOP $$",
    ],
    ids=["plain", "child", "own session", "stopped"],
)
def test_what_a_job_started_hears_the_polite_signal_and_is_gone(folder: Path, text: str) -> None:
    async def work(commands: Commands) -> None:
        assert await ended(commands, start(commands, folder, text), 60.0) == (-signal.SIGTERM, [])
        assert running_with("7601.5") == killers() == []

    with_commands(work)


@pytest.mark.parametrize(
    "text",
    [
        "trap '' TERM; echo up; while sleep 0.05; do : 7602.5; done",
        "trap '' TERM; (setsid sh -c 'echo up; while sleep 0.05; do :; done' &); sleep 7602.5",
        "trap '' TERM; f() { f & }; f; f; f; echo up; sleep 7602.5",
    ],
    ids=["one", "own session", "ever new ones"],
)
def test_what_does_not_heed_that_is_ended_by_force(folder: Path, text: str) -> None:
    async def work(commands: Commands) -> None:
        assert await ended(commands, start(commands, folder, text), 0.3) == (-signal.SIGKILL, [])
        assert running_with("7602.5") == killers() == []

    with_commands(work)


def test_what_a_job_leaves_behind_is_ended_and_the_next_one_is_not(folder: Path) -> None:
    async def work(commands: Commands) -> None:
        first = start(commands, folder, "trap '' TERM; sleep 7603.5 & exit 3")
        later = start(commands, folder, "sleep 0.3; exit 4")
        assert await clean_exit(commands, first) == 3
        assert running_with("7603.5") == []
        assert await clean_exit(commands, later) == 4

    with_commands(work)


def test_no_variable_of_a_job_keeps_its_processes_from_being_ended(folder: Path) -> None:
    async def work(commands: Commands) -> None:
        more = {"environment": "PATH=/no\\nENV=/no\\nPS4=$(sleep 7604.5)\\nLD_PRELOAD=/no"}
        number = start(commands, folder, "echo up; exec /bin/sleep 7604.5", **more)
        assert await ended(commands, number, 60.0) == (-signal.SIGTERM, [])

    with_commands(work)


@pytest.mark.parametrize("later", ["exit 1", "exec sleep 7605.5", "kill -STOP $$"])
def test_where_the_runcommand_refuses_or_hangs_the_run_ends_with_a_warning(
    hasty: Path, later: str
) -> None:
    async def work(commands: Commands) -> None:
        number = start(commands, hasty, "echo up; exec sleep 7606.5", later)
        await commands.wrote(number, b"up")
        (hasty / "later").touch()
        _, remarks = await ended(commands, number, 0.2)
        (left,) = running_with("sleep 7606.5")
        why = "it belongs to another user, and the runcommand has not ended it either"
        assert remarks == [f"process {left.pid} (sleep) could not be ended: {why}"]
        assert running_with("7605.5") == running_with(str(hasty / "runner")) == []

    with_commands(work)


def test_a_runcommand_that_hangs_and_is_another_users_is_named_and_left(hasty: Path) -> None:
    async def work(commands: Commands) -> None:
        hang = "exec setpriv --reuid=games --regid=games --clear-groups sleep 7607.5"
        number = start(commands, hasty, "echo up; exec sleep 7608.5", hang)
        await commands.wrote(number, b"up")
        (hasty / "later").touch()
        _, remarks = await ended(commands, number, 0.2)
        words = "process {} (sleep) could not be ended: it belongs to another user"
        hanging = [words.format(one.pid) for one in running_with("sleep 7607.5")]
        assert sorted(remarks[:2]) == sorted(hanging)
        assert len(remarks) == 3
        (hasty / "later").unlink()
        next_one = start(commands, hasty, "exit 4")
        assert await clean_exit(commands, next_one) == 4

    with_commands(work)


@pytest.mark.parametrize("here", [True, False])
def test_a_command_signals_only_where_the_keeper_is_the_one_that_wrote_it(here: bool) -> None:
    with subprocess.Popen(["sleep", "7609.5"]) as process:
        found, killing = [(process.pid, 0)], (signal.SIGKILL,)
        text = signalling(found, killing, force=True)
        if not here:  # as in a container, where another process has the keeper's number
            text = text.replace(str(os.getpid()), str(process.pid))
        subprocess.run(["sh", "-c", text], check=True)
        process.terminate()
        assert process.wait() == -(signal.SIGKILL if here else signal.SIGTERM)


# --- the whole node ------------------------------------------------------------------------------

STAYING = "stay __user__"
"""The words of a runcommand that is root's and waits for the job, as sudo."""


@pytest.fixture
def home() -> Iterator[Path]:
    with setuid_folder() as folder:
        yield folder


JOB = "(setsid sleep 7610.5 &); trap '' TERM; echo up; while sleep 0.05; do : 7610.5; done"


@pytest.mark.parametrize("change", [CHANGE, STAYING])
def test_a_node_without_rights_ends_a_job_that_is_killed(home: Path, change: str) -> None:
    with (
        ScriptedServer().running() as server,
        unprivileged_node(home, server.url, None, change=change) as node,
    ):
        server.give(1, JOB, dir="/", user=OWNER)
        server.wait_for_log(1, b"up")
        server.kill(1)
        server.wait_for_report(lambda report: report.workers[0].run == 0)
        assert running_with("7610.5") == []
        server.give(2, "exit 4", dir="/", user=OWNER)
        assert server.wait_for_end(2).code == 4
        assert "could not be ended" not in node.log


@pytest.mark.parametrize("change", [CHANGE, STAYING])
def test_a_node_without_rights_that_is_killed_leaves_nothing(home: Path, change: str) -> None:
    with (
        ScriptedServer().running() as server,
        unprivileged_node(home, server.url, None, change=change) as node,
    ):
        server.give(1, JOB, dir="/", user=OWNER)
        server.wait_for_log(1, b"up")
        node.process.kill()
        gone(lambda: running_with("7610.5"))
        gone(lambda: running_with(str(home)))
