"""The processes that keep a node's commands: killed, stopped, flooded, left alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from coalition.worker.command.command import Mark
from coalition.worker.command.owner import Owner
from coalition.worker.process import line
from coalition.worker.process.cgroup import Cgroups
from coalition.worker.process.keeper.keeping import LIMIT
from coalition.worker.process.line import outlast
from coalition.worker.process.tree import Trace, start_time
from coalition.worker.shortage import Shortage
from tests.worker.commands import (
    SERVER,
    Commands,
    gone,
    keeper_program,
    needs_cgroups,
    needs_root,
    refusal,
    run,
    starter,
    with_commands,
)
from tests.worker.real import eventually, in_reactor, running_with

HIDDEN = "echo up; setsid env -i sh -c '(sleep {0} &) ; sleep {0}' & sleep {0}"
"""A job that leaves processes behind which nothing tells to be its own."""

MOST = 40 * 1024 * 1024
"""Bytes of memory that a keeper never has; at its start it has about ten million."""


def peak_memory(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def keeper_of(pid: int) -> psutil.Process:
    (keeper,) = eventually(lambda: psutil.Process(pid).children())
    found: psutil.Process = keeper
    return found


def is_stuck(process: psutil.Process) -> bool:
    """Say whether a process that has written much cannot go on."""
    before = process.io_counters().write_chars
    eventually(lambda: process.status() == psutil.STATUS_SLEEPING)
    return before > LIMIT and bool(process.io_counters().write_chars == before)


# --- killed --------------------------------------------------------------------------------------


def test_when_worker_py_is_killed_its_jobs_end_with_it() -> None:
    jobs = [{"text": HIDDEN.format("7301.5"), "worker": name} for name in ("node", "other")]
    with starter(*jobs, {"text": "echo no > 7301.5"}) as node:
        eventually(lambda: len(running_with("sleep 7301.5")) >= 6)
        node.process.kill()
        gone(lambda: running_with("7301.5"))


def test_when_worker_py_is_killed_jobs_are_asked_to_tidy_up_first(tmp_path: Path) -> None:
    script = "trap 'touch tidy; exit' TERM; touch up; while :; do sleep 0.02; done"
    with starter({"text": script, "dir": str(tmp_path)}) as node:
        eventually((tmp_path / "up").exists)
        node.process.kill()
        eventually((tmp_path / "tidy").exists)


def test_when_a_keeper_is_killed_its_job_ends_and_the_worker_goes_on() -> None:
    async def work(commands: Commands) -> None:
        lost = commands.start(HIDDEN.format("7302.5"))
        waits = commands.start("true")
        other = commands.start("echo up; sleep 1; exit 3", "other")
        await commands.event("began", lost)
        await commands.wrote(other, b"up")
        keeper = psutil.Process(commands.pids[lost]).parent()
        assert keeper is not None
        keeper.kill()
        await commands.event("killed", lost)
        assert running_with("7302.5") == []
        await commands.event("dropped", waits)
        assert await commands.ended(commands.start("exit 4")) == 4
        assert await commands.ended(other) == 3
        assert [event[:2] for event in commands.events if event[1] in (lost, waits)] == [
            ("began", lost),
            ("killed", lost),
            ("dropped", waits),
        ]

    with_commands(work)


def test_when_it_is_not_known_what_ran_nothing_is_taken_for_not_begun() -> None:
    async def work(commands: Commands) -> None:
        await commands.processes.prepare(["node"])
        await commands.ended(commands.start("true"))
        (keeper,) = commands.keepers()
        keeper.suspend()
        runs = [commands.start("true"), commands.start("true")]
        keeper.kill()
        for number in runs:
            await commands.event("lost", number)

    with_commands(work)


def test_a_keeper_that_cannot_live_gives_its_runs_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coalition.worker.process.line.PROGRAM", "/no/such/program")
    error = refusal("true")
    assert isinstance(error, Shortage)
    assert str(error) == "the keeper of this worker ended at once, with 2"


@needs_cgroups
def test_the_next_life_ends_what_a_killed_node_left() -> None:
    async def work(commands: Commands) -> None:
        await commands.processes.prepare([])

    with starter({"text": HIDDEN.format("7303.5")}, name="two lives") as node:
        eventually(lambda: len(running_with("sleep 7303.5")) >= 3)
        keeper = keeper_of(node.pid)
        os.kill(node.pid, signal.SIGSTOP)
        keeper.kill()
        node.process.kill()
        node.process.wait()
        assert running_with("sleep 7303.5") != []
        with_commands(work, name="another node")
        assert running_with("sleep 7303.5") != []
        with_commands(work, name="two lives")
        gone(lambda: running_with("7303.5"))


def test_what_an_earlier_worker_left_running_is_found_by_number_and_by_mark() -> None:
    async def work(commands: Commands) -> None:
        by_number = commands.start("unset COALITION_RUN; exec sleep 7304.5", "a")
        by_mark = commands.start("exec sleep 7305.5", "b")
        await commands.event("began", by_number)
        await commands.event("began", by_mark)
        noted = commands.pids[by_number], commands.started[by_number]
        traces = [Trace(Mark(1, "", ""), *noted), Trace(Mark(by_mark, "b", SERVER))]
        assert await commands.processes.end_leftovers(traces) == [[], []]
        assert await commands.ended(by_number) == -signal.SIGTERM
        assert await commands.ended(by_mark) == -signal.SIGTERM

    with_commands(work)


def test_a_process_that_got_an_old_number_is_left_alone() -> None:
    async def work(commands: Commands) -> int:
        number = commands.start("echo up; sleep 0.3; exit 3")
        await commands.event("began", number)
        pid = commands.pids[number]
        await commands.processes.end_leftovers([Trace(Mark(7, "", ""), pid, start_time(pid) - 5)])
        return await commands.ended(number)

    assert with_commands(work) == 3


def test_closing_ends_everything_and_tells_it() -> None:
    async def work(commands: Commands) -> Commands:
        number = commands.start(HIDDEN.format("7306.5"))
        await commands.wrote(number, b"up")
        await commands.processes.close()
        assert await commands.ended(number) == -signal.SIGTERM
        assert running_with("7306.5") == []
        assert commands.keepers() == []
        return commands

    with_commands(work)


def test_no_signal_that_a_job_can_mean_for_others_ends_or_stops_its_keeper() -> None:
    harmless = "HUP INT QUIT ABRT USR1 USR2 PIPE ALRM TERM XCPU XFSZ VTALRM PROF IO TSTP TTIN RTMIN"

    async def work(commands: Commands) -> None:
        number = commands.start(f"for name in {harmless}; do kill -$name $PPID; done; exit 3")
        assert await commands.ended(number) == 3
        before = commands.keepers()
        assert await commands.ended(commands.start("exit 4")) == 4
        assert commands.keepers() == before

    with_commands(work)


# --- floods --------------------------------------------------------------------------------------


def test_a_flood_comes_complete_and_needs_little_memory() -> None:
    async def work(commands: Commands) -> None:
        number = commands.start("head -c 100000000 /dev/zero; echo end")
        await commands.event("began", number)
        (keeper,) = commands.keepers()
        assert await commands.ended(number) == 0
        assert commands.output[number] == bytes(100_000_000) + b"end\n"
        assert peak_memory(keeper) < MOST

    with_commands(work)


def test_a_job_has_to_wait_while_worker_py_does_not_read() -> None:
    with starter({"text": "exec yes 7307.5"}) as node:
        node.next("began")
        os.kill(node.pid, signal.SIGSTOP)
        keeper = keeper_of(node.pid)
        (job,) = running_with("yes 7307.5")
        eventually(lambda: is_stuck(job))
        assert peak_memory(keeper) < MOST


def test_a_job_that_is_held_waits_and_goes_on(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def work(commands: Commands) -> None:
        text = "echo up; read x < fifo; head -c 1000000 /dev/zero; echo end"
        number = commands.start(text, dir=str(tmp_path))
        await commands.wrote(number, b"up")
        commands.processes.hold(number)
        (tmp_path / "fifo").write_text("\n")
        await commands.ended(commands.start("head -c 1000000 /dev/zero", "other"))
        assert commands.output[number] == b"up\n"
        commands.processes.go(number)
        assert await commands.ended(number) == 0
        assert commands.output[number] == b"up\n" + bytes(1_000_000) + b"end\n"

    with_commands(work)


def test_a_held_job_can_be_ended_and_what_it_wrote_is_kept() -> None:
    async def work(commands: Commands) -> bytes:
        number = commands.start("echo up; exec yes")
        await commands.wrote(number, b"up\ny\ny\n")
        commands.processes.hold(number)
        await commands.event("began", number)
        commands.processes.end(number)
        assert await commands.ended(number) == -signal.SIGTERM
        return bytes(commands.output[number])

    assert with_commands(work).startswith(b"up\ny\ny\n")


def test_a_line_is_seen_while_its_job_runs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def work(commands: Commands) -> None:
        number = commands.start("echo one; read x < fifo; echo two", dir=str(tmp_path))
        await commands.wrote(number, b"one\n")
        (tmp_path / "fifo").write_text("\n")
        assert await commands.ended(number) == 0
        assert commands.output[number] == b"one\ntwo\n"

    with_commands(work)


def test_short_runs_with_much_output_lose_none_of_it() -> None:
    async def work(commands: Commands) -> None:
        sizes = [0, 1, 65535, 65536, 65537, 200_000]
        runs = [commands.start(f"head -c {size} /dev/zero") for size in sizes]
        await commands.ended(runs[-1])
        assert [len(commands.output[number]) for number in runs] == sizes

    with_commands(work)


def test_a_keeper_of_many_short_commands_tells_and_hears_between_them() -> None:
    async def work(commands: Commands) -> None:
        # They take some seconds, and in all of each the keeper is deaf.
        runs = [commands.start("", arguments=["true"]) for _ in range(2000)]
        await commands.ended(runs[0])
        commands.processes.drop(runs[-1])
        await commands.event("dropped", runs[-1])
        assert commands.find("ended", runs[1000]) is None

    with_commands(work)


def test_an_end_says_whether_it_came_by_order() -> None:
    async def work(commands: Commands) -> None:
        first, second = commands.start("true"), commands.start("sleep 100")
        left = "while kill -0 $$; do sleep 0.01; done; echo gone; sleep 100"
        third = commands.start(f"trap '' TERM; ({left}) & exit 3")
        await commands.event("began", second)
        commands.processes.end(first)  # it is over, and its end may still be on its way
        commands.processes.end(second)
        await commands.ended(second)
        # The command itself is over, and what it has left is being ended.
        await commands.wrote(third, b"gone")
        commands.processes.end(third)
        assert await commands.ended(third) == 3
        ordered = [(await commands.exit(run)).by_order for run in (first, second, third)]
        assert ordered == [False, True, False]

    with_commands(work)


# --- as another user -----------------------------------------------------------------------------


@needs_root
def test_a_job_of_a_user_has_that_users_rights_and_no_others(tmp_path: Path) -> None:
    nobody = Owner("nobody", 65534, 65534, (65534, 1), "/", "/bin/sh")
    text = "id -u; id -g; id -G; umask; echo > own; pwd"
    (tmp_path / "below").mkdir()
    os.chown(tmp_path / "below", 65534, 65534)
    for parent in [tmp_path, *tmp_path.parents]:
        parent.chmod(parent.stat().st_mode | 0o111)
    code, output = run(text, user=nobody, dir=str(tmp_path / "below"))
    assert (code, output.decode()) == (0, f"65534\n65534\n65534 1\n0002\n{tmp_path}/below\n")
    assert (tmp_path / "below" / "own").stat().st_uid == 65534
    # Not asked of a shell, which frees signals itself.
    signals = ["grep", "-E", "^Sig(Ign|Blk):", "/proc/self/status"]
    lines = run("", arguments=signals, user=nobody)[1].splitlines()
    # Those that have names: glibc has two of its own, which whoever started us may have ignored.
    assert [int(line.split()[1], 16) & 0x7FFFFFFF for line in lines] == [0, 0]


@needs_root
def test_a_directory_that_its_user_may_not_enter_is_an_error(tmp_path: Path) -> None:
    nobody = Owner("nobody", 65534, 65534, (65534,), "/", "/bin/sh")
    (tmp_path / "closed").mkdir(mode=0o700)
    error = refusal("true", user=nobody, dir=str(tmp_path / "closed"))
    assert str(error) == f"cannot go to the directory {tmp_path}/closed: Permission denied"
    # The keeper itself has its rights again.
    assert run("true", dir=str(tmp_path / "closed")) == (0, b"")


@needs_root
def test_a_job_of_a_user_that_ends_before_its_keeper_listens_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nobody = Owner("nobody", 65534, 65534, (65534,), "/", "/bin/sh")
    late = """import subprocess
