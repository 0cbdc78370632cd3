"""Keepers that hang, and keepers that only seem to; keepers with very many open files."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from coalition.worker.node.talk import MARGIN
from coalition.worker.process import line, posix, slot
from coalition.worker.process.keeper.messages import boottime
from coalition.worker.shortage import Shortage
from tests.worker.commands import Commands, keeper_program, with_commands
from tests.worker.real import eventually, running_with

HIDDEN = "echo up; setsid env -i sh -c '(sleep {0} &) ; sleep {0}' & sleep {0}"
"""A job that leaves processes behind which nothing tells to be its own."""

DEAF = "trap 'echo asked' TERM; echo up; while :; do sleep 0.05; done # {0}"
"""A job that does not end when it is asked to, and says so."""


@pytest.fixture
def able_to_hang(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have keepers that a signal makes hang, and no other can help them out of it."""
    first = "keeper.starting._nothing = lambda *_: __import__('time').sleep(3600)"
    monkeypatch.setattr(line, "PROGRAM", keeper_program(tmp_path, first))


def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have keepers that have nothing but runs looked after every moment."""
    for module in (slot, posix):
        monkeypatch.setattr(module, "RUNNING_LOOK", 0.2)


def kinds(commands: Commands) -> list[str]:
    return [event[0] for event in commands.events]


def hang(commands: Commands) -> None:
    """Make the only keeper hang."""
    (keeper,) = commands.keepers()
    keeper.send_signal(signal.SIGHUP)


# --- that hang -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("able_to_hang")
def test_a_run_ends_although_its_keeper_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "ENDING_LOOK", 0.2)

    async def work(commands: Commands) -> None:
        number = commands.start(HIDDEN.format("7401.5"))
        waits = commands.start("true")
        await commands.event("began", number)
        hang(commands)
        commands.processes.end(number)
        await commands.event("lost", number)
        assert running_with("7401.5") == []
        await commands.event("dropped", waits)
        assert kinds(commands) == ["began", "lost", "dropped"]
        assert await commands.ended(commands.start("exit 4")) == 4

    with_commands(work)


@pytest.mark.usefixtures("able_to_hang")
def test_a_keeper_that_hangs_later_is_noticed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "ENDING_LOOK", 0.2)

    async def work(commands: Commands) -> None:
        number = commands.start(DEAF.format("7402.5"))
        await commands.event("began", number)
        commands.processes.end(number, 3600)
        await commands.wrote(number, b"asked")
        hang(commands)
        await commands.event("lost", number)
        assert running_with("# 7402.5") == []

    with_commands(work)


@pytest.mark.usefixtures("able_to_hang")
def test_an_exclusive_run_whose_keeper_hangs_is_over_before_another_node_may_have_it() -> None:
    async def work(commands: Commands) -> None:
        # It does not even write, which nobody reads any more.
        text = "trap '' TERM; echo up; while :; do sleep 0.05; done # 7403.5"
        number = commands.start(text, lease=boottime() + 60)
        await commands.event("began", number)
        hang(commands)
        over = boottime() + 0.2
        commands.processes.lease(over)
        await commands.event("lost", number)
        assert over < boottime() < over + MARGIN / 2
        assert running_with("# 7403.5") == []
        assert await commands.ended(commands.start("exit 4")) == 4

    with_commands(work)


@pytest.mark.usefixtures("able_to_hang")
def test_a_run_can_be_taken_back_although_its_keeper_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slot, "ENDING_LOOK", 0.2)

    async def work(commands: Commands) -> None:
        number = commands.start("sleep 7406.5")
        waits = commands.start("true")
        await commands.event("began", number)
        hang(commands)
        commands.processes.drop(waits)
        await commands.event("dropped", waits)
        assert running_with("7406.5") == []
        assert kinds(commands) == ["began", "lost", "dropped"]

    with_commands(work)


@pytest.mark.usefixtures("able_to_hang")
def test_a_keeper_that_only_has_runs_is_looked_after_too(monkeypatch: pytest.MonkeyPatch) -> None:
    look_often(monkeypatch)

    async def work(commands: Commands) -> None:
        await commands.ended(commands.start("true"))
        number = commands.start("sleep 7407.5")
        await commands.event("began", number)
        hang(commands)
        await commands.event("lost", number)
        assert running_with("7407.5") == []

    with_commands(work)


def test_a_keeper_that_hangs_at_its_start_gives_its_runs_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(slot, "STARTING_LOOK", 0.1)
    monkeypatch.setattr(line, "PROGRAM", keeper_program(tmp_path, "__import__('time').sleep(3600)"))

    async def work(commands: Commands) -> None:
        number = commands.start("true")
        commands.processes.end(number)
        error = (await commands.event("failed", number))[2]
        assert isinstance(error, Shortage)
        assert str(error) == "the keeper of this worker ended at once, with -9"

    with_commands(work)


def test_closing_takes_a_keeper_that_hangs_and_what_it_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(posix, "CLOSING", 0.2)

    async def work(commands: Commands) -> None:
        number = commands.start(HIDDEN.format("7404.5"))
        await commands.event("began", number)
        (keeper,) = commands.keepers()
        keeper.suspend()
        await commands.processes.close()
        assert running_with("7404.5") == []
        assert commands.keepers() == []

    with_commands(work)


# --- that only seem to ---------------------------------------------------------------------------


def test_a_keeper_is_not_killed_while_a_run_takes_long_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slot, "ENDING_LOOK", 0.05)

    async def work(commands: Commands) -> None:
        number = commands.start(DEAF.format("7405.5"))
        await commands.wrote(number, b"up")
        before = commands.keepers()
        commands.processes.end(number, 1.0)
        assert await commands.ended(number) == -signal.SIGKILL
        assert await commands.ended(commands.start("exit 4")) == 4
        assert commands.keepers() == before

    with_commands(work)


def test_a_job_that_stops_its_keeper_ends_and_so_does_what_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look_often(monkeypatch)

    async def work(commands: Commands) -> None:
        await commands.ended(commands.start("true"))
        before = commands.keepers()
        runs = [commands.start("kill -STOP $PPID; exit 5"), commands.start("exit 4")]
        assert [await commands.ended(number) for number in runs] == [5, 4]
        assert commands.keepers() == before

    with_commands(work)


def test_a_keeper_without_runs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    look_often(monkeypatch)

    async def work(commands: Commands) -> None:
        await commands.ended(commands.start("true"))
        (keeper,) = commands.keepers()
        await commands.ended(commands.start("sleep 0.5", "other"))
        keeper.suspend()
        await commands.ended(commands.start("sleep 0.5", "other"))
        assert keeper.status() == psutil.STATUS_STOPPED
        keeper.resume()

    with_commands(work)


def test_a_computer_that_sleeps_while_a_run_is_to_end_loses_no_keeper(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(slot, "ENDING_LOOK", 0.2)

    async def work(commands: Commands) -> None:
        text = "trap '' TERM; echo up; while [ ! -e go ]; do sleep 0.05; done; exit 3"
        number = commands.start(text, dir=str(tmp_path))
        await commands.event("began", number)
        (keeper,) = commands.keepers()
        keeper.suspend()
        commands.processes.end(number, 3600)
        commands.processes.send()
        awake = boottime() + 0.5
        eventually(lambda: boottime() > awake)  # this process does nothing meanwhile either
        keeper.resume()
        (tmp_path / "go").touch()
        assert await commands.ended(number) == 3
        assert commands.find("lost", number) is None

    with_commands(work)


# --- many files ----------------------------------------------------------------------------------


@contextmanager
def many_files() -> Iterator[None]:
    """Have all descriptors below 1024 in use."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    used = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        yield
    finally:
        for descriptor in used:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_keeper_works_with_descriptors_beyond_1023(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opening = "for _ in range(1100): os.open(os.devnull, os.O_RDONLY)"
    monkeypatch.setattr(line, "PROGRAM", keeper_program(tmp_path, opening))

    async def work(commands: Commands) -> None:
        number = commands.start("echo up; read x < fifo; exit 3", dir=str(tmp_path))
        await commands.event("began", number)
        (keeper,) = psutil.Process(commands.pids[number]).parents()[:1]
        assert max(int(path.name) for path in Path(f"/proc/{keeper.pid}/fd").iterdir()) > 1100
        commands.processes.hold(number)
        commands.processes.go(number)
        (tmp_path / "fifo").write_text("\n")
        assert await commands.ended(number) == 3
        assert commands.output[number] == b"up\n"

    os.mkfifo(tmp_path / "fifo")
    with many_files():
        with_commands(work)
