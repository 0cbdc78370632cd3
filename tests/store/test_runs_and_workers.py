"""What is kept of runs and workers."""

from __future__ import annotations

from typing import Any

import pytest

from coalition.core.affinity import parse_lines
from coalition.store import reading
from coalition.store.engine import Store
from tests.store.builders import (
    NOW,
    events,
    load_all,
    make_job,
    make_run,
    make_worker,
    save,
    stored_runs,
)


def end(run: Any, state: str, code: int | None, duration: float) -> None:
    run.state, run.code, run.duration = state, code, duration


def affinity(store: Store, name: str) -> str | None:
    with store.reading() as connection:
        found = {worker["name"]: worker["affinity"] for worker in reading.workers(connection)}
    return found.get(name)


def test_a_run_is_kept_when_it_begins_and_when_it_ends(store: Store) -> None:
    run = make_run(1, make_job(1, title="frame"))
    save(store, new_runs=[run])
    assert [(event["state"], event["code"]) for event in events(store)] == [("WORKING", None)]
    end(run, "ERROR", 3, 1.5)
    save(store, finished_runs=[run])
    (event,) = events(store)
    assert (event["state"], event["code"], event["duration"]) == ("ERROR", 3, 1.5)
    assert event["job_title"] == "frame"


def test_a_run_that_began_and_ended_in_one_batch_is_kept_once(store: Store) -> None:
    run = make_run(1, make_job(1))
    end(run, "FINISHED", 0, 0.25)
    save(store, new_runs=[run], finished_runs=[run])
    (event,) = events(store)
    assert (event["state"], event["code"], event["duration"]) == ("FINISHED", 0, 0.25)


def test_a_run_that_was_handed_ahead_is_kept_with_the_worker_that_began_it(store: Store) -> None:
    job = make_job(1)
    run, other = (make_run(id, job, state="RESERVED") for id in (1, 2))
    save(store, new_runs=[run, other])
    run.worker, run.start, run.state = make_worker("sun-2"), NOW + 5, "WORKING"
    save(store, begun_runs=[run])
    (event,) = events(store)
    assert (event["worker"], event["start"], event["state"]) == ("sun-2", NOW + 5, "WORKING")
    end(run, "ERROR", 3, 1.5)
    save(store, finished_runs=[run])
    (event,) = events(store, worker=("sun-2",))
    assert (event["state"], event["code"], event["duration"]) == ("ERROR", 3, 1.5)
    assert stored_runs(store) == [(1, "sun-2", "ERROR"), (2, "sun-1", "RESERVED")]


@pytest.mark.parametrize("known", [True, False])
def test_a_run_that_began_and_ended_at_once_is_kept_whole(store: Store, known: bool) -> None:
    run = make_run(1, make_job(1), state="RESERVED")
    if known:
        save(store, new_runs=[run])
    run.worker, run.start = make_worker("sun-2"), NOW + 5
    end(run, "FINISHED", 0, 0.5)
    new = [] if known else [run]
    save(store, new_runs=new, begun_runs=[run], finished_runs=[run])
    (event,) = events(store, job_id=(1,))
    assert (event["worker"], event["start"], event["state"]) == ("sun-2", NOW + 5, "FINISHED")
    assert (event["code"], event["duration"]) == (0, 0.5)


@pytest.mark.parametrize("known", [True, False])
def test_a_run_that_never_began_leaves_only_its_number(store: Store, known: bool) -> None:
    run, other = (make_run(id, make_job(1), state="RESERVED") for id in (7, 6))
    save(store, new_runs=[run, other] if known else [other])
    save(store, new_runs=[] if known else [run], dropped_runs=[7])
    assert stored_runs(store) == [(6, "sun-1", "RESERVED")]
    assert load_all(store).next_run == 8


def test_runs_stay_when_their_job_is_deleted(store: Store) -> None:
    job = make_job(1)
    save(store, new_jobs=[job], new_runs=[make_run(1, job)])
    save(store, deleted_jobs=[1])
    assert [event["id"] for event in events(store, job_id=(1,))] == [1]


def test_numbers_of_runs_never_come_back(store: Store) -> None:
    save(store, new_runs=[make_run(41, make_job(1))])
    assert load_all(store).next_run == 42


@pytest.mark.parametrize("text", ["", "A,B", "A,B\nC\n\nD", "it's\n%s\n日"])
def test_a_workers_lines_come_back_in_their_order(store: Store, text: str) -> None:
    worker = make_worker("sun-1", affinity="OLD\nLINES")
    save(store, workers=[worker])
    worker.affinity = text
    save(store, workers=[worker])
    assert affinity(store, "sun-1") == text


def test_a_deleted_worker_that_comes_back_has_its_new_lines_only(store: Store) -> None:
    worker = make_worker("sun-1", affinity="A\nB")
    save(store, workers=[worker])
    save(store, deleted_workers=["sun-1"])
    assert affinity(store, "sun-1") is None
    save(store, workers=[worker])
    assert affinity(store, "sun-1") == "A\nB"
    save(store, deleted_workers=["sun-1"], workers=[worker])
    assert affinity(store, "sun-1") == "A\nB"


def test_names_of_workers_differ_in_case_and_spaces(store: Store) -> None:
    names = ["sun", "Sun", "sun ", "s'un\\", "日"]
    save(store, workers=[make_worker(name, affinity=name) for name in names])
    assert [affinity(store, name) for name in names] == names


def test_the_loaded_workers_are_the_saved_ones(store: Store) -> None:
    worker = make_worker(
        "sun-1", node="sun", ip="::1", state="WORKING", finished=3, error=1, last_job=7,
        active=False, affinity="A,B\nC", start_time=1.7e9 + 0.123456, host="sun.lan",
        os="Linux 6.1", cores=64, memory=256_000, version="5.0.0", draining=True,
    )  # fmt: skip
    save(store, workers=[worker])
    (loaded,) = load_all(store).workers
    same = ("name", "node", "ip", "state", "finished", "error", "last_job", "affinity", "host")
    for name in (*same, "os", "cores", "memory", "version", "draining"):
        assert getattr(loaded, name) == getattr(worker, name)
    assert (loaded.active, loaded.start_time) == (False, worker.start_time)
    assert loaded.lines == parse_lines("A,B\nC", leased=True)
