"""Jobs handed to a node ahead of its idle workers: who gets them when, and how they come back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from coalition import wire
from coalition.core.farm import Farm
from coalition.server.auth import NOBODY
from coalition.wire import Chunk, End
from tests.server.builders import Inside, inside

QUICK = 0.004
"""Seconds of a run that is short: 8 ms of a worker's time are 2 runs."""


def numbers(orders: wire.Orders) -> list[int]:
    return [start.run for ahead in orders.ahead for start in ahead.starts]


def jobs(orders: wire.Orders) -> list[int]:
    return [start.job for ahead in orders.ahead for start in ahead.starts]


class Quick:
    """A node of one worker whose runs are short, and leave something that takes `clearing`."""

    def __init__(self, farm: Inside, seconds: float = QUICK, clearing: float = 0.0) -> None:
        self.farm = farm
        self.number = 0
        self.last = 0
        farm.submit(priority=5000)
        start = farm.told(0).start[0]
        farm.submit(priority=5000)
        self.run = (
            farm.told(0, ends=[End(start.run, seconds=seconds, clearing=clearing)]).start[0].run
        )

    def tells(self, *held: int, run: int | None = None, ends: Sequence[End] = ()) -> wire.Orders:
        """A report in which the worker has `run` and the node holds what was handed ahead."""
        if run is not None:
            self.run = run
        orders = self.farm.told(self.run, ahead=list(held), last=self.last, ends=list(ends))
        self.last = max([self.last, *numbers(orders)])
        return orders


def test_a_node_with_short_runs_is_handed_the_next_jobs_in_their_order(farm: Inside) -> None:
    node = Quick(farm)
    ids = [farm.submit(priority=priority) for priority in (1000, 2000, 1000)]
    orders = node.tells()

    assert jobs(orders) == [ids[1], ids[0], ids[2]]
    assert orders.ahead[0].workers == ["n-1"]
    assert [farm.state(id) for id in ids] == ["WAITING"] * 3
    assert farm.events(ids[0]) == []


@pytest.mark.parametrize("seconds", [1.0, 20.0])
def test_a_node_with_long_runs_is_handed_nothing(farm: Inside, seconds: float) -> None:
    node = Quick(farm, seconds)
    farm.submit()
    assert node.tells().ahead == []


def test_a_node_is_handed_nothing_while_what_short_runs_leave_takes_long_to_end(
    farm: Inside,
) -> None:
    node = Quick(farm, clearing=3.0)
    farm.submit()
    assert node.tells().ahead == []


def test_a_node_whose_runs_go_on_is_handed_nothing(farm: Inside) -> None:
    node = Quick(farm)
    farm.pass_time(1.0)
    farm.submit()
    assert node.tells().ahead == []


def test_what_a_node_gives_back_is_for_workers_that_have_nothing_to_do(farm: Inside) -> None:
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    idle = farm.held(0, node="other")
    assert node.tells(run).ahead == [] == idle
    assert node.tells().ahead == []
    farm.turn(5)

    (orders,) = idle
    assert isinstance(orders, wire.Orders) and [start.job for start in orders.start] == [job]


def test_a_node_that_gives_back_is_soon_handed_nothing(farm: Inside) -> None:
    node = Quick(farm)
    for _ in range(50):
        farm.submit()
    handed = [len(numbers(node.tells())) for _ in range(10)]
    assert handed[0] > 5 and handed[1:] == [0] * 9


def test_nobody_else_gets_what_was_handed_ahead(farm: Inside) -> None:
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    assert farm.told(0, node="other").start == []
    assert node.tells(run).ahead == []
    assert farm.state(job) == "WAITING"


def test_a_run_that_began_and_ended_unasked_is_told_in_one_report(farm: Inside) -> None:
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    farm.pass_time(4.0)
    ends = [End(node.run), End(run, 3, worker="n-1", seconds=2.5, ago=1.0)]
    orders = farm.told(0, ends=ends, logs=[Chunk(run, 0, b"hello\n")], last=run)

    assert orders.ended == [end.run for end in ends]
    assert orders.logs == {run: 6}
    assert farm.state(job) == "ERROR"
    assert "hello\n" in farm.log(job)
    (event,) = farm.events(job)
    assert (event["worker"], event["duration"]) == ("n-1", 2.5)
    assert event["start"] == pytest.approx(farm.clock.seconds() - 3.5, abs=0.1)


def test_a_run_that_has_begun_is_working(farm: Inside) -> None:
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    node.tells(run=run, ends=[End(node.run)])
    assert (farm.state(job), farm.job(job)["worker"]) == ("WORKING", "n-1")


def test_what_a_node_does_not_list_any_more_is_free_at_once(farm: Inside) -> None:
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    node.farm.told(node.run, last=run, leaving=True)
    assert [start.job for start in farm.told(0, node="other").start] == [job]


