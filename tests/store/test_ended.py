"""Which runs may lack the last line of their logs, or have another's above them, after a crash."""

from __future__ import annotations

from typing import Any

import pytest

from coalition.core.model import Run
from coalition.store.engine import Store
from coalition.store.loading import ended_runs, fresh_runs
from coalition.store.writing import snapshot, write
from tests.store.builders import NOW, changes, make_job, make_run, make_worker, save


def ended(store: Store) -> list[Run]:
    with store.reading() as connection:
        return ended_runs(connection)


def numbers(store: Store) -> list[int]:
    return [run.id for run in ended(store)]


def fresh(store: Store) -> list[tuple[int, int]]:
    with store.reading() as connection:
        return fresh_runs(connection)


def runs_of(store: Store, *ids: int, **values: Any) -> list[Run]:
    """Runs of these numbers, each of a job of the same number, that have begun."""
    jobs = [make_job(id, start_time=NOW, **values) for id in ids]
    runs = [make_run(job.id, job) for job in jobs]
    save(store, new_jobs=jobs, new_runs=runs)
    return runs


def test_in_a_new_database_there_are_none(store: Store) -> None:
    assert numbers(store) == []


def test_a_run_is_given_as_it_ended_and_with_the_command_of_its_job(store: Store) -> None:
    (run,) = runs_of(store, 7, command="echo 'ü'\n:")
    run.state, run.duration, run.code = "ERROR", 1.25, -9
    worker = make_worker("sun-1", node="sun")
    save(store, finished_runs=[run], workers=[worker])

    (found,) = ended(store)
    assert (found.id, found.job_id, found.job.command) == (7, 7, "echo 'ü'\n:")
    assert (found.worker.name, found.worker.node) == ("sun-1", "sun")
    assert (found.start, found.state, found.duration, found.code) == (NOW, "ERROR", 1.25, -9)


def test_a_run_is_given_whose_worker_was_deleted(store: Store) -> None:
    one, other = runs_of(store, 1, 2)
    one.worker.node = "sun"
    save(store, finished_runs=[one, other], endings=[one])

    assert [run.worker.node for run in ended(store)] == ["sun", ""]


def test_they_are_those_of_the_last_batch_that_ended_any(store: Store) -> None:
    runs = runs_of(store, 1, 2, 3)
    save(store, finished_runs=runs[:1])
    save(store, finished_runs=runs[:0:-1])
    assert numbers(store) == [2, 3]
    save(store, workers=[make_worker("sun-2")])
    assert numbers(store) == [2, 3]


def test_and_those_whose_line_is_still_owed(store: Store) -> None:
    runs = runs_of(store, 1, 2)
    write(store, snapshot(changes(finished_runs=runs[1:]), runs[:1]))
    assert numbers(store) == [1, 2]


def test_not_those_whose_job_was_deleted_or_reset(store: Store) -> None:
    runs = runs_of(store, 1, 2, 3)
    save(store, finished_runs=runs)
    runs[1].job.start_time = 0.0
    save(store, deleted_jobs=[1], jobs=[runs[1].job])
    assert numbers(store) == [3]


def test_with_the_log_of_a_job_goes_what_ended_before_it_was_cleared(store: Store) -> None:
    before, owed, after, other = runs_of(store, 1, 2, 3, 4)
    for run in (owed, after):
        run.job_id = before.job_id
    batch = changes(
        finished_runs=[before, after, other], begun_runs=[after], cleared_logs={before.job_id: None}
    )
    write(store, snapshot(batch, [owed]))
    assert numbers(store) == [3, 4]
    save(store, cleared_logs={4: None})
    assert numbers(store) == []


@pytest.mark.parametrize("first", [1, 10**18])
def test_a_batch_with_more_ends_than_are_listed_is_written(store: Store, first: int) -> None:
    (run,) = runs_of(store, first)
    batch = snapshot(changes(finished_runs=dict.fromkeys(range(first, first + 50_000), run)))
    batch.ended_runs = batch.ended_runs[:1]  # the others are there for their numbers only
    write(store, batch)
    assert numbers(store) == [first]


def test_runs_that_began_after_the_logs_of_their_jobs_were_cleared_are_given(store: Store) -> None:
    jobs = [make_job(id) for id in (1, 2, 3, 4)]
    cleared, waiting, other, ahead = (make_run(10 + job.id, job) for job in jobs)
    ahead.state = "RESERVED"
    save(store, new_jobs=jobs, new_runs=[ahead])
    assert fresh(store) == []

    batch = changes(new_runs=[cleared, waiting, other], cleared_logs={1: None})
    write(store, snapshot(batch, cleared={2: "", 4: ""}))
    save(store, finished_runs=[cleared])
    assert fresh(store) == [(11, 1), (12, 2)]
    ahead.state = "WORKING"
    write(store, snapshot(changes(begun_runs=[ahead]), cleared={4: ""}))
    assert fresh(store) == [(14, 4)]
