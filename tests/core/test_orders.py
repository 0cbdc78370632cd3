"""Reset, reset errors, pause, start and delete."""

from __future__ import annotations

import pytest

from coalition.core.farm import Farm
from coalition.core.model import Job
from coalition.errors import UnknownJob
from tests.core.builders import NOW, farm, group, order, run, submit, worker
from tests.core.test_machine import snapshot


def tree(f: Farm) -> tuple[Job, Job, Job, Job]:
    """A group with a finished job, one in error, and one that runs on worker w."""
    render = group(f)
    jobs = [submit(f, render) for _ in range(3)]
    w = worker(f)
    run(f, w, took=2)
    run(f, w, code=1)
    f.on_pick(w, NOW)
    return (render, *jobs)  # type: ignore[return-value]


def test_reset_makes_all_below_a_group_as_if_it_had_never_run() -> None:
    f = farm()
    render, *jobs = tree(f)
    f.on_pause([jobs[0].id, render.id], NOW)
    f.on_reset([render.id], NOW)

    for job in jobs:
        assert (job.state, job.paused, job.run_done, job.worker) == ("WAITING", False, 0, "")
        assert (job.start_time, job.duration, job.progress) == (0, 0, None)
    assert (render.state, render.paused, render.start_time, render.duration) == (
        "WAITING", False, 0, 0,
    )  # fmt: skip
    assert set(f.changes.cleared_logs) == {job.id for job in jobs}
    assert f.runs == {}
    f.check_invariants()


def test_reset_errors_resets_only_what_is_in_error() -> None:
    f = farm()
    render, good, bad, working = tree(f)
    f.on_reset_errors([render.id, good.id], NOW)

    assert [job.state for job in (good, bad, working)] == ["FINISHED", "WAITING", "WORKING"]
    assert (bad.run_done, good.run_done, list(f.changes.cleared_logs)) == (0, 1, [bad.id])


def test_a_paused_job_is_not_picked_until_it_is_started() -> None:
    f = farm()
    job, other = submit(f), submit(f)
    f.on_pause([job.id], NOW)
    w = worker(f)
    assert (order(f, w), job.state) == ([other], "WAITING")
    f.on_start([job.id], NOW)

    assert order(f, w) == [job]


def test_pausing_a_running_job_ends_its_run_and_the_try_does_not_count() -> None:
    f = farm()
    *_, working = tree(f)
    made = working.run
    assert made is not None
    f.on_pause([working.id], NOW + 5)

    assert (working.paused, working.state, working.run_done) == (True, "WAITING", 0)
    assert (made.state, made.duration, list(f.revoked)) == ("STOPPED", 5, [made.id])
    f.on_start([working.id], NOW)
    assert order(f, worker(f, "other")) == []  # its process may still be dying
    f.on_rest(made.worker)
    assert order(f, worker(f)) == [working]


def test_pausing_a_group_ends_what_runs_below_it() -> None:
    f = farm()
    render, good, bad, working = tree(f)
    made = working.run
    assert made is not None
    f.on_pause([render.id], NOW)
    assert [job.state for job in (good, bad, working)] == ["FINISHED", "ERROR", "WAITING"]
    assert [job.paused for job in (good, bad, working)] == [False] * 3
    assert order(f, worker(f)) == []
    f.on_start([render.id], NOW)
    f.on_rest(made.worker)

    assert order(f, worker(f)) == [working]


def test_starting_a_group_lifts_its_own_pause_and_touches_nothing_else() -> None:
    f = farm()
    render = group(f)
    inner = group(f, render)
    done, paused, deep = submit(f, render), submit(f, render), submit(f, inner)
    f.on_pause([inner.id, paused.id], NOW)
    w = worker(f)
    assert order(f, w) == [done]
    f.on_pause([render.id], NOW)
    f.on_start([render.id], NOW)

    assert (render.paused, inner.paused, paused.paused) == (False, True, True)
    assert (done.state, deep.state, order(f, w)) == ("FINISHED", "WAITING", [])


@pytest.mark.parametrize("code", [0, 1])
def test_starting_a_finished_or_failed_job_runs_it_again(code: int) -> None:
    f = farm()
    job = submit(f)
    w = worker(f)
    run(f, w, code=code)
    f.on_start([job.id], NOW)

    assert (job.state, job.run_done, job.progress) == ("WAITING", 0, None)
    assert f.changes.cleared_logs == {}
    assert run(f, w) is job


def test_starting_a_job_that_waits_or_runs_changes_nothing() -> None:
    f = farm()
    *_, working = tree(f)
    waiting = submit(f)
    before = snapshot(f)
    f.on_start([working.id, waiting.id], NOW)

    assert snapshot(f) == before


def test_delete_takes_what_is_below_with_it_and_ends_its_runs() -> None:
    f = farm()
    render, *jobs = tree(f)
    made = jobs[2].run
    assert made is not None
    f.on_delete([jobs[0].id, render.id, jobs[1].id], NOW)

    assert (f.tree.jobs, f.runs, list(f.revoked)) == ({}, {}, [made.id])
    assert set(f.changes.deleted_jobs) == {job.id for job in [render, *jobs]}
    assert set(f.changes.cleared_logs) == {job.id for job in jobs}
    assert (f.tree.root.group.total, f.workers["w"].state) == (0, "WAITING")  # type: ignore[union-attr]
    f.check_invariants()


@pytest.mark.parametrize("what", ["reset", "reset_errors", "pause", "start", "delete"])
def test_an_order_about_a_job_that_does_not_exist_is_refused_as_a_whole(what: str) -> None:
    f = farm()
    render, *jobs = tree(f)
    before = snapshot(f)
    with pytest.raises(UnknownJob):
        getattr(f, f"on_{what}")([jobs[0].id, 99, render.id], NOW)

    assert snapshot(f) == before


def test_ids_are_never_given_twice() -> None:
    f = farm()
    job = submit(f)
    f.on_delete([job.id], NOW)

    assert submit(f).id > job.id


def test_jobs_may_change_places() -> None:
    f = farm()
    outer = group(f)
    inner = group(f, outer)
    job = submit(f, inner)
    f.on_edit({inner.id: {"parent": 0}, outer.id: {"parent": inner.id}}, NOW)

    assert (outer.parent, inner.parent, job.parent) == (inner, f.tree.root, inner)
    f.check_invariants()


def test_a_running_job_may_be_moved_and_renamed_without_its_run_noticing() -> None:
    f = farm()
    render, *_, working = tree(f)
    other = group(f)
    f.on_edit({working.id: {"parent": other.id, "title": "x", "priority": 5}}, NOW)
    assert (working.state, other.state, render.state) == ("WORKING", "WORKING", "ERROR")
    assert working.run is not None
    f.on_end(f.workers["w"], working.run.id, 0, NOW)

    assert other.state == "FINISHED"
    f.check_invariants()
