"""What killed keepers leave behind: many processes, and more all the while."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from twisted.internet.defer import Deferred, gatherResults

from coalition.worker.command.command import Mark
from coalition.worker.process import ending, posix, remains, slot, tree
from coalition.worker.process.keeper.messages import boottime
from coalition.worker.process.keeper.orphans import adopt_orphans
from coalition.worker.process.keeper.table import Children, children
from coalition.worker.process.remains import Keepers, Orphans, Remains
from coalition.worker.process.slot import LAPSED_GRACE, Slot
from coalition.worker.process.tree import Trace, Trees, start_time
from tests.worker.commands import SERVER, Commands, needs_cgroups, no_cgroups, with_commands
from tests.worker.real import eventually, in_reactor, running_node, running_with
from tests.worker.scripted import ScriptedServer
from tests.worker.test_keeper_killed import given

FAR = 3600.0

HERE = f"node {os.getpid()}"
"""A worker that no other test has."""

LEAVE = """
import os, signal, sys
dead, living, seconds = sys.argv[1:]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(int(dead)):
    os.fork() or os._exit(0)
for _ in range(int(living)):
    os.fork() or os.execlp("sleep", "sleep", seconds)
"""
"""Leaves children behind: dead ones, and living ones that will not end when they are asked to."""

CHAIN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
end = time.monotonic() + 12
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    if sys.argv[1:] == ["sessions"]:
        os.setsid()
"""
"""Begins a process like itself and ends, again and again; for no longer than a test may take."""


def nobody() -> Keepers:
    return Keepers(set(), set())


def leave(dead: int, living: int, seconds: float) -> None:
    """Have orphans come to this process, those of a command that sleeps so many seconds."""
    adopt_orphans()
    subprocess.run([sys.executable, "-c", LEAVE, str(dead), str(living), str(seconds)], check=True)
    eventually(lambda: len(running_with(f"sleep {seconds}")) == living)


def with_remains(
    work: Callable[[Remains], Coroutine[Any, Any, None]],
    keepers: Callable[[], Keepers] = nobody,
) -> None:
    async def live(reactor: Any) -> None:
        await work(Remains(reactor, keepers))

    in_reactor(live)


