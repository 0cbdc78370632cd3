"""Whatever a command has started ends with it."""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from coalition.worker.process import posix
from coalition.worker.process.ending import GRACE
from coalition.worker.process.keeper.keeping import LEASE_WAIT
from coalition.worker.process.keeper.messages import boottime
from coalition.worker.process.keeper.orphans import adopt_orphans
from tests.worker.commands import (
    Commands,
    gone,
    needs_cgroups,
    needs_root,
    no_cgroups,
    run,
    starter,
    with_commands,
)
from tests.worker.real import eventually, running_with

DAEMON = (
    "import os, time\n"
    "if os.fork() == 0:\n"
    "  os.setsid()\n"
    "  if os.fork() == 0: os.execle('/bin/sleep', 'sleep', '{seconds}', dict())\n"
    "  os._exit(0)\n"
    "os.wait()\n"
    "print('up', flush=True)\n"
    "time.sleep({seconds})"
)
"""A program that leaves a process without session, parent and environment of its own behind."""


STOPPED = "echo up; kill -STOP $$; while :; do sleep 0.05; done # 7211.5"
"""A job that stops itself."""


def is_stopped() -> bool:
    return [one.status() for one in running_with("# 7211.5")] == [psutil.STATUS_STOPPED]


@pytest.fixture(params=["control group", "subreaper", "mark"])
def means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What a system has to find processes by: all that Linux has, less of it, nearly nothing."""
    if request.param == "control group":
        request.applymarker(needs_cgroups)
    else:
        monkeypatch.setattr(posix, "Cgroups", no_cgroups)
    monkeypatch.setattr(posix, "ADOPT", request.param != "mark")
    if request.param == "mark":
        with an_init():
            yield request.param
    else:
        yield request.param


@contextmanager
def an_init() -> Iterator[None]:
    """Have this process do what init does: wait for the orphans of all."""
    over = threading.Event()
    adopt_orphans()

    def work() -> None:
        while not over.wait(0.01):
            for child in psutil.Process().children():
                with suppress(psutil.NoSuchProcess, ChildProcessError):
                    if child.status() == psutil.STATUS_ZOMBIE:
                        os.waitpid(child.pid, os.WNOHANG)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def zombies() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [child for child in children if child.status() == psutil.STATUS_ZOMBIE]


@pytest.mark.usefixtures("means")
def test_a_background_child_that_keeps_the_output_open_is_not_waited_for() -> None:
    assert run("sleep 7201.5 & echo done") == (0, b"done\n")
    assert running_with("sleep 7201.5") == []


@pytest.mark.usefixtures("means")
@pytest.mark.parametrize(
    "left_behind",
    [
        "setsid sleep 7202.5 >/dev/null 2>&1 &",
        "(setsid sh -c 'sleep 7202.5 & sleep 7202.5' >/dev/null 2>&1 &)",
        "nohup sleep 7202.5 >/dev/null 2>&1 &",
        "env -i sleep 7202.5 &",
    ],
)
def test_nothing_a_job_leaves_behind_lives_on(left_behind: str) -> None:
    assert run(f"{left_behind}\nsleep 0.1; echo over") == (0, b"over\n")
    assert running_with("sleep 7202.5") == []
    assert zombies() == []


def test_killing_takes_children_that_have_left_session_and_environment(means: str) -> None:
    if means == "mark":
        pytest.skip("nothing tells whose process that is")

    async def work(commands: Commands) -> int:
        daemon = DAEMON.format(seconds=7203.5)
        number = commands.start(f'sleep 7203.5 & {sys.executable} -c "{daemon}"')
        await commands.wrote(number, b"up")
        assert len(running_with("sleep 7203.5")) >= 2
        commands.processes.end(number)
        return await commands.ended(number)

    assert with_commands(work) == -signal.SIGTERM
    assert running_with("7203.5") == []
    assert zombies() == []


@pytest.mark.usefixtures("means")
def test_a_job_that_will_not_end_is_forced_after_its_grace() -> None:
    async def work(commands: Commands) -> tuple[int, bytes]:
        number = commands.start("trap 'echo no' TERM; echo up; while :; do sleep 0.05; done")
        await commands.wrote(number, b"up")
        commands.processes.end(number, 0.3)
        return await commands.ended(number), bytes(commands.output[number])

    code, output = with_commands(work)
    assert code == -signal.SIGKILL
    assert output.startswith(b"up\n")
    assert b"no\n" in output


def test_a_job_that_is_to_end_sooner_ends_sooner() -> None:
    async def work(commands: Commands) -> int:
        number = commands.start("trap '' TERM; echo up; while :; do sleep 0.05; done")
        await commands.wrote(number, b"up")
        commands.processes.end(number, 3600)
        commands.processes.end(number, 0)
        return await commands.ended(number)

    assert with_commands(work) == -signal.SIGKILL


def test_a_job_may_tidy_up_when_it_is_ended(tmp_path: Path) -> None:
    async def work(commands: Commands) -> int:
        script = f"trap 'touch {tmp_path}/tidy; exit 9' TERM; echo up; sleep 30 & wait"
        number = commands.start(script)
        await commands.wrote(number, b"up")
        commands.processes.end(number)
        return await commands.ended(number)

    assert with_commands(work) == 9
    assert (tmp_path / "tidy").exists()


@pytest.mark.usefixtures("means")
def test_a_stopped_job_may_tidy_up_too() -> None:
    async def work(commands: Commands) -> int:
        number = commands.start(f"trap 'exit 9' TERM; {STOPPED}")
        await commands.wrote(number, b"up")
        eventually(is_stopped)
        commands.processes.end(number, 3600)
        return await commands.ended(number)

    assert with_commands(work) == 9


@pytest.mark.usefixtures("means")
def test_a_stopped_job_whose_keeper_is_killed_may_tidy_up_too(tmp_path: Path) -> None:
    async def work(commands: Commands) -> None:
        number = commands.start(f"trap 'touch tidy; exit' TERM; {STOPPED}", dir=str(tmp_path))
        await commands.event("began", number)
        eventually(is_stopped)
        commands.keepers()[0].kill()
        await commands.event("killed", number)
        assert (tmp_path / "tidy").exists()

    with_commands(work)


@pytest.mark.usefixtures("means")
def test_ending_one_job_leaves_the_others_alone() -> None:
    async def work(commands: Commands) -> tuple[int, int]:
        job = commands.start("echo up; sleep 7204.5")
        other = commands.start("echo up; sleep 0.5; exit 3", "other")
        await commands.wrote(job, b"up")
        await commands.wrote(other, b"up")
        commands.processes.end(job)
        return await commands.ended(job), await commands.ended(other)

    assert with_commands(work) == (-signal.SIGTERM, 3)


def test_processes_that_fork_faster_than_one_can_count_end(means: str) -> None:
    if means == "mark":
        pytest.skip("only control groups and process groups are faster")

    async def work(commands: Commands) -> None:
        number = commands.start("trap '' TERM; f() { f & }; f; f; f; echo up; sleep 7205.5")
        await commands.wrote(number, b"up")
        commands.processes.end(number, 0.1)
        await commands.ended(number)

    with_commands(work)
    assert running_with("7205.5") == []


def test_dead_orphans_of_a_long_run_are_buried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(commands: Commands) -> None:
        number = commands.start("(true &); sleep 0.1; echo up; exec sleep 7206.5")
        await commands.wrote(number, b"up")
        (keeper,) = commands.keepers()
        # Whatever wakes the keeper will do; otherwise it takes some seconds.
        commands.processes.lease(boottime() + 60)
        await commands.ended(commands.start("true", "other"))
        gone(lambda: [one for one in keeper.children() if one.status() == psutil.STATUS_ZOMBIE])
        commands.processes.end(number)
        await commands.ended(number)

    with_commands(work)


@needs_root
@pytest.mark.skipif(not Path("/usr/bin/setpriv").exists(), reason="there is no setpriv")
def test_processes_of_another_user_that_cannot_be_signalled_are_left_with_a_remark() -> None:
    script = "import os; os.setuid(65534); os.execlp('sh', 'sh', '-c', 'echo up; sleep 7207.5')"
    command = {"text": f'{sys.executable} -c "{script}" & wait'}
    later = {"text": "exit 4"}
    may_not = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"]
    with starter(command, later, prefix=may_not, cgroups=False, end_after=0.2) as node:
        run, exit = node.exit()
        left = running_with("sleep 7207.5")
        assert (run, exit.code, exit.lapsed) == (1, -signal.SIGTERM, False)
        words = "process {} ({}) could not be ended: it belongs to another user"
        assert sorted(exit.remarks) == sorted(words.format(one.pid, one.name()) for one in left)
        assert node.next("ended")[:3] == ["ended", 2, 4]
        for one in left:
            one.kill()


THREADS = """
import ctypes, os, threading, time
threading.Thread(target=time.sleep, args=[7212.5]).start()
print("up", os.getpid(), flush=True)
ctypes.CDLL(None).syscall(60, 0)  # the first thread is over, and looks like a dead process
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="calls have other numbers there")
@pytest.mark.parametrize("killed", [False, True])
def test_a_program_whose_first_thread_is_over_is_ended_like_any_other(
    tmp_path: Path, killed: bool
) -> None:
    (tmp_path / "threads.py").write_text(THREADS)

    async def work(commands: Commands) -> None:
        number = commands.start(
            f"{sys.executable} threads.py & wait; sleep 7213.5", dir=str(tmp_path)
        )
        await commands.wrote(number, b"\n")
        pid = int(commands.output[number].split()[1])
        eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        if killed:
            commands.keepers()[0].kill()
            await commands.event("killed", number)
        else:
            commands.processes.end(number, 0.2)
            await commands.ended(number)
        assert not psutil.pid_exists(pid)

    with_commands(work)