def test_a_start_that_was_lost_is_sent_again(farm: Inside) -> None:
    node = Quick(farm)
    farm.submit()
    first = node.tells()
    node.last = 0
    assert node.tells().ahead == first.ahead


@pytest.mark.parametrize("order", [Farm.on_pause, Farm.on_delete])
def test_an_order_calls_a_job_back_through_the_held_request(farm: Inside, order: object) -> None:
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    held = farm.held(node.run, ahead=[run], last=run)
    farm.order(order, job)  # type: ignore[arg-type]
    farm.turn(5)
    (orders,) = held
    assert isinstance(orders, wire.Orders) and orders.kill == [run]


def test_a_job_above_that_is_paused_calls_back_what_is_below(farm: Inside) -> None:
    node = Quick(farm)
    group = farm.submit({"title": "group", "children": [{"command": "true"}]})["id"]
    (run,) = numbers(node.tells())
    farm.order(Farm.on_pause, group)
    assert node.tells(run).kill == [run]
    node.tells()
    farm.order(Farm.on_start, group)
    assert len(farm.told(0, node="other").start) == 1


def test_a_job_that_is_edited_is_free_only_when_its_node_has_let_go_of_it(farm: Inside) -> None:
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    farm.do(farm.service.edit_jobs(NOBODY, {job: {"command": "false"}}))
    assert farm.told(0, node="other").start == []
    assert node.tells(run).kill == [run]
    farm.told(node.run, last=run, leaving=True)
    (start,) = farm.told(0, node="other").start
    assert (start.job, start.command) == (job, "false")


def test_a_run_that_began_while_it_was_called_back_is_ended_and_runs_again(farm: Inside) -> None:
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    farm.do(farm.service.edit_jobs(NOBODY, {job: {"command": "false"}}))
    assert node.tells(run=run, ends=[End(node.run)]).kill == [run]
    assert farm.state(job) == "WAITING"
    (start,) = farm.told(0, last=run).start
    assert (start.job, start.command) == (job, "false")


def test_something_of_higher_order_goes_first(farm: Inside) -> None:
    node = Quick(farm)
    late = farm.submit()
    (run,) = numbers(node.tells())
    held = farm.held(node.run, ahead=[run], last=run)
    first = farm.submit(priority=2000)
    farm.turn(5)
    (orders,) = held
    assert isinstance(orders, wire.Orders) and orders.drop == [run]
    assert jobs(node.tells()) == [first, late]


def test_what_has_begun_before_it_was_wanted_back_goes_on(farm: Inside) -> None:
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    farm.submit(priority=2000)
    assert node.tells(run=run, ends=[End(node.run)]).kill == []
    assert farm.state(job) == "WORKING"


def test_an_end_counts_even_if_its_worker_was_given_another_run_meanwhile(farm: Inside) -> None:
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    other = farm.submit()
    (start,) = farm.told(0, ends=[End(node.run)], ahead=[run], last=run).start
    assert start.job == other  # its answer is lost, and the worker takes what it was handed
    orders = farm.told(0, ends=[End(run, worker="n-1", seconds=QUICK)], last=run)
    assert orders.ended == [run] and orders.start == [start]
    assert (farm.state(job), farm.state(other)) == ("FINISHED", "WORKING")


def test_output_of_a_run_whose_turn_has_not_come_is_asked_for_again(farm: Inside) -> None:
    node = Quick(farm)
    farm.submit()
    (run,) = numbers(node.tells())
    orders = farm.told(node.run, ahead=[run], last=run, logs=[Chunk(run, 0, b"early\n")])
    assert orders.logs == {run: 0} and orders.kill == []


def test_an_end_does_not_count_before_all_of_its_log_has_arrived(farm: Inside) -> None:
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    ends = [End(node.run), End(run, worker="n-1", seconds=QUICK)]
    gap = [Chunk(run, 100, b"what was before this is missing")]
    orders = farm.told(0, ends=ends, logs=gap, last=run)
    assert (orders.ended, orders.logs) == ([node.run], {run: 0})
    assert farm.state(job) == "WAITING"
    whole = [Chunk(run, 0, b"all\n")]
    assert farm.told(0, ends=ends[1:], logs=whole, last=run).ended == [run]
    assert farm.state(job) == "FINISHED" and "all\n" in farm.log(job)


def test_ends_behind_one_that_cannot_be_taken_wait_for_it(farm: Inside) -> None:
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    ends = [End(node.run, worker="n-1"), End(run, worker="n-1", seconds=QUICK)]
    gap = [Chunk(node.run, 100, b"what was before this is missing")]
    (orders,) = farm.held(0, ends=ends, logs=gap, last=run)
    assert isinstance(orders, wire.Orders) and orders.ended == []  # and told at once
    assert farm.told(0, ends=ends, last=run).ended == [node.run, run]
    assert farm.state(job) == "FINISHED"


