"""What a node does about runs that its computer cannot start."""

from __future__ import annotations

from coalition import wire
from coalition.worker.node.actions import Begin, Plan, Save
from coalition.worker.node.machine import Machine
from tests.worker.machines import ended, ends_of, new_machine, report, runs_of, start, starts


def refused(machine: Machine, run: int, now: float) -> Plan:
    """Have the start of a run refused, and return the report that gives it back."""
    plan = report(machine, now)
    assert machine.on_orders(plan.number, starts("node", run), now) == [Begin(start(run))]
    assert machine.on_refused(run, now) == [Save(run, 0, True, 0.0)]
    machine.on_saved(run)
    plan = report(machine, now)
    assert ends_of(plan) == [(run, 0, True)]
    machine.on_orders(plan.number, wire.Orders(ended=[run]), now)
    return plan


def resting(plan: Plan) -> list[str]:
    return [slot.name for slot in plan.report.workers if slot.resting]


def rested(machine: Machine, now: float) -> float:
    """Report until the worker is offered again, and return the time."""
    while (plan := report(machine, now)).report.workers[0].resting:
        machine.on_orders(plan.number, wire.Orders(), now)
        due = machine.due(now)
        assert due is not None
        now = max(now, due)
    machine.on_orders(plan.number, wire.Orders(), now)
    return now + 1


def test_a_run_that_cannot_be_started_is_given_back_and_its_worker_rests() -> None:
    machine = new_machine("node", "other")
    assert resting(refused(machine, 7, 0)) == ["node"]
    assert resting(report(machine, 0)) == ["node"]
    due = machine.due(0)
    assert due is not None and 2 <= due <= 4
    assert resting(report(machine, due)) == []


def test_the_rests_of_a_worker_grow_until_it_has_run_something() -> None:
    machine = new_machine()
    now, rests = 0.0, []
    for run in range(1, 8):
        began = now
        refused(machine, run, now)
        now = rested(machine, now)
        rests.append(now - began - 1)
    assert rests[0] <= 4 < 8 <= rests[2]
    assert all(10 <= rest <= 20 for rest in rests[3:])
    machine.on_orders(report(machine, now).number, starts("node", 8), now)
    ended(machine, 8, now=now)
    machine.on_orders(report(machine, now).number, wire.Orders(ended=[8]), now)
    refused(machine, 9, now)
    assert rested(machine, now) - now - 1 <= 4


def test_a_worker_that_rests_says_goodbye_like_the_others() -> None:
    machine = new_machine()
    refused(machine, 7, 0)
    machine.on_stop(0)
    plan = report(machine)
    assert runs_of(plan) == {"node": 0}
    machine.on_orders(plan.number, wire.Orders(), 0)
    assert machine.finished(0)