# --- leases --------------------------------------------------------------------------------------


def until(file: Path) -> str:
    """Return a command that ends when there is a file."""
    return f"until [ -e {file} ]; do sleep 0.05; done"


def test_an_exclusive_run_ends_itself_when_its_lease_is_over() -> None:
    async def work(commands: Commands) -> None:
        other = commands.start("sleep 7208.5", "other")
        number = commands.start("echo up; sleep 7209.5", lease=boottime() + 60)
        await commands.wrote(number, b"up")
        over = boottime() + 0.2
        commands.processes.lease(over)
        exit = await commands.exit(number)
        assert (exit.code, exit.lapsed) == (-signal.SIGTERM, True)
        assert boottime() > over
        commands.processes.end(other)
        assert not (await commands.exit(other)).lapsed

    with_commands(work)


def test_what_an_exclusive_run_left_behind_is_gone_with_its_lease_too() -> None:
    async def work(commands: Commands) -> None:
        text = "trap '' TERM; (echo up; while :; do sleep 0.05; done) &"
        number = commands.start(text, lease=boottime() + 60)
        await commands.wrote(number, b"up")
        began = boottime()
        commands.processes.lease(began + 0.2)
        exit = await commands.exit(number)
        assert (exit.code, exit.lapsed) == (0, False)
        assert boottime() - began < GRACE

    with_commands(work)


