"""A server that is killed again and again under load loses no job and runs none twice at once."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import requests

from tests.acceptance.farm import get, running_node, running_server

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
