"""Real commands, started and ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from coalition.worker.command.command import CommandError
from coalition.worker.process.keeper.keeping import GRACE
from coalition.worker.shortage import Shortage
from tests.worker.commands import Commands, refusal, run, with_commands
from tests.worker.real import descriptors_left


def test_both_outputs_come_in_the_order_they_were_written() -> None:
    lines = "".join(f"echo o{n}; echo e{n} >&2; " for n in range(200))
    code, output = run(lines + "exit 5")
    assert code == 5
    assert output.decode() == "".join(f"o{n}\ne{n}\n" for n in range(200))


def test_a_signal_is_a_negative_exit_code() -> None:
    assert run("kill -9 $$") == (-signal.SIGKILL, b"")


def test_a_job_has_its_directory_no_input_and_a_umask_for_groups(tmp_path: Path) -> None:
    assert run("pwd; cat; umask", dir=str(tmp_path)) == (0, f"{tmp_path}\n0002\n".encode())


def test_a_directory_begins_where_the_worker_is(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert run("pwd", dir="below")[1] == f"{tmp_path}/below\n".encode()
        assert run("pwd", dir=None)[1] == f"{tmp_path}\n".encode()
    finally:
        os.chdir(before)


def test_a_job_has_the_environment_that_was_asked_for_and_nothing_else() -> None:
    environ = {"PATH": "/usr/bin:/bin", "KEPT": "1", "CHANGED": "old"}
    variables = {"CHANGED": "new", "OWN": "ö\udcff"}

    async def work(commands: Commands) -> bytes:
        number = commands.start("", variables=variables, arguments=["/usr/bin/env"])
        assert await commands.ended(number) == 0
        return bytes(commands.output[number])

    lines = with_commands(work, environ).splitlines()
    assert sorted(lines) == sorted(
        os.fsencode(f"{n}={v}") for n, v in {**environ, **variables}.items()
    )


def test_a_job_has_the_keepers_files_neither_open_nor_its_signals_ignored() -> None:
    script = (
        "import os, signal\n"
        "print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:-1])\n"
        "text = open('/proc/self/status').read()\n"
        "print([int(text.split(f'{name}:')[1].split()[0], 16) & 0x7fffffff & ~(1 << 12 | 1 << 24)"
        " for name in ('SigBlk', 'SigIgn')])\n"
    )
    code, output = run("", arguments=[sys.executable, "-I", "-S", "-c", script])
    assert (code, output) == (0, b"[0, 1, 2]\n[0, 0]\n")


def test_writing_into_a_closed_pipe_ends_a_program_of_a_job() -> None:
    assert run("(yes; echo $? >&2) | true")[1] == b"141\n"


def test_commands_of_a_worker_run_one_after_the_other(tmp_path: Path) -> None:
    async def work(commands: Commands) -> list[Any]:
        runs = [
            commands.start(f"test ! -e lock && echo {n} > lock && rm lock", dir=str(tmp_path))
            for n in range(30)
        ]
        await commands.ended(runs[-1])
        return commands.events

    assert [event[:3] for event in with_commands(work)] == [("ended", n, 0) for n in range(1, 31)]


def test_no_run_waits_for_another_worker() -> None:
    async def work(commands: Commands) -> list[int]:
        slow = commands.start("sleep 7100.5", "slow")
        quick = [commands.start("true", f"worker {n}") for n in range(3)]
        codes = [await commands.ended(run) for run in quick]
        commands.processes.end(slow)
        return [*codes, await commands.ended(slow)]

    assert with_commands(work) == [0, 0, 0, -signal.SIGTERM]


def test_a_run_that_still_waits_is_dropped_and_one_that_runs_is_not(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def work(commands: Commands) -> None:
        runs = [
            commands.start("echo up; read x < fifo", dir=str(tmp_path)),
            *map(commands.start, "123"),
        ]
        await commands.wrote(runs[0], b"up")
        commands.processes.drop(runs[0])
        commands.processes.end(runs[1])
        commands.processes.drop(runs[3])
        await commands.event("dropped", runs[3])
        (tmp_path / "fifo").write_text("x\n")
        assert await commands.ended(runs[2]) == 127
        kinds = [event[:2] for event in commands.events if event[0] != "began"]
        assert kinds == [("dropped", 2), ("dropped", 4), ("ended", 1), ("ended", 3)]

    with_commands(work)


def test_only_a_run_that_lasts_is_announced_with_its_process() -> None:
    async def work(commands: Commands) -> None:
        short, long = commands.start("true"), commands.start("echo $$; exec sleep 7101.5")
        await commands.event("began", long)
        ended = await commands.exit(short)
        assert commands.find("began", short) is None or ended.seconds >= 0.05
        pid = int(commands.output[long])
        assert commands.pids[long] == pid
        assert commands.started[long] == psutil.Process(pid).create_time()
        commands.processes.end(long)
        await commands.ended(long)

    with_commands(work)


def test_what_a_run_took_is_told_without_the_time_in_the_queue() -> None:
    async def work(commands: Commands) -> None:
        began = time.monotonic()
        runs = [commands.start("sleep 0.2"), commands.start("true")]
        long, short = [(await commands.exit(run)).seconds for run in runs]
        assert long >= 0.2
        assert 0 < short < time.monotonic() - began - long

    with_commands(work)


def test_the_time_that_ending_the_remains_took_is_told_beside_it() -> None:
    async def work(commands: Commands) -> None:
        stubborn = "trap '' TERM; (echo up; while :; do sleep 0.05; done) & sleep 0.2"
        began = time.monotonic()
        runs = [commands.start(stubborn), commands.start("true")]
        long, short = [await commands.exit(run) for run in runs]
        assert long.seconds >= 0.2 and long.clearing >= GRACE
        assert long.seconds + long.clearing + short.seconds <= time.monotonic() - began
        assert short.clearing == 0

    with_commands(work)


# --- what cannot be started ----------------------------------------------------------------------


def test_a_missing_directory_is_an_error_that_names_it() -> None:
    error = refusal("echo no", dir="/no/such/place")
    assert str(error) == "there is no directory /no/such/place"
    assert isinstance(error, CommandError) and error.exit_code == 1
    assert str(refusal("echo no", dir="/etc/passwd")) == "there is no directory /etc/passwd"


def test_an_unknown_command_says_so_in_the_log() -> None:
    code, output = run("no-such-program --frame 1")
    assert code == 127
    assert b"no-such-program" in output


@pytest.mark.parametrize(
    ("text", "reason"), [("x" * 200_000, "too long"), ("a\0b", "null byte"), ("\udcff\ud800", "")]
)
def test_a_command_that_no_system_starts_is_an_error(text: str, reason: str) -> None:
    error = refusal(text)
    assert reason in str(error)
    assert isinstance(error, CommandError) and error.exit_code == 126


def test_a_program_that_is_missing_is_an_error_that_names_it() -> None:
    error = refusal("", arguments=["/no/sudo", "true"])
    assert str(error) == "cannot start /no/sudo: No such file or directory"
    assert isinstance(error, CommandError) and error.exit_code == 127


def test_a_program_without_a_path_is_searched_where_the_job_says(tmp_path: Path) -> None:
    for folder, mode in (("forbidden", 0o644), ("good", 0o755)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tool").write_text("#!/bin/sh\necho found $1\n")
        (tmp_path / folder / "tool").chmod(mode)
    path = f"/no/such:/etc/passwd:{tmp_path}/forbidden:{tmp_path}/good"
    assert run("", arguments=["tool", "me"], variables={"PATH": path}) == (0, b"found me\n")
    error = refusal("", arguments=["tool"], variables={"PATH": "/no/such"})
    assert str(error) == "cannot start tool: No such file or directory"


def test_after_a_command_that_could_not_be_started_the_next_one_runs() -> None:
    async def work(commands: Commands) -> int:
        commands.start("true", dir="/no/such/place")
        return await commands.ended(commands.start("exit 4"))

    assert with_commands(work) == 4


def test_a_computer_that_can_start_nothing_gives_the_run_back() -> None:
    async def work(commands: Commands) -> None:
        await commands.processes.prepare(["node"])
        await commands.ended(commands.start("true"))
        (keeper,) = commands.keepers()
        with descriptors_left(0, keeper.pid):
            error = (await commands.event("failed", commands.start("true")))[2]
        assert str(error) == "this computer can start nothing at the moment: Too many open files"
        assert isinstance(error, Shortage)
        assert await commands.ended(commands.start("true")) == 0

    with_commands(work)


def test_without_descriptors_for_its_keeper_a_run_is_given_back() -> None:
    async def work(commands: Commands) -> None:
        with descriptors_left(0):
            error = (await commands.event("failed", commands.start("true")))[2]
        assert isinstance(error, Shortage)
        assert await commands.ended(commands.start("true")) == 0

    with_commands(work)
