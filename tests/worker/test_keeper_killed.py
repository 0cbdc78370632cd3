"""Jobs that kill the keeper of their worker: they fail, and no other job does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from coalition import wire
from coalition.worker.command.command import Command
from coalition.worker.node.actions import Begin, Save
from coalition.worker.node.machine import Machine
from coalition.worker.process import line, posix, slot
from coalition.worker.process.keeper.messages import boottime
from coalition.worker.process.slot import Slot
from tests.worker.commands import Commands, keeper_program, with_commands
from tests.worker.directory import Directory
from tests.worker.machines import new_machine, report, start, starts
from tests.worker.real import eventually, running_node, running_with
from tests.worker.scripted import ScriptedServer
from tests.worker.test_arrivals import Node, on_node

KILL = "kill -9 $PPID"


def kinds(commands: Commands, *runs: int) -> list[str]:
    """Say what has become of runs, in this order, beside that they had begun."""
    told = [event for event in commands.events if event[0] != "began"]
    return [kind for run in runs for kind, *_ in [event for event in told if event[1] == run]]


def resting_now(keeper: psutil.Process) -> bool:
    """Say whether a keeper waits and has no command, or is dead."""
    if keeper.status() == psutil.STATUS_ZOMBIE:
        return True
    return not keeper.children() and keeper.status() == psutil.STATUS_SLEEPING


def given(slot: Slot, run: int, lease: float | None = None) -> None:
    slot.start(run, Command("true", None, {}, []), ("a", "b", "c", "d"), lease)


def said(slot: Slot) -> list[tuple[Any, ...]]:
    messages, slot.unsaid = slot.unsaid, []
    return [(message[1], message[6]) for message in messages]


# --- it is known which run it was ----------------------------------------------------------------


@pytest.mark.parametrize("adopt", [True, False])
def test_a_job_that_kills_its_keeper_has_failed_and_nothing_of_it_lives(
    monkeypatch: pytest.MonkeyPatch, adopt: bool
) -> None:
    monkeypatch.setattr(posix, "ADOPT", adopt)

    async def work(commands: Commands) -> None:
        text = f"sleep 7801.5 & setsid sleep 7801.5 & {KILL}; sleep 7801.5"
        number = commands.start(text)
        assert await commands.event("killed", number) == ("killed", number, [])
        assert running_with("7801.5") == []
        assert await commands.ended(commands.start("exit 4")) == 4

    with_commands(work)


def test_what_stands_behind_a_job_that_kills_its_keeper_has_not_begun(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def work(commands: Commands) -> None:
        before = commands.start("true")
        number = commands.start(f"read x < fifo; {KILL}", dir=str(tmp_path))
        behind = [commands.start("touch begun", dir=str(tmp_path)) for _ in range(3)]
        await commands.event("began", number)
        (tmp_path / "fifo").write_text("\n")
        await commands.event("dropped", behind[-1])
        assert kinds(commands, before, number, *behind) == ["ended", "killed", *["dropped"] * 3]
        assert not (tmp_path / "begun").exists()

    with_commands(work)


def test_a_job_that_has_written_something_has_begun(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = keeper_program(tmp_path, "keeper.keeping.ANNOUNCED = 3600")
    monkeypatch.setattr(line, "PROGRAM", program)

    async def work(commands: Commands) -> None:
        number = commands.start("echo up; sleep 7802.5")
        behind = commands.start("true")
        await commands.wrote(number, b"up")
        commands.keepers()[0].kill()
        await commands.event("dropped", behind)
        assert kinds(commands, number, behind) == ["killed", "dropped"]

    with_commands(work)


def test_a_job_that_wrote_and_has_ended_is_never_taken_for_the_one_that_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = "keeper.keeping.ANNOUNCED = keeper.keeping.HOLD = 3600"
    monkeypatch.setattr(line, "PROGRAM", keeper_program(tmp_path, first))
    os.mkfifo(tmp_path / "fifo")

    async def work(commands: Commands) -> None:
        before = commands.start("echo up; read x < fifo", dir=str(tmp_path))
        number = commands.start(KILL)
        await commands.wrote(before, b"up")
        (tmp_path / "fifo").write_text("\n")
        await commands.until(lambda: commands.events and commands.events[-1][1] == number)
        assert kinds(commands, before, number) == ["ended", "killed"]

    with_commands(work)


def test_the_next_job_does_not_begin_before_worker_py_has_the_end_of_one_that_wrote(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = "keeper.keeping.LIMIT = 2**30"
    monkeypatch.setattr(line, "PROGRAM", keeper_program(tmp_path, first))

    async def work(commands: Commands) -> None:
        await commands.ended(commands.start("true"))
        (keeper,) = commands.keepers()
        before = commands.start("head -c 3000000 /dev/zero; touch over", dir=str(tmp_path))
        number = commands.start(KILL)
        eventually((tmp_path / "over").exists)  # nothing is read here meanwhile
        eventually(lambda: resting_now(keeper))
        await commands.event("killed", number)
        assert kinds(commands, before, number) == ["ended", "killed"]

    with_commands(work)


@pytest.mark.parametrize("known_before", [True, False])
def test_for_a_run_that_has_begun_no_drop_is_owed(known_before: bool) -> None:
    one = Slot("node", "")
    given(one, 1)
    given(one, 2)
    if known_before:
        one.on_began(1)
    one.tell(("drop", 1))
    one.on_began(1)
    assert not one.owes
    one.tell(("drop", 2))
    assert one.owes


def test_a_run_alone_with_its_keeper_counts_though_that_has_said_nothing() -> None:
    async def work(commands: Commands) -> None:
        await commands.ended(commands.start("true"))
        (keeper,) = commands.keepers()
        keeper.suspend()
        number = commands.start("true")
        keeper.kill()
        await commands.event("killed", number)
        assert kinds(commands, number) == ["killed"]

    with_commands(work)


def test_what_the_keeper_was_not_told_of_has_not_begun() -> None:
    one = Slot("node", "")
    given(one, 1)
    said(one)
    given(one, 2)
    assert one.suspects() == [1]


# --- it is not known which run it was ------------------------------------------------------------


async def puzzled(commands: Commands) -> None:
    """Lose a keeper, in a way that nobody can tell which of its runs it was at."""
    await commands.ended(commands.start("true"))
    (keeper,) = commands.keepers()
    await commands.ended(commands.start("true", "other"))
    keeper.suspend()
    runs = [commands.start("true"), commands.start("true")]
    keeper.kill()
    await commands.event("lost", runs[-1])
    assert kinds(commands, *runs) == ["lost", "lost"]


@pytest.mark.parametrize("worker", ["node", "other"])
def test_a_job_that_was_not_found_out_is_at_its_next_try_and_no_other_fails(worker: str) -> None:
    async def work(commands: Commands) -> None:
        await puzzled(commands)
        before = [commands.start("true", worker) for _ in range(5)]
        number = commands.start(KILL, worker)
        behind = [commands.start("true", worker) for _ in range(5)]
        await commands.event("dropped", behind[-1])
        seen = kinds(commands, *before, number, *behind)
        assert seen == ["ended"] * 5 + ["killed"] + ["dropped"] * 5

    with_commands(work)


def test_meanwhile_a_run_that_waits_can_be_taken_back_and_never_begins(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def work(commands: Commands) -> None:
        await puzzled(commands)
        number = commands.start("read x < fifo; exit 3", dir=str(tmp_path))
        behind = [commands.start("touch begun", dir=str(tmp_path)) for _ in range(3)]
        await commands.event("began", number)
        commands.processes.drop(behind[1])
        commands.processes.end(behind[0])
        await commands.event("dropped", behind[0])
        await commands.event("dropped", behind[1])
        assert kinds(commands, number, behind[2]) == []
        assert not (tmp_path / "begun").exists()
        (tmp_path / "fifo").write_text("\n")
        assert await commands.ended(behind[2]) == 0
        assert kinds(commands, number, *behind) == ["ended", "dropped", "dropped", "ended"]

    with_commands(work)


def test_meanwhile_the_lease_of_a_run_that_waits_is_moved() -> None:
    one = Slot("node", "")
    one.beware()
    given(one, 1)
    given(one, 2, boottime() + 60)
    later = boottime() + 120
    one.extend(later)
    assert said(one) == [(1, None)]
    one.done(1)
    assert said(one) == [(2, later)]


def test_after_a_while_a_keeper_is_given_all_its_runs_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Slot("node", "")
    one.beware()
    for run in (1, 2, 3, 4):
        given(one, run)
    assert said(one) == [(1, None)]
    monkeypatch.setattr(slot, "WARY", 0.0)
    one.beware()
    one.done(1)
    given(one, 5)
    assert said(one) == [(run, None) for run in (2, 3, 4, 5)]


# --- what the server is told ---------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer().running() as server:
        yield server


def resting(machine: Machine, now: float) -> bool:
    return report(machine, now).report.workers[0].resting


def test_such_a_run_ends_as_if_it_was_killed_and_its_worker_rests() -> None:
    machine = new_machine()
    assert machine.on_orders(report(machine).number, starts("node", 7), 0) == [Begin(start(7))]
    assert machine.on_killed(7, -9, 0) == [Save(7, -9, False, 0.0)]
    machine.on_saved(7)
    plan = report(machine)
    assert [(end.run, end.code, end.again) for end in plan.report.ends] == [(7, -9, False)]
    machine.on_orders(plan.number, wire.Orders(ended=[7]), 0)
    assert resting(machine, 0)
    due = machine.due(0)
    assert due is not None and 2 <= due <= 4
    assert not resting(machine, due)


def test_the_log_of_such_a_job_says_what_happened_and_its_directory_is_gone(
    server: ScriptedServer, tmp_path: Path
) -> None:
    with running_node(tmp_path, server.url) as node:
        server.give(7, f"touch left; pwd > {tmp_path}/place; {KILL}; sleep 7804.5", scratch=True)
        assert server.wait_for_end(7) == wire.End(7, -signal.SIGKILL)
        assert running_with("sleep 7804.5") == []
        folder = Path((tmp_path / "place").read_text().strip())
        eventually(lambda: not folder.exists())
        server.give(8, "exit 3")
        assert server.wait_for_end(8) == wire.End(8, 3)
        eventually(lambda: not node.outbox)
        assert node.leave() == 0
    assert server.logs[7].startswith(b"* ERROR: The worker's keeper was killed while this ran")
    assert b"The last of its output may be missing.\n" in server.logs[7]


def test_the_log_of_such_a_job_names_what_could_not_be_ended(tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        node.give(7, "w1", "ann", "sleep 7805.5")
        node.runs.on_killed(7, ["process 5 (cp) could not be ended: the system does not end it"])
        log = node.runs._outbox.read(7, 0, 10_000)
        assert log.endswith(
            b"* WARNING: process 5 (cp) could not be ended: the system does not end it\n"
        )

    on_node(tmp_path, Directory(), work)