keeper.ending.FIRST = 3600
begin = subprocess.Popen
def begin_and_wait(*arguments, **more):
    process = begin(*arguments, **more)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return process
subprocess.Popen = begin_and_wait"""
    monkeypatch.setattr(line, "PROGRAM", keeper_program(tmp_path, late))
    assert run("exit 3", user=nobody) == (3, b"")


@needs_root
def test_a_job_of_a_user_is_ended_like_any_other() -> None:
    nobody = Owner("nobody", 65534, 65534, (65534,), "/", "/bin/sh")

    async def work(commands: Commands) -> int:
        number = commands.start(HIDDEN.format("7308.5"), user=nobody)
        await commands.wrote(number, b"up")
        commands.processes.end(number)
        return await commands.ended(number)

    assert with_commands(work) == -signal.SIGTERM
    assert running_with("7308.5") == []


def test_a_later_life_waits_until_the_keepers_of_an_earlier_one_are_gone() -> None:
    job = {"text": "trap '' TERM; echo up; while :; do sleep 0.05; done", "worker": "node"}
    with starter(job, cgroups=False) as first:
        first.next("began")
        (keeper,) = psutil.Process(first.pid).children()
        first.process.kill()
        name = f"starter of {os.getpid()}"
        in_reactor(lambda reactor: outlast(reactor, Cgroups(name).prefix))
        assert not keeper.is_running() or keeper.status() == psutil.STATUS_ZOMBIE