async def gathered(coroutines: list[Coroutine[Any, Any, Any]]) -> None:
    await gatherResults([Deferred.fromCoroutine(one) for one in coroutines])


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Ends the orphans of a test that fails."""
    yield
    for process in running_with("sleep 79"):
        if process in psutil.Process().children():
            process.kill()


Zombies = Callable[[], list[psutil.Process]]


@pytest.fixture
def zombies() -> Zombies:
    """Returns the dead children of this process that came after this."""
    earlier = psutil.Process().children()

    def look() -> list[psutil.Process]:
        found = [child for child in psutil.Process().children() if child not in earlier]
        return [child for child in found if child.status() == psutil.STATUS_ZOMBIE]

    return look


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passes over all processes of this computer, by whatever means."""
    seen: list[str] = []
    listdir = os.listdir

    def counted(path: Any = ".") -> Any:
        if os.fsdecode(path) == "/proc":
            seen.append(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", counted)
    return seen


# --- orphans -------------------------------------------------------------------------------------


def test_a_look_at_hundreds_of_orphans_is_one_pass_and_buries_the_dead(
    passes: list[str], zombies: Zombies
) -> None:
    async def work(reactor: Any) -> None:
        orphans = Orphans(reactor, nobody)
        leave(300, 50, 7901.5)
        eventually(lambda: len(zombies()) == 300)
        passes.clear()
        found = await orphans.find()
        assert len(passes) == 1
        assert sorted(one.pid for one in found) == sorted(
            one.pid for one in running_with("sleep 7901.5")
        )
        assert zombies() == []
        while found:
            orphans.force(found)
            found = await orphans.find()

    in_reactor(work)


def test_hundreds_of_orphans_end_and_are_buried(zombies: Zombies) -> None:
    async def work(remains: Remains) -> None:
        leave(300, 100, 7902.5)
        assert await remains.end_orphans(boottime() + 0.2) == []
        assert running_with("sleep 7902.5") == zombies() == []

    with_remains(work)


def test_all_who_wait_for_orphans_share_the_looks(passes: list[str]) -> None:
    async def live(reactor: Any) -> None:
        remains = Remains(reactor, nobody)
        leave(0, 50, 7903.5)
        passes.clear()
        until = boottime() + 0.2
        await gathered([remains.end_orphans(until) for _ in range(100)])
        assert running_with("sleep 7903.5") == []
        assert len(passes) < 100

    in_reactor(live)


def test_whoever_may_wait_for_a_shorter_time_has_all_forced_sooner() -> None:
    async def work(remains: Remains) -> None:
        leave(0, 3, 7904.5)
        await gathered([remains.end_orphans(boottime() + FAR), remains.end_orphans(boottime())])
        assert running_with("sleep 7904.5") == []

    with_remains(work)


def test_what_is_to_be_forced_at_once_is_not_asked_and_its_control_group_goes_first(
    tmp_path: Path,
) -> None:
    trap = f"trap 'touch {tmp_path}/asked; exit' TERM; touch {tmp_path}/up"
    script = f"{trap}; while :; do sleep 0.05; done # 7905.5"
    seen: list[int] = []

    async def work(remains: Remains) -> None:
        adopt_orphans()
        subprocess.run(["/bin/sh", "-c", f'setsid sh -c "{script}" &'], check=True)
        eventually((tmp_path / "up").exists)

        def kill() -> None:
            seen.append(len(running_with("# 7905.5")))

        assert await remains.end_orphans(boottime(), kill) == []
        assert seen[0] >= 1
        assert running_with("# 7905.5") == []
        assert not (tmp_path / "asked").exists()

    with_remains(work)


def test_a_keeper_that_is_started_during_a_look_is_no_orphan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def meanwhile() -> Children:
        started.append(subprocess.Popen(["sleep", "7906.5"]))
        return children()

    monkeypatch.setattr(remains, "children", meanwhile)

    async def work(remains: Remains) -> None:
        leave(0, 2, 7907.5)
        await remains.end_orphans(boottime())
        assert running_with("sleep 7907.5") == []

    try:
        with_remains(work, lambda: Keepers({one.pid for one in started}, set()))
        assert [one.poll() for one in started] == [None] * len(started)
    finally:
        for one in started:
            one.kill()
            one.wait()


def test_the_exit_code_of_a_keeper_is_left_to_whoever_waits_for_it() -> None:
    keepers: set[int] = set()

    async def work(remains: Remains) -> None:
        keeper = subprocess.Popen(["/bin/sh", "-c", "exit 3"])
        keepers.add(keeper.pid)
        os.waitid(os.P_PID, keeper.pid, os.WEXITED | os.WNOWAIT)
        await remains.end_orphans(boottime())
        assert keeper.wait() == 3

    with_remains(work, lambda: Keepers(set(), keepers))


def test_orphans_end_though_this_computer_starts_no_thread(
    monkeypatch: pytest.MonkeyPatch, zombies: Zombies
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ending, "in_thread", refused)

    async def work(remains: Remains) -> None:
        leave(5, 5, 7908.5)
        assert await remains.end_orphans(boottime()) == []
        assert running_with("sleep 7908.5") == zombies() == []

    with_remains(work)


def test_orphans_are_looked_for_again_when_that_is_possible(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lacking = [OSError(23, "Too many open files in system")] * 2

    def short() -> Children:
        if lacking:
            raise lacking.pop()
        return children()

    monkeypatch.setattr(remains, "children", short)
    monkeypatch.setattr(ending, "AGAIN", 0.01)

    async def work(remains: Remains) -> None:
        leave(0, 2, 7909.5)
        await remains.end_orphans(boottime())
        assert running_with("sleep 7909.5") == []

    with_remains(work)
    assert caplog.text.count("not all is ended yet") == 2


def test_what_an_exclusive_run_leaves_has_little_beyond_its_lease() -> None:
    one = Slot("node", "")
    given(one, 1)
    assert FAR > one.until() - boottime() > LAPSED_GRACE
    given(one, 2, boottime() + 0.1)
    assert one.until() == pytest.approx(one.leases[2] + LAPSED_GRACE, abs=0.05)
    given(one, 3, boottime() - 60)
    assert one.until() < boottime()


# --- on a node -----------------------------------------------------------------------------------


@pytest.fixture(params=["control group", "groups", "sessions"])
def chain(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """A program that forks all the while, and what there is to end it by."""
    if request.param == "control group":
        request.applymarker(needs_cgroups)
    else:
        monkeypatch.setattr(posix, "Cgroups", no_cgroups)
    (tmp_path / "chain-7910.5").write_text(CHAIN)
    yield f"{sys.executable} -I -S {tmp_path}/chain-7910.5 {request.param}"


def test_what_forks_all_the_while_ends_when_its_keeper_is_killed(
    chain: str, monkeypatch: pytest.MonkeyPatch, zombies: Zombies
) -> None:
    monkeypatch.setattr(slot, "GRACE", 0.3)

    async def work(commands: Commands) -> None:
        number = commands.start(f"{chain} & sleep 0.2; kill -9 $PPID; wait")
        assert await commands.event("killed", number) == ("killed", number, [])
        assert running_with("chain-7910.5") == zombies() == []
        assert await commands.ended(commands.start("exit 4")) == 4

    with_commands(work)


def test_the_node_talks_on_while_it_ends_what_a_killed_keeper_had(tmp_path: Path) -> None:
    (tmp_path / "leave").write_text(LEAVE)
    job = f"{sys.executable} {tmp_path}/leave 50 300 7911.5; kill -9 $PPID; sleep 7911.5"
    other = "while [ ! -e go ]; do echo on; sleep 0.1; done; exit 3"
    with (
        ScriptedServer().running() as server,
        running_node(tmp_path, "-w", "2", server.url) as node,
    ):
        server.give(5, other, worker="node-1", dir=str(tmp_path))
        server.wait_for_log(5, b"on\n")
        server.give(6, job, worker="node-2")
        eventually(lambda: "the keeper of node-2 was killed" in node.log)
        heard = len(server.logs[5])
        server.wait_for(lambda: len(server.logs[5]) > heard or 6 in server.ends)
        assert 6 not in server.ends
        assert server.wait_for_end(6).code == -signal.SIGKILL
        assert running_with("sleep 7911.5") == []
        (tmp_path / "go").touch()
        assert server.wait_for_end(5).code == 3
        assert node.leave() == 0


# --- the processes of many runs ------------------------------------------------------------------


@contextmanager
def left_by(*runs: int) -> Iterator[dict[int, subprocess.Popen[bytes]]]:
    """Have a process of each of these runs, by their marks."""
    processes = {
        run: subprocess.Popen(
            ["sleep", "7912.5"], env={**os.environ, **Mark(run, HERE, SERVER).variables()}
        )
        for run in runs
    }
    try:
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def test_one_search_finds_the_processes_of_all_runs_and_reads_each_environment_once(
    monkeypatch: pytest.MonkeyPatch, passes: list[str]
) -> None:
    reads: list[int] = []
    environ = psutil.Process.environ

    def counted(process: psutil.Process) -> Any:
        reads.append(process.pid)
        return environ(process)

    monkeypatch.setattr(psutil.Process, "environ", counted)
    with left_by(7, 50, 199) as processes:
        eventually(lambda: len(running_with("sleep 7912.5")) == 3)
        monkeypatch.setattr(tree, "YOUNG", 0.0)
        trees = Trees([Trace(Mark(run, HERE, SERVER)) for run in range(200)])
        trees.find()
        passes.clear()
        assert {run: list(trees.whose(one)) for run, one in found(trees, processes)} == {
            7: [7],
            50: [50],
            199: [199],
        }
        assert len(passes) == 1
        assert [reads.count(one.pid) for one in processes.values()] == [1, 1, 1]


def found(
    trees: Trees, processes: dict[int, subprocess.Popen[bytes]]
) -> list[tuple[int, psutil.Process]]:
    by_pid = {process.pid: run for run, process in processes.items()}
    return [(by_pid[one.pid], one) for one in trees.find()]


def test_a_process_that_several_records_describe_is_named_in_each() -> None:
    with left_by(7) as processes:
        pid = processes[7].pid
        marks = [Trace(Mark(7, HERE, SERVER))] * 2  # two farms that were at one address
        trees = Trees(
            [*marks, Trace(Mark(9, "", ""), pid, start_time(pid)), Trace(Mark(8, "", ""))]
        )
        eventually(lambda: [sorted(trees.whose(one)) for one in trees.find()] == [[0, 1, 2]])
