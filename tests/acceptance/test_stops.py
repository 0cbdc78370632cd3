"""Programs that stand still, and workers that are asked to rest or to leave."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from coalition.cli.programs import control
from tests.acceptance.farm import (
    eventually,
    get,
    run_states,
    running_node,
    running_server,
    state,
    submit,
    worker_states,
)

SHORT = "timeout=2\n"
"""A server that soon takes a silent worker for lost."""


def store(folder: Path) -> str:
    return f"sqlite:///{folder / 'coalition.db'}"


def test_a_server_that_stood_still_for_longer_than_the_timeout_calls_no_worker_lost(
    free_port: int, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port}"
    with (
        running_server(tmp_path / "server", store(tmp_path), free_port, SHORT) as server,
        running_node(tmp_path / "node", url, "node", workers=2),
    ):
        job = submit(url, "sleep 5")
        eventually(lambda: state(url, job) == "WORKING")
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(3.0)
        server.process.send_signal(signal.SIGCONT)
        seen = set(worker_states(url).values())
        while state(url, job) == "WORKING":
            seen |= set(worker_states(url).values())

        assert state(url, job) == "FINISHED"
        assert run_states(url, job) == ["FINISHED"]
        assert seen <= {"WAITING", "WORKING"}
        assert [worker["error"] for worker in get(url, "workers")] == [0, 0]


def test_an_exclusive_job_ends_in_time_when_its_worker_py_stands_still(
    free_port: int, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port}"
    stamps = tmp_path / "stamps"
    with (
        running_server(tmp_path / "server", store(tmp_path), free_port, "timeout=3\n"),
        running_node(tmp_path / "first", url, "first") as first,
    ):
        loop = "for i in $(seq 40); do date +%s.%N; sleep 0.1; done"
        job = submit(url, f"{loop} >> {stamps}-$COALITION_WORKER", exclusive=True)
        eventually(lambda: Path(f"{stamps}-first").exists())
        with running_node(tmp_path / "second", url, "second"):
            first.process.send_signal(signal.SIGSTOP)
            eventually(lambda: state(url, job) == "FINISHED")
            first.process.send_signal(signal.SIGCONT)

        assert run_states(url, job) == ["LOST", "FINISHED"]
        before, after = (
            Path(f"{stamps}-{name}").read_text().split() for name in ("first", "second")
        )
        assert float(before[-1]) < float(after[0])


def test_a_drained_node_finishes_its_job_and_leaves_and_is_not_a_lost_worker(
    free_port: int, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port}"
    with (
        running_server(tmp_path / "server", store(tmp_path), free_port, SHORT),
        running_node(tmp_path / "node", url, "node") as node,
    ):
        job, next_job = submit(url, "sleep 2"), submit(url, "true")
        eventually(lambda: state(url, job) == "WORKING")
        control(url, "workers", "drain", "no*")

        assert node.process.wait(30) == 0
        assert (state(url, job), run_states(url, job)) == ("FINISHED", ["FINISHED"])
        assert (state(url, next_job), run_states(url, next_job)) == ("WAITING", [])
        assert worker_states(url) == {"node": "TERMINATED"}
        time.sleep(3.5)  # longer than the timeout
        assert worker_states(url) == {"node": "TERMINATED"}


def test_a_paused_node_finishes_its_job_and_takes_the_next_one_when_it_may_go_on(
    free_port: int, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port}"
    with (
        running_server(tmp_path / "server", store(tmp_path), free_port),
        running_node(tmp_path / "node", url, "node") as node,
    ):
        job = submit(url, "sleep 1")
        eventually(lambda: state(url, job) == "WORKING")
        node.process.send_signal(signal.SIGUSR1)
        next_job = submit(url, "true")
        eventually(lambda: state(url, job) == "FINISHED")
        time.sleep(1.0)  # in which it would take the next one
        assert (state(url, next_job), run_states(url, next_job)) == ("WAITING", [])

        node.process.send_signal(signal.SIGUSR2)
        eventually(lambda: state(url, next_job) == "FINISHED")
