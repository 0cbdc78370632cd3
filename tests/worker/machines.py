"""Nodes that only decide, and what they are told."""

from __future__ import annotations

from random import Random

from coalition import wire
from coalition.worker.node.actions import Plan, Save
from coalition.worker.node.machine import Machine


def new_machine(*workers: str) -> Machine:
    machine = Machine("node", list(workers or ("node",)), sleep=2, random=Random(1))
    machine.on_host(wire.Host("computer"))
    return machine


def start(run: int, worker: str = "node") -> wire.Start:
    return wire.Start(worker, run, run + 1000, "true")


def report(machine: Machine, now: float = 0.0) -> Plan:
    due = machine.due(now)
    assert due is not None and due <= now
    return machine.build_report(now)


def working(*runs: int) -> Machine:
    """Return a node whose workers have these runs, and which holds no request."""
    machine = new_machine(*(f"w{run}" for run in runs))
    orders = wire.Orders(start=[start(run, f"w{run}") for run in runs])
    machine.on_orders(report(machine).number, orders, 0)
    return machine


def ended(machine: Machine, run: int, code: int = 0, now: float = 0) -> None:
    actions = machine.on_exit(run, code, now)
    assert actions in [[Save(run, code, False, 0.0, soon)] for soon in (True, False)]
    machine.on_saved(run)


def runs_of(plan: Plan) -> dict[str, int]:
    return {slot.name: slot.run for slot in plan.report.workers}


def starts(worker: str, *runs: int) -> wire.Orders:
    return wire.Orders(start=[start(run, worker) for run in runs])


def ends_of(plan: Plan) -> list[tuple[int, int, bool]]:
    """Return run, exit code and whether another try is asked for."""
    return [(end.run, end.code, end.again) for end in plan.report.ends]


def recovered(
    machine: Machine, run: int, worker: str, size: int, code: int = 0, again: bool = False
) -> None:
    machine.on_recovered(run, worker, size, code, again=again, ended_at=0.0)
