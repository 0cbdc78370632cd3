"""Programs that are killed again and again under load lose no job and run none twice at once."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pytest
import requests

from coalition.cli.programs import Program
from tests.acceptance.farm import (
    eventually,
    get,
    marked,
    processes,
    run_states,
    running_node,
    running_server,
    submit,
)

# Every job tells when a run begins and ends, and complains about a run of its own that goes on.
COMMAND = """
mkdir lock-$COALITION_JOB_ID || echo $COALITION_JOB_ID >> overlaps
echo $COALITION_JOB_ID >> starts
sleep {seconds}
echo $COALITION_JOB_ID >> ends
rmdir lock-$COALITION_JOB_ID
test {fails} = no || ! mkdir tried-$COALITION_JOB_ID
"""

SECONDS = (0, 0.1, 0, 0.3, 0, 0.1, 1.5)
"""What the jobs take: some end while the server is away, some outlast several servers."""


class Submitter(Thread):
    """Submits jobs one after the other, whether the server is there or not."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__()
        self.jobs = f"{url}/api/jobs"
        self.folder = folder
        self.enough = Event()
        self.acknowledged: dict[int, int] = {}  # job -> tries that it takes

    def run(self) -> None:
        for number in itertools.count():
            if self.enough.is_set():
                return
            self.submit(number)
            self.enough.wait(0.05)

    def submit(self, number: int) -> None:
        fails = number % 5 == 0
        command = COMMAND.format(
            seconds=SECONDS[number % len(SECONDS)], fails="once" if fails else "no"
        )
        job = {"title": str(number), "command": command, "dir": str(self.folder), "retry": 1}
        try:
            answer = requests.put(self.jobs, json=job, timeout=30)
        except requests.RequestException:
            return  # the job may be there, or not
        if answer.ok:
            self.acknowledged[answer.json()] = 2 if fails else 1


@contextmanager
def submitting(url: str, folder: Path) -> Iterator[Submitter]:
    folder.mkdir()
    submitter = Submitter(url, folder)
    submitter.start()
    try:
        yield submitter
    finally:
        submitter.enough.set()
        submitter.join()


def runs(folder: Path, name: str) -> Counter[int]:
    """How often each job has written to a file."""
    file = folder / name
    return Counter(map(int, file.read_text().split())) if file.exists() else Counter()


def unfinished(url: str) -> list[dict[str, Any]]:
    return [job for job in get(url, "jobs") if job["state"] in ("WAITING", "WORKING")]


@pytest.mark.parametrize("store_url, kills", [("sqlite", 20), ("mysql", 5)], indirect=["store_url"])
def test_a_server_that_is_killed_under_load_loses_no_job_and_runs_none_twice_at_once(
    store_url: str, kills: int, free_port: int, tmp_path: Path
) -> None:
    url, folder, server = f"http://127.0.0.1:{free_port}", tmp_path / "jobs", tmp_path / "server"
    moments = random.Random(kills)
    with (
        running_node(tmp_path / "left", url, "left", workers=2) as left,
        running_node(tmp_path / "right", url, "right", workers=3) as right,
        submitting(url, folder) as submitter,
    ):
        for _ in range(kills):
            with running_server(server, store_url, free_port) as program:
                time.sleep(moments.uniform(0.0, 1.0))
                program.process.kill()
        submitter.enough.set()
        with running_server(server, store_url, free_port):
            deadline = time.monotonic() + 60
            while unfinished(url):
                assert time.monotonic() < deadline
                time.sleep(0.2)
            left.end()
            right.end()
            states = {job["id"]: job["state"] for job in get(url, "jobs")}

    starts, ends = runs(folder, "starts"), runs(folder, "ends")
    wanted = submitter.acknowledged
    assert len(wanted) > 3 * kills
    assert {states[job] for job in wanted} == {"FINISHED"}
    assert {job: starts[job] for job in wanted} == {job: ends[job] for job in wanted} == wanted
    assert set(starts) == set(ends) == set(states)
    assert runs(folder, "overlaps") == {}


LASTING = (0, 0.2, 1.0, 2.5)
"""Seconds that jobs take of which some are killed."""

# The lock is that of the file, held by whatever of a run lives: what is killed leaves none behind.
WATCHED = """
exec 9> lock-$COALITION_JOB_ID
flock --nonblock 9 || echo $COALITION_JOB_ID >> overlaps
echo begin $COALITION_RUN
sleep {seconds}
echo end $COALITION_RUN
"""


class Victim:
    """A program that is started again when it was killed."""

    def __init__(self, stack: ExitStack, start: Callable[[], AbstractContextManager[Program]]):
        self._start = start
        self._life = stack.enter_context(ExitStack())
        self._program = self._life.enter_context(start())

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self._program.process.pid)

    def kill(self) -> None:
        self._program.process.kill()
        self._program.process.wait()

    def send(self, number: int) -> None:
        self._program.process.send_signal(number)

    def revive(self) -> None:
        if self._program.process.poll() is not None:
            self._life.close()
            self._program = self._life.enter_context(self._start())

    def end(self) -> int:
        return self._program.end()


