"""A job's state is set by hand: it counts as done, or as failed, and no try of it is counted."""

from __future__ import annotations

from typing import Any

import pytest

from coalition.core.farm import QUIET, Farm
from coalition.core.states import ERROR, FINISHED
from coalition.errors import IllegalMove
from tests.core.builders import NOW, farm, group, order, run, submit, worker
from tests.core.test_machine import snapshot


def declare(f: Farm, state: str, *ids: int) -> None:
    f.on_edit({id: {"state": state} for id in ids}, NOW + 5)


@pytest.mark.parametrize("state", [FINISHED, ERROR])
def test_a_job_that_waits_is_set_and_is_not_run(state: str) -> None:
    f = farm()
    job = submit(f, retry=3)
    declare(f, state, job.id)

    assert (job.state, job.run_done, job.start_time) == (state, 0, 0)
    assert job.progress == (1.0 if state == FINISHED else None)
    assert order(f, worker(f)) == []
    f.check_invariants()


def test_a_paused_job_is_shown_as_it_was_set() -> None:
    f = farm()
    job = submit(f, paused=True)
    declare(f, FINISHED, job.id)

    assert (job.state, job.paused) == (FINISHED, False)


@pytest.mark.parametrize("state", [FINISHED, ERROR])
def test_what_runs_is_ended_and_its_late_end_changes_nothing(state: str) -> None:
    f = farm()
    job, w = submit(f, retry=3), worker(f)
    made = f.on_pick(w, NOW)
    assert made is not None
    declare(f, state, job.id)
    assert (made.state, list(f.revoked), job.duration) == ("STOPPED", [made.id], 5)
    assert not f.on_end(w, made.id, 7, NOW + 9)

    assert (job.state, job.run_done, w.state, w.error) == (state, 0, "WAITING", 0)
    f.check_invariants()


def test_what_was_handed_ahead_does_not_count_any_more() -> None:
    f = farm()
    job = submit(f)
    handed = f.on_reserve(worker(f, node="n"), NOW)
    assert handed is not None
    declare(f, FINISHED, job.id)

    assert (handed.void, list(f.revoked)) == (True, [handed.id])
    f.check_invariants()


def test_its_groups_and_those_that_wait_for_it_go_on() -> None:
    f = farm()
    render = group(f)
    first, second = submit(f, render), submit(f, render)
    after = submit(f, after=[render])
    declare(f, ERROR, first.id)
    assert (render.state, after.state) == (ERROR, "PENDING")
    declare(f, FINISHED, first.id, second.id)
    assert (render.state, render.progress, after.state) == (FINISHED, 1.0, "WAITING")
    declare(f, ERROR, first.id)

    assert (render.state, after.state) == (ERROR, "PENDING")
    f.check_invariants()


def test_a_pending_job_that_is_set_and_then_reset_is_pending_again() -> None:
    f = farm()
    after = submit(f, after=[submit(f)])
    declare(f, FINISHED, after.id)
    f.on_reset([after.id], NOW)

    assert after.state == "PENDING"


@pytest.mark.parametrize("what", ["group", "becomes a parent", "becomes a group"])
def test_the_state_of_a_group_comes_from_below_so_all_is_refused(what: str) -> None:
    f = farm()
    render = group(f)
    job, other = submit(f), submit(f)
    edits: dict[str, dict[int, dict[str, Any]]] = {
        "group": {other.id: {"title": "x"}, render.id: {"state": FINISHED}},
        "becomes a parent": {job.id: {"state": FINISHED}, other.id: {"parent": job.id}},
        "becomes a group": {job.id: {"state": FINISHED, "command": ""}},
    }
    before = snapshot(f)
    with pytest.raises(IllegalMove):
        f.on_edit(edits[what], NOW)

    assert (snapshot(f), other.title) == (before, "")


def test_a_job_whose_process_may_still_be_dying_stays_in_memory() -> None:
    """Loaded again by a reset, it would not know that it must not be given to another."""
    f = farm(timeout=10 * QUIET)
    job, w = submit(f), worker(f)
    f.on_pick(w, NOW)
    declare(f, FINISHED, job.id)
    f.on_tick(NOW)
    f.on_tick(NOW + 2 * QUIET)
    assert job.id in f.tree.jobs
    f.on_rest(w)
    f.on_tick(NOW + 4 * QUIET)

    assert f.tree.jobs == {}


def test_a_job_that_was_set_runs_again_when_it_is_started() -> None:
    f = farm()
    job = submit(f)
    declare(f, ERROR, job.id)
    f.on_start([job.id], NOW)

    assert run(f, worker(f)) is job
