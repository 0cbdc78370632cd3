"""Jobs that do something to the keeper of their worker, mostly by accident: it goes on."""

from __future__ import annotations

import os
import sys
from dataclasses import astuple
from pathlib import Path

import psutil
import pytest

from coalition.worker.command.owner import Owner
from coalition.worker.process import line
from coalition.worker.shortage import Shortage
from tests.worker.commands import (
    Commands,
    gone,
    keeper_program,
    needs_root,
    no_cgroups,
    run,
    starter,
    with_commands,
)
from tests.worker.real import eventually, running_with

TRACED = "import ctypes, os, signal; trace = lambda: ctypes.CDLL(None).ptrace(0, 0, None, None)"
"""The begin of a program that can ask to be traced by its parent."""

NOBODY = Owner("nobody", 65534, 65534, (65534,), "/", "/bin/sh")


def with_keepers_that(monkeypatch: pytest.MonkeyPatch, folder: Path, *first: str) -> None:
    """Have keepers that run these lines before anything else."""
    monkeypatch.setattr(line, "PROGRAM", keeper_program(folder, "\n".join(first)))


# --- a job that wants to be traced ---------------------------------------------------------------


ON = "signal.signal(signal.SIGUSR1, lambda *_: print('on'))"
IN_A_THREAD = """
import threading
def work():
    trace()
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
threading.Thread(target=work).start()"""


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("trace(); os.execlp('echo', 'echo', 'on')", 0),
        ("trace(); os.kill(os.getpid(), signal.SIGSTOP); print('on')", 0),
        (f"{ON}; trace(); os.kill(os.getpid(), signal.SIGUSR1)", 0),
        ("trace(); print('on', flush=True); os.kill(os.getpid(), signal.SIGUSR1)", -10),
        ("trace(); import subprocess; subprocess.run(['true']); print('on')", 0),
        (f"{ON}\n{IN_A_THREAD}", 0),
    ],
)
def test_a_job_that_asks_for_a_tracer_runs_without_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, code: int
) -> None:
    with_keepers_that(monkeypatch, tmp_path, "keeper.keeping.LONGEST_WAIT = 0.1")
    assert run("", arguments=[sys.executable, "-c", f"{TRACED}; {program}"]) == (code, b"on\n")


ORPHAN = f"""{TRACED}
signal.signal(signal.SIGTERM, lambda *_: open("tidy", "w"))
while os.getppid() != int(os.environ["KEEPER"]):
    pass
trace()
open("up", "w")
signal.pause()
"""


def test_what_a_job_leaves_behind_may_ask_for_a_tracer_and_can_tidy_up(tmp_path: Path) -> None:
    (tmp_path / "orphan.py").write_text(ORPHAN)
    leave = f"export KEEPER=$PPID; (setsid {sys.executable} orphan.py &)"
    text = f"{leave}; until test -e up; do sleep 0.01; done; exit 3"
    assert run(text, dir=str(tmp_path))[0] == 3
    assert (tmp_path / "tidy").exists()


# --- the keeper cannot do what it has to ---------------------------------------------------------

FOR_A_WHILE = """
listed, left = os.listdir, [20]
def listdir(path):
    left[0] -= 1
    if path == "/proc" and left[0] >= 0:
        raise OSError(23, "Too many open files in system")
    return listed(path)
os.listdir = listdir"""

FOR_EVER = """
def listdir(path):
    raise OSError(23, "Too many open files in system")
os.listdir, keeper.ending.BLIND = listdir, 0.2"""

HIDDEN = "echo up; (setsid sh -c 'trap \"\" TERM; while :; do sleep 0.05; done # {0}' &); exit 3"


def test_what_is_left_is_ended_as_soon_as_it_can_be_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("coalition.worker.process.posix.Cgroups", no_cgroups)
    with_keepers_that(monkeypatch, tmp_path, FOR_A_WHILE, "keeper.keeping.GRACE = 0.2")

    async def work(commands: Commands) -> None:
        exit = await commands.exit(commands.start(HIDDEN.format("8101.5")))
        assert (exit.code, exit.remarks) == (3, [])
        assert running_with("# 8101.5") == []

    with_commands(work)


def test_a_result_is_told_though_what_is_left_is_never_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("coalition.worker.process.posix.Cgroups", no_cgroups)
    with_keepers_that(monkeypatch, tmp_path, FOR_EVER, "keeper.keeping.GRACE = 0")

    async def work(commands: Commands) -> None:
        number = commands.start(HIDDEN.format("8102.5"))
        exit = await commands.exit(number)
        assert (exit.code, commands.output[number]) == (3, b"up\n")
        why = "what it may have left running was not found: Too many open files in system"
        assert exit.remarks == [why]
        assert await commands.ended(commands.start("exit 4")) == 4

    with_commands(work)
    assert running_with("# 8102.5") == []


