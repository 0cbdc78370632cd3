"""What an event notes for the database: the rows that differ, and nothing else."""

from __future__ import annotations

import pytest

from coalition.core.changes import Changes
from coalition.core.farm import Farm
from coalition.core.model import Job
from tests.core.builders import NOW, farm, group, submit, worker


def noted(f: Farm) -> dict[str, list[object]]:
    """The keys under each heading that is not empty, and a clean sheet for what follows."""
    taken = f.changes.take()
    return {
        name: sorted(getattr(taken, name)) for name in Changes.__slots__ if getattr(taken, name)
    }


def two_trees(f: Farm) -> tuple[Job, Job, Job]:
    """A group with a job in it and one beside; a worker w; nothing noted."""
    render = group(f)
    job, beside = submit(f, render), submit(f)
    submit(f, group(f))
    worker(f)
    f.changes.take()
    return render, job, beside


def test_a_new_job_is_one_row_and_its_groups_counters() -> None:
    f = farm()
    render, _job, beside = two_trees(f)
    new = submit(f, render, after=[beside])

    assert noted(f) == {
        "new_jobs": [new.id],
        "jobs": sorted([render.id, new.id]),
        "dependencies": [new.id],
    }


def test_a_pick_is_a_run_a_worker_a_job_and_its_groups() -> None:
    f = farm()
    render, job, _ = two_trees(f)
    run = f.on_pick(f.workers["w"], NOW)
    assert run is not None
    picked = {"jobs": [render.id, job.id], "workers": ["w"]}

    assert noted(f) == {**picked, "new_runs": [run.id]}
    f.on_end(f.workers["w"], run.id, 0, NOW)
    assert noted(f) == {**picked, "finished_runs": [run.id]}


def test_what_changes_nothing_notes_nothing() -> None:
    f = farm()
    render, job, _beside = two_trees(f)
    w = f.workers["w"]
    f.on_contact("w", NOW + 1)
    f.on_end(w, 99, 0, NOW)
    f.on_idle(w, NOW)
    f.on_seen(w, 99)
    f.on_start([render.id, job.id], NOW)
    f.on_reset_errors([render.id], NOW)
    f.on_start_workers(["w"], NOW)
    f.on_tick(NOW + 1)

    assert noted(f) == {}


def test_a_pause_is_one_row_however_much_is_below() -> None:
    f = farm()
    render, _, _ = two_trees(f)
    f.on_pause([render.id], NOW)
    assert noted(f) == {"jobs": [render.id]}
    f.on_start([render.id], NOW)

    assert noted(f) == {"jobs": [render.id]}


@pytest.mark.parametrize(
    "edit", [{"title": "x"}, {"priority": 5}, {"affinity": "A"}, {"command": "x"}, {"timeout": 3}]
)
def test_an_edit_is_the_row_of_the_job(edit: dict[str, object]) -> None:
    f = farm()
    _, job, _ = two_trees(f)
    f.on_edit({job.id: edit}, NOW)

    assert noted(f) == {"edited_jobs": [job.id]}


def test_an_end_that_frees_dependents_notes_them_too() -> None:
    f = farm()
    render, job, beside = two_trees(f)
    f.on_set_dependencies(beside.id, [render.id])
    assert noted(f) == {
        "edited_jobs": [beside.id], "jobs": [beside.id], "dependencies": [beside.id]
    }  # fmt: skip
    run = f.on_pick(f.workers["w"], NOW)
    assert run is not None
    f.changes.take()
    f.on_end(f.workers["w"], run.id, 0, NOW)

    assert noted(f)["jobs"] == [render.id, job.id, beside.id]


def test_a_deleted_tree_is_its_ids_and_those_that_depended_on_it() -> None:
    f = farm()
    render, job, beside = two_trees(f)
    f.on_set_dependencies(beside.id, [job.id])
    f.changes.take()
    f.on_delete([render.id], NOW)

    assert noted(f) == {
        "deleted_jobs": [render.id, job.id],
        "dependencies": [beside.id],
        "jobs": [beside.id],
    }


def test_what_was_taken_is_left_alone_by_what_follows() -> None:
    f = farm()
    job = submit(f)
    taken = f.changes.take()
    submit(f)

    assert list(taken.new_jobs) == [job.id]
    assert not f.changes.take().deleted_jobs
    assert not f.changes
