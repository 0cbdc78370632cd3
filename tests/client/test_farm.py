"""Scripts against a real farm: a server, a node, and commands that run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coalition import Connection, NewJob
from tests.acceptance.farm import eventually, running_node, running_server
from tests.scripted import free_port
from tests.test_layers import ROOT

# Written as one did for 4.0: its names, its arguments in its order, nothing that came after it.
SCRIPT_OF_4_0 = """
import sys
import coalition

conn = coalition.Connection("127.0.0.1", int(sys.argv[1]))
group = conn.newJob(0, "Film", "")
first = conn.newJob(group, "Frame", "echo frame", ".", "A=1", "WAITING", False, 127, 60, "LINUX",
                    "bob", "#%percent")
second = conn.newJob(parent=group, title="Join", command="echo join", dependencies=[first])
conn.setJobDependencies(second, [])
conn.setJobDependencies(second, [first])
print([job.id == first for job in conn.getJobDependencies(second)])
with conn:
    for job in conn.getJobChildren(group):
        job.affinity = ""
        job.title = job.title + "!"
print([(job.title, job.affinity, job.user) for job in conn.getJobChildren(group)])
print(conn.getJob(group).title, conn.getJob(group).total)
conn.setAffinities({"1": "LINUX"})
print(conn.getAffinities()["1"], len(conn.getAffinities()))
conn.editWorkers({"node": {"affinity": "LINUX", "active": True}})
print([(worker["name"], worker["affinity"]) for worker in conn.getWorkers()])
try:
    conn.getJob(first).title = "outside"
except coalition.CoalitionError as error:
    print(type(error).__name__)
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    folder = tmp_path_factory.mktemp("farm")
    store = f"sqlite:///{folder / 'server' / 'coalition.db'}"
    port = free_port()
    with running_server(folder / "server", store, port):
        farm = Connection("127.0.0.1", port)
        with running_node(folder / "node", farm.url, "node"):
            eventually(farm.getWorkers)
            yield farm


def test_a_script_for_4_0_runs_as_it_is(farm: Connection, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT_OF_4_0, "utf-8")
    port = farm.url.rpartition(":")[2]
    run = subprocess.run(
        [sys.executable, str(script), port],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "[True]",
        "[('Frame!', '', 'bob'), ('Join!', '', '')]",
        "Film 2",
        "LINUX 64",
        "[('node', 'LINUX')]",
        "CoalitionError",
    ]


def test_a_tree_runs_and_its_logs_are_followed(farm: Connection) -> None:
    film = farm.addJobs(
        NewJob(
            "Film",
            children=[
                NewJob(
                    "Frames",
                    key="frames",
                    children=[NewJob(f"Frame {n}", f"echo frame {n}") for n in (1, 2)],
                ),
                NewJob("Join", "echo join; exit 3", dependencies=["frames"]),
            ],
        )
    )
    frames, join = film.children
    assert "join\n" in "".join(farm.log(join, follow=True))
    assert [job.state for job in farm.wait(frames, timeout=60)] == ["FINISHED"]
    [ended] = farm.wait(film)
    assert (ended.state, ended.total_finished, ended.total_errors) == ("ERROR", 2, 1)


def test_a_job_is_changed_and_run_again(farm: Connection) -> None:
    job = farm.getJob(farm.newJob(title="a", command="echo one", paused=True))
    assert job.state == "PAUSED"
    job.update(command="echo two", environment={"A": "1"})
    assert (job.command, job.environment) == ("echo two", "A=1")
    assert "two\n" in "".join(job.start().log(follow=True))
    assert job.wait().state == "FINISHED"
    job.update(command="echo three")
    assert "three\n" in "".join(job.reset().log(follow=True))
    job.delete()


def test_lists_are_searched_and_read_page_by_page(farm: Connection) -> None:
    group = farm.addJobs(
        NewJob("Many", children=[NewJob(f"{n}", priority=n, user="a,b") for n in range(1, 12)])
    )
    ids = [int(id) for id in group.children]
    assert [job.id for job in farm.jobs(parent=group, page=4)] == ids
    assert [job.id for job in farm.getJob(group).children()] == ids
    everything = [job.id for job in farm.jobs(page=4)]
    assert {group, *ids} <= set(everything)
    assert [job.id for job in farm.jobs(sort="-id", page=4)] == everything[::-1]
    assert [job.id for job in farm.jobs(user="a,b", sort="-priority", page=4)] == ids[::-1]
    assert [job.id for job in farm.jobs(parent=group, priority_min=10)] == ids[9:]
    assert [worker["name"] for worker in farm.workers(page=1)] == ["node"]
    ran = farm.addJobs([NewJob(command="true"), NewJob(command="false")])
    assert [job.state for job in farm.wait(ran)] == ["FINISHED", "ERROR"]
    assert [event["job_id"] for event in farm.events(job=ran[0], page=1)] == ran[:1]
