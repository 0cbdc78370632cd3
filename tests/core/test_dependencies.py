"""Jobs that wait for others."""

from __future__ import annotations

import pytest

from coalition.core.farm import Farm
from coalition.core.model import Job
from coalition.core.submission import Submission
from coalition.errors import Cycle, UnknownDependency
from tests.core.builders import NOW, farm, group, new_job, order, run, submit, worker
from tests.core.test_machine import snapshot


def test_a_job_is_pending_until_all_it_depends_on_is_finished() -> None:
    f = farm()
    first, second = submit(f), submit(f)
    joined = submit(f, after=[first, second], priority=10**9)
    w = worker(f)
    run(f, w)
    assert joined.state == "PENDING"
    run(f, w)
    assert joined.state == "WAITING"

    assert order(f, w) == [joined]


def test_a_job_waits_for_everything_in_a_group() -> None:
    f = farm()
    render = group(f)
    after = submit(f, after=[render], priority=10**9)
    frames = [submit(f, group(f, render)), submit(f, render)]

    assert order(f, worker(f)) == [*frames, after]


def test_a_group_with_an_unfinished_dependency_holds_everything_below_it() -> None:
    f = farm()
    first = submit(f, priority=-1)
    held = group(f, after=[first])
    inside = submit(f, group(f, held))
    free = submit(f)

    assert held.state == "PENDING"
    assert order(f, worker(f)) == [free, first, inside]
    f.check_invariants()


def test_a_dependency_in_error_keeps_its_dependents_pending() -> None:
    f = farm()
    first = submit(f)
    after = submit(f, after=[first])
    w = worker(f)
    run(f, w, code=1)

    assert (first.state, after.state, order(f, w)) == ("ERROR", "PENDING", [])
    f.on_reset_errors([first.id], NOW)
    assert order(f, w) == [first, after]


def test_a_reset_dependency_makes_waiting_dependents_pending_again() -> None:
    f = farm()
    first = submit(f)
    after = submit(f, after=[first])
    run(f, worker(f))
    f.on_reset([first.id], NOW)

    assert after.state == "PENDING"
    f.check_invariants()


def test_what_runs_or_has_run_is_not_stopped_by_a_dependency_that_is_reset() -> None:
    f = farm()
    first = submit(f)
    ended, begun = (submit(f, after=[first]) for _ in range(2))
    w = worker(f)
    run(f, w)
    run(f, w)
    f.on_pick(w, NOW)
    f.on_reset([first.id], NOW)

    assert (ended.state, begun.state) == ("FINISHED", "WORKING")
    f.check_invariants()


def test_a_new_job_in_a_finished_group_holds_its_dependents_again() -> None:
    f = farm()
    render = group(f)
    submit(f, render)
    after = submit(f, after=[render])
    run(f, worker(f))
    assert after.state == "WAITING"
    submit(f, render)

    assert after.state == "PENDING"


def test_deleting_a_job_frees_what_depends_on_it() -> None:
    f = farm()
    render = group(f)
    inside, other = submit(f, render), submit(f)
    after = submit(f, after=[inside, render])
    both = submit(f, after=[inside, other])
    f.on_delete([render.id], NOW)

    assert (after.state, after.dependencies) == ("WAITING", ())
    assert (both.state, both.dependencies) == ("PENDING", (other,))
    f.check_invariants()


def test_new_dependencies_replace_the_old_ones() -> None:
    f = farm()
    first, second = submit(f), submit(f, priority=-1)
    after = submit(f, after=[first], priority=10**9)
    f.on_set_dependencies(after.id, [second.id, second.id])
    assert (after.dependencies, after.state) == ((second,), "PENDING")
    f.on_set_dependencies(after.id, [])

    assert (after.dependencies, after.state) == ((), "WAITING")
    assert order(f, worker(f)) == [after, first, second]


def test_an_unknown_dependency_is_refused() -> None:
    f = farm()
    job = submit(f)
    with pytest.raises(UnknownDependency):
        submit(f, after=[job, 99])
    with pytest.raises(UnknownDependency):
        f.on_set_dependencies(job.id, [99])

    assert list(f.tree.jobs) == [job.id]
    assert job.dependencies == ()


