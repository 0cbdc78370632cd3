"""Real commands, started and ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest
from twisted.internet.defer import Deferred

from coalition import wire
from coalition.worker import process, watch
from coalition.worker.command import CommandError, Mark, prepare
from coalition.worker.process import Process, Processes
from coalition.worker.shortage import Shortage
from coalition.worker.tree import start_time
from tests.worker.real import descriptors_left, eventually, in_reactor, running_with

MARK = Mark(7, "node", "http://farm:19211")


class Job:
    """A command in a reactor, and what it has written."""

    def __init__(self, processes: Processes, text: str, mark: Mark = MARK, **more: Any) -> None:
        self.output = b""
        self.processes = processes
        self._awaited: list[tuple[bytes, Deferred[None]]] = []
        command = prepare(wire.Start("node", mark.run, 3, text, **more), mark, os.environ)
        self.process: Process = self.processes.start(command, mark, self._on_output)

    def _on_output(self, data: bytes) -> None:
        self.output += data
        for text, seen in self._awaited:
            if text in self.output and not seen.called:
                seen.callback(None)

    def wrote(self, text: bytes) -> Deferred[None]:
        """Wait until the command has written a text."""
        seen: Deferred[None] = Deferred()
        self._awaited.append((text, seen))
        self._on_output(b"")
        return seen

    async def finish(self) -> int:
        return await self.processes.finish(self.process)


def run(text: str, **more: Any) -> tuple[int, bytes]:
    """Run a command to its end; return its exit code and output."""

    async def work(reactor: Any) -> tuple[int, bytes]:
        job = Job(Processes(reactor), text, **more)
        return await job.finish(), job.output

    return in_reactor(work)


def refusal(text: str, **more: Any) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(text, **more)
    return caught.value


def test_both_outputs_come_in_the_order_they_were_written() -> None:
    lines = "".join(f"echo o{n}; echo e{n} >&2; " for n in range(200))
    code, output = run(lines + "exit 5")
    assert code == 5
    assert output.decode() == "".join(f"o{n}\ne{n}\n" for n in range(200))


def test_a_signal_is_a_negative_exit_code() -> None:
    assert run("kill -9 $$") == (-signal.SIGKILL, b"")


def test_a_job_has_its_directory_no_input_and_a_umask_for_groups(tmp_path: Path) -> None:
    assert run("pwd; cat; umask", dir=str(tmp_path)) == (0, f"{tmp_path}\n0002\n".encode())


def test_a_missing_directory_is_an_error_that_names_it() -> None:
    error = refusal("echo no", dir="/no/such/place")
    assert str(error) == "there is no directory /no/such/place"
    assert error.exit_code == 1


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
    assert error.exit_code == 126


def test_a_program_that_is_missing_is_an_error_that_names_it() -> None:
    async def work(reactor: Any) -> None:
        command = prepare(wire.Start("node", 7, 3, "true"), MARK, {}, "/no/sudo __cmd__")
        Processes(reactor).start(command, MARK, bytes)

    with pytest.raises(CommandError, match="cannot start /no/sudo: No such file") as caught:
        in_reactor(work)
    assert caught.value.exit_code == 127


def test_a_background_child_that_keeps_the_output_open_is_not_waited_for() -> None:
    began = time.monotonic()
    assert run("sleep 7101.5 & echo done") == (0, b"done\n")
    assert time.monotonic() - began < 2
    assert running_with("sleep 7101.5") == []


@pytest.mark.parametrize(
    "left_behind",
    [
        "setsid sleep 7102.5 >/dev/null 2>&1 &",
        "(setsid sh -c 'sleep 7102.5 & sleep 7102.5' >/dev/null 2>&1 &)",
        "nohup sleep 7102.5 >/dev/null 2>&1 &",
        "env -i sleep 7102.5 &",
    ],
)
def test_nothing_a_job_leaves_behind_lives_on(left_behind: str) -> None:
    assert run(f"{left_behind}\nsleep 0.1; echo over") == (0, b"over\n")
    assert running_with("sleep 7102.5") == []
    assert zombies() == []


def zombies() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [child for child in children if child.status() == psutil.STATUS_ZOMBIE]


def test_killing_takes_children_that_have_left_the_group() -> None:
    daemon = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "  os.setsid()\n"
        "  if os.fork() == 0: os.execlp('sleep', 'sleep', '7103.5')\n"
        "  os._exit(0)\n"
        "os.wait()\n"
        "print('up', flush=True)\n"
        "time.sleep(7103.5)"
    )

    async def work(reactor: Any) -> int:
        job = Job(Processes(reactor), f'sleep 7103.5 & {sys.executable} -c "{daemon}"')
        await job.wrote(b"up")
        assert len(running_with("sleep 7103.5")) >= 2
        job.processes.end(job.process)
        return await job.finish()

    assert in_reactor(work) == -signal.SIGTERM
    assert running_with("7103.5") == []
    assert zombies() == []


def test_a_job_that_will_not_end_is_forced_after_its_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("coalition.worker.tree.GRACE", 0.3)

    async def work(reactor: Any) -> tuple[int, bytes]:
        job = Job(Processes(reactor), "trap 'echo no' TERM; echo up; while :; do sleep 0.05; done")
        await job.wrote(b"up")
        job.processes.end(job.process)
        return await job.finish(), job.output

    code, output = in_reactor(work)
    assert code == -signal.SIGKILL
    assert output.startswith(b"up\n")
    assert b"no\n" in output


def test_a_job_may_tidy_up_when_it_is_ended(tmp_path: Path) -> None:
    async def work(reactor: Any) -> int:
        job = Job(
            Processes(reactor),
            f"trap 'touch {tmp_path}/tidy; exit 9' TERM; echo up; sleep 30 & wait",
        )
        await job.wrote(b"up")
        job.processes.end(job.process)
        return await job.finish()

    assert in_reactor(work) == 9
    assert (tmp_path / "tidy").exists()


def test_ending_one_job_leaves_the_others_alone() -> None:
    async def work(reactor: Any) -> tuple[int, int]:
        processes = Processes(reactor)
        other = Job(processes, "echo up; sleep 0.5; exit 3", Mark(8, "node", MARK.server))
        twin = Job(processes, "echo up; sleep 0.5; exit 4", Mark(7, "node", "http://other:1"))
        job = Job(processes, "echo up; sleep 7104.5")
        await job.wrote(b"up")
        await other.wrote(b"up")
        await twin.wrote(b"up")
        job.processes.end(job.process)
        await job.finish()
        return await other.finish(), await twin.finish()

    assert in_reactor(work) == (3, 4)


def test_what_an_earlier_worker_left_running_is_found_by_number_and_by_mark() -> None:
    async def work(reactor: Any) -> bool:
        processes = Processes(reactor)
        by_number = Job(processes, "unset COALITION_RUN; echo up; exec sleep 7105.5")
        await by_number.wrote(b"up")
        pid = by_number.process.pid
        by_mark = Job(processes, "echo up; exec sleep 7106.5", Mark(9, "node", MARK.server))
        await by_mark.wrote(b"up")
        await processes.end_leftover(pid, start_time(pid), Mark(1, "", ""))
        await processes.end_leftover(0, 0.0, Mark(9, "node", MARK.server))
        await by_number.finish()
        await by_mark.finish()
        return True

    assert in_reactor(work)
    assert running_with("sleep 7105.5") == running_with("sleep 7106.5") == []


def test_a_process_that_got_an_old_number_is_left_alone() -> None:
    async def work(reactor: Any) -> int:
        job = Job(Processes(reactor), "echo up; sleep 0.3; exit 3", Mark(8, "other", MARK.server))
        await job.wrote(b"up")
        pid = job.process.pid
        await job.processes.end_leftover(pid, start_time(pid) - 5, MARK)
        return await job.finish()

    assert in_reactor(work) == 3


def test_systems_without_descriptors_of_processes_are_served_by_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_pidfd(pid: int) -> int:
        raise OSError("not here")

    monkeypatch.setattr(watch, "_pidfd_open", no_pidfd)
    monkeypatch.setattr("coalition.worker.process.watch_output", watch.ThreadedPipe)
    code, output = run("head -c 3000000 /dev/zero; echo end; sleep 7107.5 & exit 6")
    assert code == 6
    assert output == bytes(3_000_000) + b"end\n"
    eventually(lambda: not running_with("sleep 7107.5"))


def descriptors_needed(spare: int, folder: str) -> int:
    """Let this process have one more descriptor after the other until a command starts."""
    process.SPARE = spare

    async def work(reactor: Any) -> int:
        processes, count = Processes(reactor), 0
        open_files = os.listdir("/proc/self/fd")
        while True:
            try:
                with descriptors_left(count):
                    job = Job(processes, "echo . >> ran", dir=folder)
            except Shortage as error:
                assert "Too many open files" in str(error)
                assert os.listdir("/proc/self/fd") == open_files
                count += 1
            else:
                assert await job.finish() == 0
                return count

    count = in_reactor(work)
    assert zombies() == []
    return count


@pytest.mark.parametrize("spare", [0, 16])
def test_without_descriptors_nothing_is_started_and_nothing_is_left(
    spare: int, tmp_path: Path
) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as other_process:
        needed = other_process.submit(descriptors_needed, spare, str(tmp_path)).result()
    assert needed == max(5, spare + 2)
    assert (tmp_path / "ran").read_text() == ".\n"


def test_a_command_whose_end_cannot_be_watched_is_not_left_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("coalition.worker.process.watch_exit", fail)

    async def work(reactor: Any) -> None:
        Job(Processes(reactor), "sleep 7108.5 & sleep 7108.5")

    with pytest.raises(Shortage, match="nothing at the moment: can't start new thread"):
        in_reactor(work)
    eventually(lambda: not running_with("sleep 7108.5"))