def test_something_of_lower_order_changes_nothing(farm: Inside) -> None:
    node = Quick(farm)
    farm.submit()
    (run,) = numbers(node.tells())
    held = farm.held(node.run, ahead=[run], last=run)
    farm.submit()
    farm.turn(5)
    assert held == []


def test_a_stopped_worker_is_handed_nothing_and_gives_back_what_it_has(farm: Inside) -> None:
    node = Quick(farm)
    farm.submit()
    (run,) = numbers(node.tells())
    farm.do(farm.service.order_workers(NOBODY, Farm.on_stop_workers, ["n-1"]))
    orders = node.tells(run)
    assert sorted(orders.kill) == [node.run, run]
    assert node.tells(run=0).ahead == []


def test_exclusive_jobs_are_not_handed_ahead(farm: Inside) -> None:
    node = Quick(farm)
    farm.submit(exclusive=True)
    assert node.tells().ahead == []


def test_a_silent_node_loses_what_it_was_handed(farm: Inside) -> None:
    node = Quick(farm)
    job = farm.submit()
    node.tells()
    farm.pass_time(61)
    assert job in [start.job for start in farm.told(0, 0, node="other").start]


def test_what_was_handed_ahead_outlives_the_server(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        node = Quick(farm)
        ids = [farm.submit(), farm.submit()]
        runs = numbers(node.tells())
        before = node.run
    with inside(tmp_path) as farm:
        assert farm.told(0, node="other").start == []
        ends = [End(before), End(runs[0], worker="n-1", seconds=QUICK)]
        farm.told(0, ends=ends, last=runs[1])
        assert [farm.state(id) for id in ids] == ["FINISHED", "WORKING"]


def test_a_run_of_another_node_is_nothing_to_keep(farm: Inside) -> None:
    node = Quick(farm)
    farm.submit()
    (run,) = numbers(node.tells())
    assert farm.told(0, node="thief", ahead=[run], last=run).kill == [run]
    assert farm.told(0, node="thief", ends=[End(run, worker="thief-1")], last=run).ended == [run]
    assert node.tells(run).kill == []


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("above", [False, True])
def test_what_is_over_when_its_node_hears_of_a_pause_counts(
    farm: Inside, above: bool, code: int
) -> None:
    node = Quick(farm)
    group = farm.submit({"title": "film", "children": [{"title": "a", "command": "true"}]})["id"]
    ((run,), job) = numbers(node.tells()), group + 1
    paused = group if above else job
    farm.order(Farm.on_pause, paused)
    ends = [End(node.run), End(run, code, worker="n-1", seconds=QUICK)]
    orders = farm.told(0, ends=ends, logs=[Chunk(run, 0, b"done\n")], last=run)

    assert orders.ended == [node.run, run] and "done\n" in farm.log(job)
    assert farm.job(job)["run_done"] == 1
    assert (farm.state(job) == "FINISHED") == (code == 0)
    assert farm.told(0, node="other").start == []


@pytest.mark.parametrize("edit", [{"paused": True}, {"priority": 7}, {"title": "new", "retry": 2}])
@pytest.mark.parametrize("above", [0, 1])
def test_what_is_over_counts_though_its_job_was_edited_in_what_a_run_does_not_depend_on(
    farm: Inside, above: int, edit: dict[str, object]
) -> None:
    node = Quick(farm)
    job = farm.submit({"title": "film", "children": [{"title": "a", "command": "true"}]})["id"] + 1
    (run,) = numbers(node.tells())
    farm.do(farm.service.edit_jobs(NOBODY, {job - above: edit}))
    ends = [End(node.run), End(run, worker="n-1", seconds=QUICK)]
    assert farm.told(0, ends=ends, last=run).ended == [node.run, run]
    assert farm.state(job) == "FINISHED"


def test_stopping_a_worker_discards_no_result_of_another(farm: Inside) -> None:
    node = Quick(farm)
    farm.told(node.run, 0)  # it has two workers
    job = farm.submit()
    farm.submit()
    (first, second) = numbers(node.tells())
    farm.do(farm.service.order_workers(NOBODY, Farm.on_stop_workers, ["n-1"]))
    end = End(first, worker="n-2", seconds=QUICK)
    orders = farm.told(node.run, 0, ends=[end], ahead=[second], last=second)

    assert (farm.state(job), orders.ended) == ("FINISHED", [first])
    assert sorted(orders.kill) == [node.run, second]


def test_a_run_that_stands_behind_another_is_not_gone(farm: Inside) -> None:
    node = Quick(farm)
    job = farm.submit()
    (behind,) = numbers(node.tells())
    farm.told(behind, ends=[End(node.run)], last=behind)
    farm.order(Farm.on_reset, job)
    # A report in which there was no room for the first one's log shows that one again.
    assert farm.told(node.run, ahead=[behind], last=behind).start == []
    assert farm.told(0, node="other").start == []

    assert [start.job for start in farm.told(0, last=behind).start] == [job]
