"""Jobs that hold other jobs."""

from __future__ import annotations

import pytest

from coalition.core.model import Job
from coalition.errors import NotAGroup, Refused, UnknownParent
from tests.core.builders import NOW, farm, group, order, run, submit, worker


def counters(job: Job) -> tuple[int, ...]:
    assert job.group is not None
    g = job.group
    return (g.total, g.total_working, g.total_errors, g.total_finished)


def test_a_group_runs_no_command_even_if_it_was_created_with_one() -> None:
    f = farm()
    render = submit(f, command="rm -rf scene")
    frame = submit(f, render, command="povray")

    assert order(f, worker(f)) == [frame]
    assert render.state == "FINISHED"
    f.check_invariants()


def test_a_child_turns_a_waiting_job_into_a_group_that_keeps_its_place() -> None:
    f = farm()
    outer = group(f)
    job = submit(f, outer, priority=2000)
    other = submit(f, outer)
    child = submit(f, job, priority=1)

    assert order(f, worker(f)) == [child, other]
    assert counters(outer) == (2, 0, 0, 2)


@pytest.mark.parametrize("code", [None, 0, 1])
def test_a_job_that_has_run_or_is_running_gets_no_children(code: int | None) -> None:
    f = farm()
    job = submit(f)
    begun = f.on_pick(worker(f), NOW)
    assert begun is not None
    if code is not None:
        f.on_end(begun.worker, begun.id, code, NOW + 1)

    with pytest.raises(NotAGroup):
        submit(f, job)
    other = submit(f)
    with pytest.raises(NotAGroup):
        f.on_edit({other.id: {"parent": job.id}}, NOW)
    assert (job.group, other.parent) == (None, f.tree.root)
    f.check_invariants()


def test_a_group_shows_error_before_working_and_finished_when_all_are() -> None:
    f = farm()
    render = group(f)
    bad, good, last = (submit(f, render) for _ in range(3))
    one, two = worker(f, "one"), worker(f, "two")
    assert render.state == "WAITING"
    first, second = f.on_pick(one, NOW), f.on_pick(two, NOW)
    assert first is not None and second is not None and render.state == "WORKING"

    f.on_end(one, first.id, 1, NOW)
    assert (bad.state, good.state, render.state) == ("ERROR", "WORKING", "ERROR")
    f.on_reset([bad.id], NOW)
    assert render.state == "WORKING"
    f.on_end(two, second.id, 0, NOW)
    assert (last.state, render.state) == ("WAITING", "WAITING")
    assert order(f, one) == [bad, last]
    assert render.state == "FINISHED"


def test_an_empty_group_waits_holds_its_dependents_and_does_not_count() -> None:
    f = farm()
    outer = group(f)
    empty = group(f, outer)
    after = submit(f, after=[empty])
    job = submit(f, outer)

    assert order(f, worker(f)) == [job]
    assert (empty.state, empty.progress, after.state) == ("WAITING", None, "PENDING")
    assert (outer.state, counters(outer)) == ("FINISHED", (1, 0, 0, 1))


def test_a_group_that_has_lost_all_its_jobs_waits_again() -> None:
    f = farm()
    render = group(f)
    job = submit(f, render)
    run(f, worker(f))
    f.on_delete([job.id], NOW)

    assert (render.state, counters(render), render.duration) == ("WAITING", (0, 0, 0, 0), 0)
    f.check_invariants()


def test_the_progress_of_a_group_is_the_part_of_its_jobs_that_is_finished() -> None:
    f = farm()
    render = group(f)
    inner = group(f, render)
    for parent in (render, inner, inner, inner):
        submit(f, parent)
    run(f, worker(f))
    run(f, worker(f), code=1)

    assert (render.progress, inner.progress) == (1 / 4, 1 / 3)


def test_a_group_sums_durations_and_begins_with_its_first_job() -> None:
    f = farm()
    outer = group(f)
    inner = group(f, outer)
    submit(f, inner)
    submit(f, outer)
    w = worker(f)
    run(f, w, now=NOW + 10, took=2)
    run(f, w, now=NOW + 20, took=3)

    assert (outer.start_time, outer.duration) == (NOW + 10, 5)


def test_an_empty_group_that_is_given_a_command_runs_it() -> None:
    f = farm()
    job = group(f)
    f.on_edit({job.id: {"command": "true"}}, NOW)

    assert order(f, worker(f)) == [job]


def test_a_job_whose_command_is_taken_away_is_a_group_of_nothing() -> None:
    f = farm()
    job = submit(f)
    f.on_edit({job.id: {"command": ""}}, NOW)

    assert order(f, worker(f)) == []
    assert job.state == "WAITING"


def test_a_job_that_has_run_keeps_its_command() -> None:
    f = farm()
    job = submit(f)
    run(f, worker(f))

    with pytest.raises(Refused):
        f.on_edit({job.id: {"command": "", "title": "new"}}, NOW)
    assert (job.command, job.title) == ("true", "")


def test_a_parent_that_does_not_exist_is_refused() -> None:
    f = farm()
    job = submit(f)
    with pytest.raises(UnknownParent):
        submit(f, 77)
    with pytest.raises(UnknownParent):
        f.on_edit({job.id: {"parent": 77}}, NOW)
    assert list(f.tree.jobs) == [job.id] and job.parent is f.tree.root
