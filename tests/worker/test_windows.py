"""What runs commands on Windows, with this system's processes in the place of Windows' own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from coalition.worker.command.command import Command, CommandError
from coalition.worker.process import windows
from coalition.worker.process.keeper.messages import boottime
from coalition.worker.process.windows import Processes
from coalition.worker.shortage import Shortage
from tests.worker.commands import Commands, with_commands
from tests.worker.real import running_with


class Group:
    """A process group that takes a job object's part."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._process = process

    def wait(self, timeout: float | None) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout)
        return None

    def ask(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        self.kill()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def begin(command: Command, environ: Mapping[str, str], output: int) -> Group:
    return Group(
        subprocess.Popen(
            command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=command.directory,
            env={**environ, **command.variables},
            start_new_session=True,
        )
    )


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "begin", begin)


def live(work: Callable[[Commands], Coroutine[Any, Any, Any]]) -> Any:
    return with_commands(work, kind=Processes)


def refusal(text: str, **more: Any) -> CommandError | Shortage:
    async def work(commands: Commands) -> CommandError | Shortage:
        error: CommandError | Shortage = (
            await commands.event("failed", commands.start(text, **more))
        )[2]
        return error

    found: CommandError | Shortage = live(work)
    return found


def test_commands_run_one_after_the_other_and_tell_all() -> None:
    async def work(commands: Commands) -> None:
        first = commands.start("head -c 3000000 /dev/zero; echo end; sleep 7401.5 & exit 6")
        second = commands.start("pwd; exit 7", dir="/")
        assert await commands.ended(first) == 6
        assert commands.output[first] == bytes(3_000_000) + b"end\n"
        assert await commands.ended(second) == 7
        assert commands.output[second] == b"/\n"
        assert running_with("sleep 7401.5") == []

    live(work)


def test_only_a_run_that_lasts_is_announced() -> None:
    async def work(commands: Commands) -> None:
        short, long = commands.start("true"), commands.start("echo $$; exec sleep 7402.5")
        await commands.event("began", long)
        await commands.wrote(long, b"\n")
        ended = await commands.exit(short)
        assert commands.find("began", short) is None or ended.seconds >= 0.05
        assert commands.pids[long] == int(commands.output[long])
        commands.processes.end(long)
        assert await commands.ended(long) == -signal.SIGTERM
        assert (await commands.exit(long)).by_order and not ended.by_order

    live(work)


def test_a_job_that_will_not_end_is_forced_after_its_grace() -> None:
    async def work(commands: Commands) -> int:
        number = commands.start("trap '' TERM; echo up; while :; do sleep 0.05; done")
        await commands.wrote(number, b"up")
        commands.processes.end(number, 0.1)
        return await commands.ended(number)

    assert live(work) == -signal.SIGKILL


def test_a_job_that_is_ended_before_it_has_begun_ends() -> None:
    async def work(commands: Commands) -> int:
        number = commands.start("sleep 7403.5")
        commands.processes.end(number)
        return await commands.ended(number)

    assert live(work) == -signal.SIGTERM


def test_what_waits_is_dropped() -> None:
    async def work(commands: Commands) -> None:
        runs = [commands.start("echo up; sleep 7404.5"), *map(commands.start, "123")]
        await commands.wrote(runs[0], b"up")
        commands.processes.drop(runs[0])
        commands.processes.drop(runs[1])
        commands.processes.end(runs[3])
        await commands.event("dropped", runs[1])
        await commands.event("dropped", runs[3])
        commands.processes.end(runs[0])
        assert await commands.ended(runs[2]) == 127

    live(work)


def test_what_cannot_be_started_says_why() -> None:
    assert str(refusal("true", dir="/no/such/place")) == "there is no directory /no/such/place"
    assert str(refusal("", arguments=["/no/sudo"])) == (
        "cannot start /no/sudo: No such file or directory"
    )
    assert str(refusal("a\0b")) == "the command cannot be started: embedded null byte"


def test_a_held_job_waits_and_can_be_ended(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def work(commands: Commands) -> None:
        text = "echo up; read x < fifo; head -c 1000000 /dev/zero"
        number = commands.start(text, dir=str(tmp_path))
        await commands.wrote(number, b"up")
        commands.processes.hold(number)
        (tmp_path / "fifo").write_text("\n")
        await commands.ended(commands.start("head -c 1000000 /dev/zero", "other"))
        assert len(commands.output[number]) < 500_000
        commands.processes.go(number)
        assert await commands.ended(number) == 0
        assert len(commands.output[number]) == 1_000_003

    live(work)


def test_leases_end_what_runs_and_drop_what_waits() -> None:
    async def work(commands: Commands) -> None:
        first = commands.start("echo up; sleep 7405.5", lease=boottime() + 60)
        second = commands.start("echo no", lease=boottime() + 60)
        await commands.wrote(first, b"up")
        commands.processes.lease(boottime() + 0.2)
        exit = await commands.exit(first)
        assert (exit.code, exit.lapsed) == (-signal.SIGTERM, True)
        await commands.event("dropped", second)

    live(work)


def test_closing_ends_everything() -> None:
    async def work(commands: Commands) -> None:
        number = commands.start("echo up; sleep 7406.5")
        await commands.wrote(number, b"up")
        await commands.processes.close()
        assert commands.find("ended", number)
        assert running_with("sleep 7406.5") == []

    live(work)
