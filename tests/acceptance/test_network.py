"""Networks that are cut and mended: what runs on, what runs again, and what never runs twice."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from coalition import wire
from tests.acceptance.farm import (
    eventually,
    get,
    marked,
    processes,
    run_states,
    running_node,
    running_server,
    state,
    submit,
    worker_states,
)
from tests.acceptance.network import Network, network

TIMEOUT = 3.0
"""Seconds of silence after which this server takes a worker for lost."""

SHORT = 0.5
"""Seconds of a cut after which a worker is heard again well within TIMEOUT."""

# Every run of a job has a file, into which it writes ten times a second when it is alive.
COMMAND = """
trap '{trap}' TERM
for i in $(seq {tenths}); do
  date +%s.%N >> '{folder}'/$COALITION_JOB_ID-$COALITION_RUN
  sleep 0.1
done
touch '{folder}'/ended-$COALITION_RUN
"""

Cut = Callable[[Network, str], None]


@dataclass
class Farm:
    """A server and the nodes left and right, each on a host of its own."""

    network: Network
    url: str
    folder: Path
    stack: ExitStack

    def start_node(self, name: str, url: str, more: str = "") -> None:
        with self.network.inside(name):
            node = running_node(self.folder / name, url, name, workers=3, more=more)
            self.stack.enter_context(node)

    def start_nodes(self, more: str = "") -> None:
        for name in ("left", "right"):
            self.start_node(name, self.url, more)
        eventually(lambda: set(worker_states(self.url).values()) == {"WAITING"})

    def submit(self, seconds: float, *, stubborn: bool = False, exclusive: bool = False) -> int:
        trap = ":" if stubborn else "exit 1"
        command = COMMAND.format(trap=trap, tenths=round(seconds * 10), folder=self.folder)
        return submit(self.url, command, exclusive=exclusive, environment=marked(self.folder))

    def node_of(self, job: int) -> str:
        """Return the host on which a job runs, when that writes."""
        eventually(lambda: list(self.folder.glob(f"{job}-*")))
        return str(get(self.url, f"jobs/{job}")["worker"]).partition("-")[0]

    def lives(self, job: int) -> list[tuple[float, float]]:
        """Return when each of the runs of a job wrote first and last, the oldest run first."""
        files = sorted(self.folder.glob(f"{job}-*"), key=lambda path: int(path.name.split("-")[1]))
        stamps = [list(map(float, path.read_text().split())) for path in files]
        return [(run[0], run[-1]) for run in stamps if run]


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    with network("server", "left", "right") as hosts, ExitStack() as stack:
        stack.enter_context(hosts.inside("server"))
        store, more = f"sqlite:///{tmp_path / 'coalition.db'}", f"timeout={TIMEOUT}\n"
        stack.enter_context(running_server(tmp_path / "server", store, wire.PORT, more))
        url = f"http://{hosts.address('server')}:{wire.PORT}"
        yield Farm(hosts, url, tmp_path, stack)


def both(hosts: Network, node: str) -> None:
    hosts.cut(node)


def no_reports(hosts: Network, node: str) -> None:
    hosts.silence(node, "server")


def no_answers(hosts: Network, node: str) -> None:
    hosts.silence("server", node)


CUTS = [both, no_reports, no_answers]


def test_a_node_finds_its_server_where_255_255_255_255_is_unreachable(farm: Farm) -> None:
    farm.start_node("left", "")
    job = farm.submit(0.1)
    eventually(lambda: state(farm.url, job) == "FINISHED")


@pytest.mark.parametrize("cut", CUTS)
def test_a_job_goes_on_across_a_cut_shorter_than_the_timeout(farm: Farm, cut: Cut) -> None:
    farm.start_nodes()
    job = farm.submit(2.0)
    node = farm.node_of(job)
    cut(farm.network, node)
    time.sleep(SHORT)
    farm.network.mend(node, "server")
    eventually(lambda: state(farm.url, job) == "FINISHED")

    assert run_states(farm.url, job) == ["FINISHED"]
    assert len(farm.lives(job)) == 1


def test_a_job_behind_a_longer_cut_runs_again_and_its_first_run_is_stopped_and_counts_nothing(
    farm: Farm,
) -> None:
    farm.start_nodes()
    job = farm.submit(10.0)
    node = farm.node_of(job)
    farm.network.cut(node)
    eventually(lambda: len(farm.lives(job)) == 2)
    farm.network.mend(node, "server")
    eventually(lambda: state(farm.url, job) == "FINISHED")

    assert run_states(farm.url, job) == ["LOST", "FINISHED"]
    (_, last), (begin, _) = farm.lives(job)
    assert last > begin  # nobody has ended the first one while its node was away
    assert not (farm.folder / "ended-1").exists()
    assert processes(farm.folder) == []


def test_an_end_that_comes_after_its_job_was_given_to_another_node_changes_nothing(
    farm: Farm,
) -> None:
    farm.start_nodes()
    job = farm.submit(5.0)
    node = farm.node_of(job)
    farm.network.cut(node)
    eventually(lambda: len(farm.lives(job)) == 2)
    eventually((farm.folder / "ended-1").exists)
    farm.network.mend(node, "server")
    eventually(lambda: worker_states(farm.url)[f"{node}-1"] != "TIMEOUT")
    eventually(lambda: state(farm.url, job) == "FINISHED")

    assert run_states(farm.url, job) == ["LOST", "FINISHED"]


@pytest.mark.parametrize("by_node, cut", [(False, both), (False, no_reports), (True, no_answers)])
def test_an_exclusive_job_is_gone_before_another_node_starts_it(
    farm: Farm, by_node: bool, cut: Cut
) -> None:
    farm.start_nodes("exclusive=1\n" if by_node else "")
    job = farm.submit(4.0, stubborn=True, exclusive=not by_node)
    node = farm.node_of(job)
    cut(farm.network, node)
    eventually(lambda: state(farm.url, job) == "FINISHED")
    farm.network.mend(node, "server")

    first, second = farm.lives(job)
    assert first[1] < second[0]
    assert run_states(farm.url, job) == ["LOST", "FINISHED"]


def test_random_cuts_give_each_job_one_end_and_two_lives_at_once_only_behind_a_long_cut(
    farm: Farm,
) -> None:
    chance = random.Random(4)
    farm.start_nodes()
    jobs = {farm.submit(0.3 * n, exclusive=n % 2 == 0): n % 2 == 0 for n in range(1, 17)}
    long_cuts: list[float] = []
    for seconds in (SHORT, 4.5, SHORT, 4.5):
        node = chance.choice(["left", "right"])
        if seconds > TIMEOUT:
            long_cuts.append(time.time())
        chance.choice(CUTS)(farm.network, node)
        time.sleep(seconds)
        farm.network.mend(node, "server")
        time.sleep(chance.uniform(0.2, 0.8))
    eventually(lambda: {state(farm.url, job) for job in jobs} == {"FINISHED"})

    for job, exclusive in jobs.items():
        assert sorted(run_states(farm.url, job))[:2] in (["FINISHED"], ["FINISHED", "LOST"])
        lives = farm.lives(job)
        for (_, last), (begin, _) in itertools.pairwise(lives):
            assert last < begin or (not exclusive and long_cuts[0] < begin)
