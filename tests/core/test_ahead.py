"""Jobs handed ahead: reserved for a node, not started, and wanted back when the order changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coalition.core.farm import Farm
from coalition.core.model import Job, Run, Worker
from tests.core.builders import NOW, farm, group, submit, worker


def handed(f: Farm, w: Worker) -> Run:
    made = f.on_reserve(w, NOW)
    assert made is not None
    return made


def wanted_back(f: Farm) -> list[Job]:
    """What has to come back, after the look that follows every change."""
    f.look_ahead()
    return [run.job for run in f.ahead.values() if run.recalled or run.returning]


def test_a_job_that_was_handed_ahead_waits_and_no_other_worker_gets_it() -> None:
    f = farm()
    job = submit(f)
    busy, other = worker(f, "a"), worker(f, "b")
    run = handed(f, busy)

    assert (run.job, job.state, job.worker, busy.run) == (job, "WAITING", "", None)
    assert f.on_pick(other, NOW) is None
    assert f.on_reserve(other, NOW) is None
    f.check_invariants()


def test_jobs_are_handed_ahead_in_the_order_in_which_they_would_be_picked() -> None:
    f = farm()
    low, high, next_ = (submit(f, priority=priority) for priority in (1, 3, 2))
    w = worker(f)
    assert [handed(f, w).job for _ in range(3)] == [high, next_, low]
    assert f.on_reserve(w, NOW) is None


def test_a_job_is_handed_ahead_only_to_workers_that_offer_its_words() -> None:
    f = farm()
    job = submit(f, affinity="GPU")
    assert f.on_reserve(worker(f, "a"), NOW) is None
    assert handed(f, worker(f, "b", "GPU")).job is job


def test_an_exclusive_job_is_not_handed_ahead() -> None:
    f = farm()
    submit(f, exclusive=True)
    assert f.on_reserve(worker(f), NOW) is None


@pytest.mark.parametrize(
    "order", [Farm.on_pause_workers, Farm.on_drain_workers, Farm.on_stop_workers]
)
def test_a_worker_that_takes_no_jobs_is_handed_none_and_gives_back_what_it_has(
    order: Callable[[Farm, list[str], float], None],
) -> None:
    f = farm()
    first, _ = submit(f), submit(f)
    w = worker(f)
    handed(f, w)
    order(f, ["w"], NOW)
    assert wanted_back(f) == [first]
    assert f.on_reserve(w, NOW) is None


def test_a_run_that_begins_is_its_workers_run_and_its_job_works() -> None:
    f = farm()
    job = submit(f)
    w = worker(f)
    run = handed(f, w)
    assert f.on_begin(run, w, NOW + 5)

    assert (job.state, job.worker, run.start, w.run) == ("WORKING", "w", NOW + 5, run)
    assert f.ahead == {} and w.ahead == {}
    f.check_invariants()


def test_any_worker_of_the_node_may_begin_it() -> None:
    f = farm()
    job = submit(f)
    first, second = worker(f, "n-1"), worker(f, "n-2")
    run = handed(f, first)
    assert f.on_begin(run, second, NOW)
    assert (job.worker, first.run, second.run) == ("n-2", None, run)


def test_what_a_node_does_not_have_is_free_for_others() -> None:
    f = farm()
    job = submit(f)
    f.on_release(handed(f, worker(f, "a")))
    run = f.on_pick(worker(f, "b"), NOW)
    assert run is not None and run.job is job
    f.check_invariants()


@pytest.mark.parametrize("above", [False, True])
def test_a_job_that_is_paused_is_wanted_back_also_when_its_group_is(above: bool) -> None:
    f = farm()
    films = group(f)
    job = submit(f, films)
    w = worker(f)
    run = handed(f, w)
    f.on_pause([films.id if above else job.id], NOW)

    assert wanted_back(f) == [job]
    assert not f.on_begin(run, w, NOW)
    assert job.state == "WAITING"


def test_a_job_that_is_wanted_back_goes_to_nobody_until_its_node_has_let_go_of_it() -> None:
    f = farm()
    job = submit(f)
    other = worker(f, "other")
    run = handed(f, worker(f, "w"))
    f.recall_jobs([job.id])
    assert f.on_pick(other, NOW) is None
    f.on_release(run)
    again = f.on_pick(other, NOW)
    assert again is not None and again.job is job and again.id > run.id


def test_what_would_run_before_its_turn_is_wanted_back() -> None:
    f = farm()
    first, last = submit(f, priority=3), submit(f, priority=1)
    w = worker(f)
    handed(f, w), handed(f, w)
    assert wanted_back(f) == []
    submit(f, priority=2)
    assert wanted_back(f) == [last]
    assert not f.ahead[first.claim.id].recalled  # type: ignore[union-attr]


def test_a_job_of_lower_order_or_for_other_workers_changes_nothing() -> None:
    f = farm()
    submit(f)
    handed(f, worker(f))
    submit(f, priority=1)
    submit(f, priority=5000, affinity="GPU")
    assert wanted_back(f) == []


def test_a_dependency_that_is_added_calls_a_job_back() -> None:
    f = farm()
    job = submit(f)
    handed(f, worker(f))
    f.on_set_dependencies(job.id, [submit(f, priority=1).id])
    assert wanted_back(f) == [job]


def test_a_silent_worker_loses_what_it_was_handed() -> None:
    f = farm(timeout=60)
    job = submit(f)
    handed(f, worker(f, "silent"))
    f.on_tick(NOW + 61)
    run = f.on_pick(worker(f, "other", now=NOW + 61), NOW + 61)
    assert run is not None and run.job is job