def test_a_job_may_take_all_descriptors_from_its_keeper(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def work(commands: Commands) -> None:
        text = (
            "prlimit --pid $PPID --nofile=0; echo up; read x < fifo; echo on; (sleep 99 &); exit 3"
        )
        number = commands.start(text, dir=str(tmp_path))
        await commands.wrote(number, b"up")
        (tmp_path / "fifo").write_text("\n")
        assert await commands.ended(number) == 3
        assert commands.output[number] == b"up\non\n"

    with_commands(work)


def test_a_job_may_take_its_own_output_out_of_the_pipe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    taking = f"""
read = os.read
def late(descriptor, size):
    if size == keeper.run.CHUNK and not os.path.exists("{tmp_path}/taken"):
        read(descriptor, size)  # what the job does, which can open it through /proc
        open("{tmp_path}/taken", "w").close()
    return read(descriptor, size)
os.read = late"""
    with_keepers_that(monkeypatch, tmp_path, taking)
    text = "echo up; until test -e taken; do sleep 0.01; done; echo on; exit 3"
    assert run(text, dir=str(tmp_path)) == (3, b"on\n")


def test_after_a_mistake_of_its_own_a_keeper_goes_on_and_tells_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = "keeper.ending.below = lambda *_, **__: 1 / 0"
    with_keepers_that(monkeypatch, tmp_path, wrong, "keeper.run.MOST_MISTAKES = 5")

    async def work(commands: Commands) -> None:
        first = commands.start("echo up; sleep 8103.5 & exit 3")
        behind = commands.start("exit 4")
        exit = await commands.exit(first)
        assert (exit.code, commands.output[first]) == (3, b"up\n")
        (remark,) = exit.remarks
        said = (
            "the worker's keeper made a mistake, please report it: ZeroDivisionError at keeper.py:"
        )
        assert remark.startswith(said)
        assert await commands.ended(behind) == 4

    with_commands(work)


def test_a_run_can_be_ended_by_a_keeper_that_makes_mistakes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = "keeper.ending.below = lambda *_, **__: 1 / 0"
    with_keepers_that(monkeypatch, tmp_path, wrong, "keeper.run.MOST_MISTAKES = 5")

    async def work(commands: Commands) -> None:
        number = commands.start("echo up; exec sleep 8104.5")
        await commands.wrote(number, b"up")
        commands.processes.end(number, 0.1)
        assert await commands.ended(number) == -9

    with_commands(work)


# --- it is stopped -------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [None, pytest.param(NOBODY, marks=needs_root)])
def test_a_job_that_stops_its_keeper_ends_with_worker_py(user: Owner | None) -> None:
    with starter({"text": "exec sleep 8105.5", "user": user and astuple(user)}) as node:
        node.next("began")
        (keeper,) = psutil.Process(node.pid).children()
        keeper.suspend()
        eventually(lambda: keeper.status() == psutil.STATUS_STOPPED)
        node.process.kill()
        gone(lambda: running_with("sleep 8105.5"))


# --- it is changed for good ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "look"),
    [
        ("renice -n 5 -p $PPID", "nice"),
        ("prlimit --pid $PPID --core=4096:4096 --fsize=8192", "ulimit -a"),
        pytest.param(
            "taskset -cp $(taskset -cp $$ | grep -o '[0-9]*$') $PPID",
            "nproc",
            marks=pytest.mark.skipif(os.cpu_count() == 1, reason="there is one processor"),
        ),
        ("chrt --batch -p 0 $PPID", "chrt -p 0 | grep -o SCHED.*"),
    ],
)
def test_what_a_job_has_done_to_its_keeper_is_not_for_later_jobs(change: str, look: str) -> None:
    async def work(commands: Commands) -> None:
        first = commands.start(look)
        number = commands.start(f"echo up; {change}; (sleep 8106.5 &); sleep 0.1")
        behind = commands.start("exit 4")
        await commands.ended(first)
        (before,) = commands.keepers()
        assert await commands.ended(number) == 0
        assert await commands.ended(behind) == 4
        later = commands.start(look)
        assert await commands.ended(later) == 0
        assert commands.output[later] == commands.output[first] != b""
        assert commands.keepers() != [before]

    with_commands(work)
    assert running_with("sleep 8106.5") == []


def test_a_keeper_that_can_start_nothing_as_a_job_has_seen_to_is_replaced() -> None:
    async def work(commands: Commands) -> None:
        first, behind = (
            commands.start("exec prlimit --pid $PPID --nofile=4"),
            commands.start("true"),
        )
        (_, _, error) = await commands.event("failed", behind)
        assert isinstance(error, Shortage) and await commands.ended(first) == 0
        assert await commands.ended(commands.start("exit 4")) == 4

    with_commands(work)


def test_so_is_one_that_twice_in_a_row_can_start_nothing_for_reasons_unknown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    short = f"""
def refuse(*_):
    raise OSError(11, "Resource temporarily unavailable")
if not os.path.exists("{tmp_path}/first"):
    open("{tmp_path}/first", "w").close()
    keeper.keeping.spawn = refuse"""
    with_keepers_that(monkeypatch, tmp_path, short)

    async def work(commands: Commands) -> None:
        await commands.event("failed", commands.start("true"))
        await commands.event("failed", commands.start("true"))
        assert await commands.ended(commands.start("exit 4")) == 4
        assert [event[0] for event in commands.events] == ["failed", "failed", "ended"]

    with_commands(work)


def test_a_keeper_that_nobody_has_changed_stays() -> None:
    async def work(commands: Commands) -> None:
        for text in ("echo up; sleep 0.1; exit 3", "exit 4", "/no/such/program"):
            await commands.ended(commands.start(text))
        (before,) = commands.keepers()
        await commands.event("failed", commands.start("", arguments=["/no/such/program"]))
        assert await commands.ended(commands.start("exit 5")) == 5
        assert commands.keepers() == [before]

    with_commands(work)
