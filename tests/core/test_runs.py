"""A run from its pick to its end: tries, time limits, silent workers, late words."""

from __future__ import annotations

import pytest

from coalition.core.farm import Farm
from coalition.core.model import Job, Run, Worker
from coalition.errors import Refused
from tests.core.builders import NOW, farm, order, run, submit, worker


def begun(f: Farm, w: Worker, now: float = NOW) -> Run:
    made = f.on_pick(w, now)
    assert made is not None
    return made


@pytest.mark.parametrize(("retry", "runs"), [(0, 1), (1, 2), (2, 3), (10, 11)])
def test_retry_counts_further_runs(retry: int, runs: int) -> None:
    f = farm()
    job = submit(f, retry=retry)
    w = worker(f)
    done = 0
    while run(f, w, code=1) is not None:
        done += 1

    assert (done, job.run_done, job.state, w.error) == (runs, runs, "ERROR", runs)


def test_a_job_that_succeeds_at_its_second_try_is_finished() -> None:
    f = farm()
    job = submit(f, retry=2)
    w = worker(f)
    run(f, w, code=3)
    assert (job.state, job.progress) == ("WAITING", 0.0)
    run(f, w, now=NOW + 10, took=4)

    assert (job.state, job.run_done, job.duration, job.progress) == ("FINISHED", 2, 4, 1.0)
    assert (w.finished, w.error, w.state, w.last_job) == (1, 1, "WAITING", job.id)
    assert order(f, w) == []


def test_a_picked_job_is_working_for_its_worker() -> None:
    f = farm()
    job = submit(f)
    w = worker(f)
    made = begun(f, w, NOW + 5)

    assert (job.state, job.worker, job.start_time, job.progress) == ("WORKING", "w", NOW + 5, 0)
    assert (w.state, w.run, made.state, made.code) == ("WORKING", made, "WORKING", None)
    with pytest.raises(Refused):
        f.on_pick(w, NOW)


def test_an_end_that_is_reported_twice_or_by_another_worker_changes_nothing() -> None:
    f = farm()
    job = submit(f, retry=5)
    w, other = worker(f), worker(f, "other")
    made = begun(f, w)
    assert not f.on_end(other, made.id, 1, NOW)
    assert job.state == "WORKING"
    assert f.on_end(w, made.id, 1, NOW + 1)
    assert not f.on_end(w, made.id, 1, NOW + 2)

    assert (job.state, job.run_done, w.error) == ("WAITING", 1, 1)


def test_the_end_of_an_earlier_run_does_not_end_the_present_one() -> None:
    f = farm(timeout=60)
    job = submit(f)
    old, new = worker(f, "old"), worker(f, "new", now=NOW + 100)
    first = begun(f, old)
    f.on_tick(NOW + 100)
    second = begun(f, new, NOW + 100)
    assert not f.on_end(old, first.id, 0, NOW + 101)
    assert not f.on_seen(old, first.id)

    assert (job.state, job.run, job.worker) == ("WORKING", second, "new")
    assert f.on_end(new, second.id, 0, NOW + 102)


def test_a_silent_workers_job_waits_again_and_the_try_does_not_count() -> None:
    f = farm(timeout=60)
    job = submit(f)
    w = worker(f)
    made = begun(f, w)
    f.on_tick(NOW + 60)
    assert job.state == "WORKING"
    f.on_tick(NOW + 60.1)

    assert (job.state, job.run_done, w.state, w.error) == ("WAITING", 0, "TIMEOUT", 1)
    assert (made.state, f.runs) == ("LOST", {})
    f.on_tick(NOW + 200)
    assert w.error == 1
    f.check_invariants()


def test_a_worker_that_speaks_is_not_lost_and_a_lost_one_comes_back() -> None:
    f = farm(timeout=60)
    job = submit(f)
    w = worker(f)
    begun(f, w)
    for now in (NOW + 50, NOW + 100):
        f.on_contact("w", now)
        f.on_tick(now + 50)
    assert (job.state, w.state) == ("WORKING", "WORKING")
    f.on_tick(NOW + 161)
    f.on_contact("w", NOW + 162)

    assert w.state == "WAITING"
    assert run(f, w) is job


def test_a_job_over_its_timeout_ends_with_error_and_its_worker_is_free() -> None:
    f = farm()
    job = submit(f, timeout=10)
    w = worker(f)
    made = begun(f, w)
    f.on_tick(NOW + 9.9)
    assert job.state == "WORKING"
    f.on_tick(NOW + 10)

    assert (job.state, job.run_done, job.duration) == ("ERROR", 1, 10)
    assert (w.state, w.run, f.revoked) == ("WAITING", None, {made.id: w})
    assert (made.state, made.code) == ("ERROR", None)