def refused(f: Farm, edits: dict[int, dict[str, object]]) -> None:
    before = snapshot(f)
    with pytest.raises(Cycle):
        f.on_edit(edits, NOW)
    assert snapshot(f) == before
    f.check_invariants()


def chain(f: Farm, length: int) -> list[Job]:
    jobs = [submit(f)]
    while len(jobs) < length:
        jobs.append(submit(f, after=[jobs[-1]]))
    return jobs


@pytest.mark.parametrize("length", [1, 2, 3, 3000])
def test_a_circle_of_jobs_that_wait_for_each_other_is_refused(length: int) -> None:
    f = farm()
    jobs = chain(f, length)

    refused(f, {jobs[0].id: {"dependencies": [jobs[-1].id]}})


def test_a_job_cannot_depend_on_its_own_group_nor_a_group_on_what_is_in_it() -> None:
    f = farm()
    outer = group(f)
    inner = group(f, outer)
    job = submit(f, inner)

    refused(f, {job.id: {"dependencies": [outer.id]}})
    refused(f, {outer.id: {"dependencies": [job.id]}})


def test_two_groups_whose_jobs_wait_for_each_other_may_be_but_not_for_the_groups() -> None:
    f = farm()
    left, right = group(f), group(f)
    a, b, c, d = submit(f, left), submit(f, right), submit(f, left), submit(f, right)
    f.on_edit({b.id: {"dependencies": [a.id]}, c.id: {"dependencies": [d.id]}}, NOW)
    refused(f, {a.id: {"dependencies": [right.id]}})
    refused(f, {a.id: {"dependencies": [right.id]}, d.id: {"dependencies": [left.id]}})

    assert order(f, worker(f)) == [a, b, d, c]


def test_moving_a_job_into_a_group_that_waits_for_it_is_refused() -> None:
    f = farm()
    job, render, empty = submit(f), group(f), group(f)
    f.on_set_dependencies(render.id, [job.id])

    refused(f, {job.id: {"parent": render.id}})
    refused(f, {empty.id: {"parent": render.id}, job.id: {"parent": empty.id}})


def test_a_group_cannot_be_moved_into_itself_or_below() -> None:
    f = farm()
    outer = group(f)
    inner = group(f, outer)
    other = group(f)

    refused(f, {outer.id: {"parent": outer.id}})
    refused(f, {outer.id: {"parent": inner.id}})
    refused(f, {outer.id: {"parent": other.id}, other.id: {"parent": outer.id}})


def test_of_many_edits_none_is_made_when_one_is_refused() -> None:
    f = farm()
    job, other = submit(f), submit(f)

    refused(
        f,
        {
            other.id: {"title": "new", "priority": 5, "affinity": "A", "paused": True},
            job.id: {"dependencies": [job.id]},
        },
    )
    assert (other.title, other.paused) == ("", False)


@pytest.mark.parametrize("beside", [False, True])
def test_jobs_submitted_together_that_wait_for_each_other_are_refused(beside: bool) -> None:
    f = farm()
    old = submit(f)
    together = Submission()
    first, second = new_job(f), new_job(f)
    together.add(first, old.id, [second])
    together.add(second, 0, [old.id])
    if beside:
        for _ in together.build(f.tree):
            pass
    with pytest.raises(Cycle):
        f.on_submit(together)
    together.unlink()

    assert (list(f.tree.jobs), old.group, old.dependents) == ([old.id], None, None)
    assert order(f, worker(f)) == [old]


@pytest.mark.parametrize("beside", [False, True])
def test_jobs_submitted_together_wait_for_each_other_and_for_jobs_outside(beside: bool) -> None:
    f = farm()
    old = submit(f, priority=-1)
    together = Submission()
    render, first, second = new_job(f), new_job(f), new_job(f)
    together.add(render, 0, [old.id], is_group=True)
    together.add(first, render, [second])
    together.add(second, render)
    if beside:
        for _ in together.build(f.tree):
            pass
    f.on_submit(together)
    f.check_invariants()

    assert order(f, worker(f)) == [old, second, first]
