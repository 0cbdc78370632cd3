"""Jobs that call a worker, or the workers of a computer, by name: @NAME and @HOST."""

from __future__ import annotations

import pytest

from coalition import wire
from coalition.server.auth import NOBODY
from tests.server.builders import Inside
from tests.server.test_ahead import Quick, numbers

HOST = wire.Host("box")


def test_a_job_goes_to_the_worker_that_it_calls(farm: Inside) -> None:
    job = farm.submit(affinity="@n-2")
    assert farm.told(0).start == []
    assert [(s.worker, s.job) for s in farm.told(0, 0).start] == [("n-2", job)]


def test_a_job_can_call_any_worker_of_a_computer(farm: Inside) -> None:
    farm.told(0, node="n", host=HOST)
    farm.told(0, node="other", host=wire.Host("elsewhere"))
    job = farm.submit(affinity="@box")
    assert farm.told(0, node="other").start == []
    assert [start.job for start in farm.told(0, node="n").start] == [job]


@pytest.mark.parametrize("affinity", ["@n-1", "@box", "@n-1,@box"])
def test_a_call_reaches_an_idle_worker_at_once(farm: Inside, affinity: str) -> None:
    other = farm.held(0, node="other")
    held = farm.held(0, host=HOST)
    job = farm.submit(affinity=affinity)
    farm.turn(5)
    (orders,) = held
    assert isinstance(orders, wire.Orders)
    assert [start.job for start in orders.start] == [job] and other == []


def test_a_call_and_other_words_must_both_fit(farm: Inside) -> None:
    farm.told(0, 0)
    farm.do(farm.service.edit_workers(NOBODY, {"n-1": {"affinity": "CPU\nGPU"}}))
    job = farm.submit(affinity="@n-1,GPU")
    farm.submit(affinity="@n-2,GPU")
    assert [(s.worker, s.job) for s in farm.told(0, 0).start] == [("n-1", job)]


def test_a_call_below_a_group_with_words_needs_them_too(farm: Inside) -> None:
    farm.told(0)
    farm.submit(
        {"title": "g", "affinity": "GPU", "children": [{"command": "x", "affinity": "@n-1"}]}
    )
    assert farm.told(0).start == []
    farm.do(farm.service.edit_workers(NOBODY, {"n-1": {"affinity": "GPU"}}))
    assert len(farm.told(0).start) == 1


def test_a_worker_that_is_kept_busy_ahead_still_hears_a_call(farm: Inside) -> None:
    node = Quick(farm)
    for _ in range(5):
        farm.submit()
    runs = numbers(node.tells())
    assert runs
    held = farm.held(node.run, ahead=runs, last=max(runs))
    job = farm.submit(affinity="@n-1")
    farm.turn(5)
    (orders,) = held
    assert isinstance(orders, wire.Orders) and sorted(orders.drop) == sorted(runs)
    ends = [wire.End(node.run)]
    assert [start.job for start in farm.told(0, last=max(runs), ends=ends).start] == [job]
