"""Finished trees leave memory; the database keeps them."""

from __future__ import annotations

import pytest

from coalition.core.farm import QUIET, Farm
from coalition.core.model import Job
from tests.core.builders import NOW, farm, group, order, run, submit, worker

LATER = NOW + QUIET


def finished(f: Farm, after: list[Job] | None = None) -> tuple[Job, Job]:
    render = group(f, after=after or [])
    job = submit(f, render)
    run(f, worker(f))
    f.on_tick(NOW)
    return render, job


def test_a_finished_tree_leaves_memory_when_it_has_been_quiet() -> None:
    f = farm()
    finished(f)
    f.on_tick(LATER - 1)
    assert len(f.tree.jobs) == 2
    f.on_tick(LATER)

    assert (f.tree.jobs, f.tree.root.group.total) == ({}, 0)  # type: ignore[union-attr]
    assert f.changes.deleted_jobs == {}
    f.check_invariants()


def test_a_tree_with_work_or_errors_in_it_stays() -> None:
    f = farm(timeout=10**9)
    render = group(f)
    submit(f, render)
    submit(f)
    left = submit(f, render)
    w = worker(f)
    run(f, w)
    run(f, w, code=1)
    f.on_pause([left.id], NOW)
    for now in (NOW, LATER, LATER + QUIET):
        f.on_tick(now)

    assert len(f.tree.jobs) == 4


def test_a_tree_that_something_live_depends_on_stays_until_that_is_gone() -> None:
    f = farm()
    render, job = finished(f)
    after = submit(f, after=[job])
    f.on_pause([after.id], NOW)
    f.on_tick(LATER)
    assert set(f.tree.jobs) == {render.id, job.id, after.id}
    f.on_delete([after.id], LATER)
    f.on_tick(LATER + QUIET)

    assert f.tree.jobs == {}


def test_a_chain_of_finished_trees_leaves_from_its_end() -> None:
    f = farm(timeout=10**9)
    first, _ = finished(f)
    finished(f, after=[first])
    for step in range(3):
        f.on_tick(LATER + step * QUIET)

    assert f.tree.jobs == {}


@pytest.mark.parametrize("what", ["reset", "add"])
def test_a_tree_in_which_work_begins_again_stays(what: str) -> None:
    f = farm()
    render, job = finished(f)
    if what == "reset":
        f.on_reset([job.id], NOW + 1)
    else:
        job = submit(f, render)
    f.on_tick(LATER)

    assert order(f, worker(f)) == [job]
    f.on_tick(LATER + 1)
    f.on_tick(LATER + QUIET)
    assert len(f.tree.jobs) >= 2, "quiet counts from the last end"
    f.on_tick(LATER + 1 + QUIET)
    assert f.tree.jobs == {}
