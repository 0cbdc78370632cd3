"""Processes that nobody can end: they are named and left, and everything else goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from coalition.worker.command.command import Mark
from coalition.worker.process import cgroup, ending, line, posix
from coalition.worker.process.cgroup import Cgroups
from coalition.worker.process.keeper.unended import unended
from coalition.worker.process.tree import Trace, start_time
from tests.worker.commands import (
    SERVER,
    Commands,
    keeper_program,
    needs_cgroups,
    needs_root,
    no_cgroups,
    with_commands,
)
from tests.worker.deaddisk import DeadDisk, dead_disk
from tests.worker.real import ROOT, in_reactor


def remark(process: psutil.Process) -> str:
    return f"process {process.pid} (cat) could not be ended: the system does not end it"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[DeadDisk]:
    """A disk that whoever reads from cannot be ended, which is noticed sooner than usual."""
    first = "keeper.ending.FORCED = 0.5"
    monkeypatch.setattr(line, "PROGRAM", keeper_program(tmp_path, first))
    for module in (ending, cgroup, posix):
        monkeypatch.setattr(module, "FORCED", 0.5)
    with dead_disk(tmp_path / "dead") as disk:
        yield disk


@pytest.fixture(params=["control group", "subreaper", "mark"])
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a system has to find processes by."""
    if request.param == "control group":
        request.applymarker(needs_cgroups)
    else:
        monkeypatch.setattr(posix, "Cgroups", no_cgroups)
    monkeypatch.setattr(posix, "ADOPT", request.param != "mark")


@pytest.mark.usefixtures("means")
def test_a_run_ends_with_a_remark_and_the_next_one_without(
    disk: DeadDisk, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(commands: Commands) -> None:
        number = commands.start(f"exec cat {disk.file}")
        stuck = disk.reader()
        commands.processes.end(number, 0.2)
        exit = await commands.exit(number)
        assert (exit.code, exit.remarks) == (-signal.SIGKILL, [remark(stuck)])
        assert remark(stuck) in caplog.text
        later = await commands.exit(commands.start("sleep 0.1 & exit 4"))
        assert (later.code, later.remarks) == (4, [])
        assert stuck.is_running()

    with_commands(work)


@pytest.mark.usefixtures("means")
def test_what_forks_on_is_ended_beside_what_cannot_be(disk: DeadDisk) -> None:
    async def work(commands: Commands) -> None:
        number = commands.start(f"cat {disk.file} & trap '' TERM; while :; do sleep 0.05; done")
        stuck = disk.reader()
        commands.processes.end(number, 0.2)
        exit = await commands.exit(number)
        assert (exit.code, exit.remarks) == (-signal.SIGKILL, [remark(stuck)])

    with_commands(work)


@pytest.mark.usefixtures("means")
def test_a_worker_whose_keeper_was_killed_goes_on(
    disk: DeadDisk, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(commands: Commands) -> None:
        number = commands.start(f"exec cat {disk.file}")
        stuck = disk.reader()
        for keeper in commands.keepers():
            keeper.kill()
        assert await commands.event("killed", number) == ("killed", number, [remark(stuck)])
        assert remark(stuck) in caplog.messages
        later = await commands.exit(commands.start("sleep 0.1 & exit 4"))
        assert (later.code, later.remarks) == (4, [])
        # Another keeper that is killed has nothing to do with it.
        other = commands.start("sleep 7503.5", "other")
        await commands.event("began", other)
        caplog.clear()
        for keeper in commands.keepers():
            keeper.kill()
        assert await commands.event("killed", other) == ("killed", other, [])
        assert remark(stuck) not in caplog.messages

    with_commands(work)


@pytest.mark.usefixtures("means")
def test_a_node_goes_although_something_of_it_cannot_be_ended(
    disk: DeadDisk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(posix, "CLOSING", 0.2)

    async def work(commands: Commands) -> None:
        commands.start(f"exec cat {disk.file}")
        disk.reader()
        await commands.processes.close()
        assert commands.keepers() == []
        assert "a keeper does not end, and is killed" in caplog.messages

    with_commands(work)


def test_a_node_starts_although_something_of_its_earlier_life_cannot_be_ended(
    disk: DeadDisk, caplog: pytest.LogCaptureFixture
) -> None:
    environment = {**os.environ, **Mark(7, "node", SERVER).variables()}

    async def work(commands: Commands) -> list[list[str]]:
        traces = [Trace(Mark(run, "node", SERVER)) for run in (6, 7, 8)]
        return await commands.processes.end_leftovers(traces)

    left = subprocess.Popen(["cat", str(disk.file)], env=environment)
    stuck = disk.reader()
    assert with_commands(work) == [[], [remark(stuck)], []]
    assert remark(stuck) in caplog.messages
    assert left.poll() is None


@needs_cgroups
def test_a_node_starts_although_its_old_control_group_cannot_be_emptied(
    disk: DeadDisk, caplog: pytest.LogCaptureFixture
) -> None:
    group = Path(Cgroups("stuck").make(1))
    subprocess.Popen(["cat", str(disk.file)])
    stuck = disk.reader()
    (group / "cgroup.procs").write_text(str(stuck.pid))
    in_reactor(Cgroups("stuck").end_old)
    assert remark(stuck) in caplog.messages
    assert group.exists()
    (group.parent / "cgroup.procs").write_text(str(stuck.pid))
    group.rmdir()


RECOVERY = """
import sys
from coalition.worker.command.command import Mark
from coalition.worker.process.tree import Trace
from tests.worker.commands import with_commands

async def work(commands):
    pid, started = int(sys.argv[1]), float(sys.argv[2])
    return await commands.processes.end_leftovers([Trace(Mark(7, "", ""), pid, started)])

(remarks,) = with_commands(work)
print(*remarks, sep="; ")
"""


@needs_root
@pytest.mark.skipif(not Path("/usr/bin/setpriv").exists(), reason="there is no setpriv")
def test_what_an_earlier_life_left_to_another_user_is_named_and_left() -> None:
    process = subprocess.Popen(["sleep", "7507.5"], user=65534)
    try:
        may_not = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"]
        known = [str(process.pid), str(start_time(process.pid))]
        command = [*may_not, sys.executable, "-c", RECOVERY, *known]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        words = "process {} (sleep) could not be ended: it belongs to another user\n"
        assert told.stdout == words.format(process.pid)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_name_that_a_program_gives_itself_cannot_break_a_log() -> None:
    assert "(a?b)" in unended(1, "a\nb", refused=True)