def kill_below(node: Victim, depth: int, chance: random.Random) -> None:
    """Kill one of the keepers of a node (depth 1) or of the processes of its jobs (depth 2)."""
    try:
        found = [node.process]
        for _ in range(depth):
            found = [child for process in found for child in process.children()]
        if found:
            chance.choice(found).kill()
    except psutil.NoSuchProcess:
        pass  # it was gone already


@pytest.mark.skipif(shutil.which("flock") is None, reason="there is no flock (util-linux)")
def test_random_kills_of_all_programs_leave_each_job_one_end_and_nothing_that_runs(
    free_port: int, tmp_path: Path
) -> None:
    url, store = f"http://127.0.0.1:{free_port}", f"sqlite:///{tmp_path / 'coalition.db'}"
    chance = random.Random(3)
    with ExitStack() as stack:
        server = Victim(stack, lambda: running_server(tmp_path / "server", store, free_port))
        left = Victim(stack, lambda: running_node(tmp_path / "left", url, "left", 2))
        right = Victim(stack, lambda: running_node(tmp_path / "right", url, "right", 3))
        jobs = [
            submit(
                url,
                WATCHED.format(seconds=chance.choice(LASTING)),
                dir=str(tmp_path),
                retry=50,
                environment=marked(tmp_path),
            )
            for _ in range(60)
        ]
        kills = [server.kill, left.kill, right.kill]
        kills += [partial(kill_below, node, 1, chance) for node in (left, right)]
        kills += [partial(kill_below, node, 2, chance) for node in (left, right)]
        for number in range(14):
            time.sleep(chance.uniform(0.0, 0.6))
            for kill in chance.sample(kills, 1 + number % 2):
                kill()
            for victim in (server, left, right):
                victim.revive()
        eventually(lambda: not unfinished(url))

        assert {job["state"] for job in get(url, "jobs")} == {"FINISHED"}
        assert [run_states(url, job).count("FINISHED") for job in jobs] == [1] * len(jobs)
        assert sum(worker["finished"] for worker in get(url, "workers")) == len(jobs)
        assert [left.end(), right.end()] == [0, 0]
        runs_of = {job: get(url, f"events?job={job}") for job in jobs}

    for job, its_runs in runs_of.items():
        lines = (tmp_path / "server" / "logs" / f"{job}.log").read_text().splitlines()
        for run in its_runs:
            assert lines.count(f"begin {run['id']}") <= 1
            wanted = 1 if run["state"] == "FINISHED" else lines.count(f"end {run['id']}")
            assert lines.count(f"end {run['id']}") == wanted <= 1
    assert runs(tmp_path, "overlaps") == {}
    assert processes(tmp_path) == []


LINES = b"".join(b"line %06d\n" % number for number in range(60_000))
"""Output of a job, of which a node keeps the most in files of its outbox."""

# Its second try has nothing to do.
WRITES = """
mkdir tried || exit 0
echo up
while [ ! -e go ]; do sleep 0.05; done
cat lines
sleep 7601.5
"""

CUT_OFF = b"* The worker was cut off while this ran.\n* What was left of it was ended.\n"


def kept(folder: Path) -> int:
    """Bytes in the files of an outbox, however deep."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("away", ["stopped", "killed"])
def test_a_killed_node_delivers_what_its_job_wrote_while_the_server_was_away(
    free_port: int, tmp_path: Path, away: str
) -> None:
    url, store = f"http://127.0.0.1:{free_port}", f"sqlite:///{tmp_path / 'coalition.db'}"
    (tmp_path / "lines").write_bytes(LINES)
    log = tmp_path / "server" / "logs" / "1.log"
    with ExitStack() as stack:
        server = Victim(stack, lambda: running_server(tmp_path / "server", store, free_port))
        node = Victim(stack, lambda: running_node(tmp_path / "node", url, "node"))
        job = submit(url, WRITES, dir=str(tmp_path), environment=marked(tmp_path))
        eventually(lambda: log.exists() and b"up\n" in log.read_bytes())
        server.send(signal.SIGSTOP) if away == "stopped" else server.kill()
        (tmp_path / "go").touch()
        eventually(lambda: kept(tmp_path / "node" / "outbox-node") >= len(LINES))
        node.kill()
        eventually(lambda: not processes(tmp_path))
        node.revive()
        server.send(signal.SIGCONT) if away == "stopped" else server.revive()
        eventually(lambda: not unfinished(url))

        assert run_states(url, job) == ["STOPPED", "FINISHED"]
        assert node.end() == 0
    head, first, second = log.read_bytes().partition(b"up\n")
    assert head.count(b"\n") == 1 and first == b"up\n"
    assert second.startswith(LINES + CUT_OFF + b"* RUN 1 STOPPED at ")
    assert second.count(b"line 000000\n") == second.count(CUT_OFF) == 1