def test_a_job_over_its_timeout_is_tried_again_if_a_try_is_left() -> None:
    f = farm()
    job = submit(f, timeout=10, retry=1)
    w = worker(f)
    begun(f, w)
    f.on_tick(NOW + 10)
    assert (job.state, job.run_done) == ("WAITING", 1)
    begun(f, w, NOW + 10)
    f.on_contact("w", NOW + 20)
    f.on_tick(NOW + 20)

    assert (job.state, job.run_done) == ("ERROR", 2)


def test_no_timeout_means_none() -> None:
    f = farm(timeout=10**9)
    job = submit(f)
    begun(f, worker(f))
    f.on_tick(NOW + 10**8)

    assert job.state == "WORKING"


@pytest.mark.parametrize(("timeout", "state"), [(5, "ERROR"), (0, "WORKING"), (100, "WORKING")])
def test_a_timeout_that_is_edited_counts_for_the_run_that_goes_on(timeout: int, state: str) -> None:
    f = farm()
    job = submit(f, timeout=20)
    begun(f, worker(f))
    f.on_edit({job.id: {"timeout": timeout}}, NOW)
    f.on_tick(NOW + 30)

    assert job.state == state


def test_a_node_that_gives_a_run_back_gets_another_try_that_does_not_count() -> None:
    f = farm()
    job = submit(f)
    w = worker(f)
    made = begun(f, w)
    assert f.on_give_back(w, made.id, NOW)
    assert not f.on_give_back(w, made.id, NOW)

    assert (job.state, job.run_done, made.state) == ("WAITING", 0, "STOPPED")
    assert run(f, w) is job


def test_a_start_that_never_arrived_is_sent_again() -> None:
    f = farm()
    job = submit(f)
    w = worker(f)
    made = begun(f, w)

    assert f.on_idle(w, NOW) is made
    assert (job.state, job.run) == ("WORKING", made)


def test_a_run_that_its_node_no_longer_knows_is_lost() -> None:
    f = farm()
    job = submit(f)
    w = worker(f)
    made = begun(f, w)
    assert f.on_seen(w, made.id)

    assert f.on_idle(w, NOW + 1) is None
    assert (job.state, job.run_done, made.state) == ("WAITING", 0, "LOST")


def test_progress_of_a_run_that_is_over_is_not_taken() -> None:
    f = farm()
    job = submit(f)
    w = worker(f)
    made = begun(f, w)
    f.on_progress(made, 0.5, 0.25)
    assert (job.progress, job.local_progress) == (0.5, 0.25)
    f.on_end(w, made.id, 0, NOW)
    f.on_progress(made, 0.75, 0.75)

    assert (job.progress, job.local_progress) == (1.0, 0.25)


def stop(f: Farm, job: Job) -> None:
    f.on_stop_workers(["w"], NOW)


def delete(f: Farm, job: Job) -> None:
    f.on_delete_workers(["w"], NOW)


@pytest.mark.parametrize("order", [stop, delete])
def test_a_worker_that_is_stopped_or_deleted_gives_its_job_back(order: object) -> None:
    f = farm()
    job = submit(f)
    w = worker(f)
    made = begun(f, w)
    order(f, job)  # type: ignore[operator]

    assert (job.state, job.run_done, made.state) == ("WAITING", 0, "STOPPED")
    assert f.revoked == {made.id: w}
    assert run(f, worker(f, "other")) is None, "its process may not be dead"
    f.on_rest(worker(f))
    assert run(f, worker(f, "other")) is job


def test_what_a_deleted_worker_had_is_free_once_it_has_been_silent_for_too_long() -> None:
    f = farm()
    job = submit(f)
    begun(f, worker(f))
    f.on_delete_workers(["w"], NOW)
    other = worker(f, "other")
    f.on_tick(NOW + 59)
    assert f.on_pick(other, NOW) is None
    f.on_tick(NOW + 61)

    taken = f.on_pick(other, NOW)
    assert taken is not None and taken.job is job
    assert f.deleted == {}


def test_a_worker_of_another_node_does_not_free_what_a_deleted_one_of_its_name_had() -> None:
    f = farm()
    submit(f)
    begun(f, f.on_contact("w", NOW, node="here"))
    f.on_delete_workers(["w"], NOW)
    f.on_rest(f.on_contact("w", NOW, node="there"))
    assert f.on_pick(worker(f, "other"), NOW) is None