def test_a_lease_that_is_moved_does_not_end_and_what_waits_has_it_too(tmp_path: Path) -> None:
    async def work(commands: Commands) -> None:
        first = commands.start(f"echo up; {until(tmp_path / 'go')}", lease=boottime() + 60)
        second = commands.start("exit 4", lease=boottime() + 60)
        await commands.wrote(first, b"up")
        before = boottime() + 2
        commands.processes.lease(before)
        commands.processes.lease(boottime() + 60)
        commands.processes.send()
        await commands.passed(before + LEASE_WAIT)
        (tmp_path / "go").touch()
        assert await commands.ended(first) == 0
        assert await commands.ended(second) == 4

    with_commands(work)


def test_a_run_whose_lease_was_over_in_the_queue_is_not_begun(tmp_path: Path) -> None:
    async def work(commands: Commands) -> None:
        first = commands.start(until(tmp_path / "go"))
        over = boottime() + 0.1
        second = commands.start("echo no", lease=over)
        commands.processes.send()
        await commands.passed(over)
        (tmp_path / "go").touch()
        await commands.event("dropped", second)
        assert await commands.ended(first) == 0
        assert commands.output[second] == b""

    with_commands(work)


def test_an_exclusive_run_ends_itself_while_worker_py_is_stopped() -> None:
    text = "trap '' TERM; echo up; while :; do sleep 0.1; done # 7210.5"
    with starter({"text": text, "lease": boottime() + 60}, lapse_after=0.5) as node:
        node.next("lapsing")
        os.kill(node.pid, signal.SIGSTOP)
        gone(lambda: running_with("# 7210.5"))
        os.kill(node.pid, signal.SIGCONT)
        run, exit = node.exit()
        assert (run, exit.code, exit.lapsed) == (1, -signal.SIGKILL, True)
