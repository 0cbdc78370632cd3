"""Which of the ready jobs comes first."""

from __future__ import annotations

import pytest

from coalition.core.model import Job
from tests.core.builders import NOW, farm, group, order, run, submit, worker


def test_higher_priority_first_and_the_older_first_among_equals() -> None:
    f = farm()
    a, b, c, d = (submit(f, priority=p) for p in (1000, 5, 1000, 2000))

    assert order(f, worker(f)) == [d, a, c, b]


def test_priorities_compare_level_by_level_from_the_root() -> None:
    f = farm()
    low, high = group(f, priority=1), group(f, priority=2)
    in_low = submit(f, low, priority=10**6)
    in_high = submit(f, high, priority=-(10**6))

    assert order(f, worker(f)) == [in_high, in_low]


def test_a_group_and_a_job_beside_it_compare_by_their_own_priorities() -> None:
    f = farm()
    render = group(f, priority=7)
    inside = submit(f, render, priority=10**6)
    above, below = submit(f, priority=8), submit(f, priority=6)

    assert order(f, worker(f)) == [above, inside, below]


def test_priorities_may_have_any_size() -> None:
    f = farm()
    huge = 10**40
    a, b, c, d = (submit(f, priority=p) for p in (-huge, huge, -huge - 1, huge + 1))

    assert order(f, worker(f)) == [d, b, a, c]


def test_trees_of_two_thousand_levels_are_worked_on_in_order() -> None:
    f = farm()
    parents: list[Job] = [group(f), group(f, priority=1001)]
    for _ in range(2000):
        parents = [group(f, parent) for parent in parents]
    second, first = (submit(f, parent) for parent in parents)

    assert order(f, worker(f)) == [first, second]
    assert {job.state for job in f.tree.jobs.values()} == {"FINISHED"}
    f.check_invariants()


@pytest.mark.parametrize("what", ["pause", "reset", "delete", "edit", "depend"])
def test_orders_about_a_very_deep_tree_are_carried_out(what: str) -> None:
    f = farm()
    top = group(f)
    node = top
    for _ in range(2000):
        node = group(f, node)
    leaf, other = submit(f, node), submit(f, priority=-1)
    match what:
        case "pause":
            f.on_pause([top.id], 0)
        case "reset":
            run(f, worker(f))
            f.on_reset([top.id], 0)
        case "delete":
            f.on_delete([top.id], 0)
        case "edit":
            f.on_edit({top.id: {"affinity": "A", "parent": group(f).id}}, 0)
        case "depend":
            f.on_set_dependencies(top.id, [other.id])

    expected = {"reset": [leaf, other], "depend": [other, leaf]}.get(what, [other])
    assert order(f, worker(f)) == expected
    f.check_invariants()


def test_a_new_priority_of_a_group_counts_for_all_below_it() -> None:
    f = farm()
    first, second = group(f), group(f)
    jobs = [submit(f, parent) for parent in (first, first, second, second)]
    f.on_edit({second.id: {"priority": 1001}}, 0)

    assert order(f, worker(f)) == [jobs[2], jobs[3], jobs[0], jobs[1]]


def test_a_moved_job_takes_its_place_by_its_id() -> None:
    f = farm()
    old, render = submit(f), group(f)
    inside = submit(f, render)
    f.on_edit({old.id: {"parent": render.id}}, 0)

    assert order(f, worker(f)) == [old, inside]
    assert render.group is not None
    assert (render.group.total_finished, f.tree.root.group.total) == (2, 2)  # type: ignore[union-attr]


def test_a_worker_that_is_not_active_gets_nothing() -> None:
    f = farm()
    job = submit(f)
    w = worker(f)
    f.on_stop_workers(["w"], 0)
    assert order(f, w) == []
    f.on_start_workers(["w"], 0)

    assert order(f, w) == [job]


def test_an_exclusive_job_has_its_place_in_the_order_like_any_other() -> None:
    f = farm()
    node = worker(f, affinity="nuke", node="n")
    low = submit(f, priority=1, exclusive=True)
    plain, high = submit(f, priority=2), submit(f, priority=3, exclusive=True)
    words = submit(f, affinity="nuke", priority=0, exclusive=True)
    inside = submit(f, group(f, affinity="nuke"), exclusive=True)

    assert order(f, node) == [inside, words, high, plain, low]


def test_a_worker_of_protocol_1_is_given_no_exclusive_job() -> None:
    f = farm()
    first, second = submit(f, exclusive=True, priority=2), submit(f)
    also = submit(f, affinity="nuke", exclusive=True)
    old = worker(f, affinity="nuke")

    assert order(f, old) == [second]
    f.on_edit({first.id: {"exclusive": False}}, NOW)
    assert order(f, old) == [first]
    assert order(f, worker(f, node="n")) == [also]


def test_an_exclusive_job_can_call_a_worker_by_its_name() -> None:
    f = farm()
    job = submit(f, affinity="@w,nuke", exclusive=True)
    plain, other = submit(f, affinity="@w", exclusive=True), submit(f, affinity="@other")

    assert order(f, worker(f, affinity="nuke", node="n")) == [job, plain]
    assert order(f, worker(f, "other")) == [other]
