"""Logs of runs that were handed ahead, on a disk that takes nothing when their ends come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coalition import wire
from coalition.core.farm import Farm
from coalition.server.auth import NOBODY
from coalition.wire import Chunk, End
from tests.server.builders import Inside, report
from tests.server.test_ahead import QUICK, Quick, numbers

HELLO = b"hello\n"


@contextmanager
def full_disk(farm: Inside) -> Iterator[None]:
    """Have the folder of the logs take nothing; the server has not noticed that yet."""
    folder = Path(farm.logs.path(1)).parent
    away = folder.rename(folder.with_name("away"))
    assert farm.logs.trouble is None
    yield
    away.rename(folder)


def handed_ahead(farm: Inside, **fields: object) -> tuple[int, int, wire.Start]:
    """Hand a job ahead to a node, and give another one to its worker, which does not get that.

    Gives the run that was handed ahead, its job, and what the worker was given.
    """
    node = Quick(farm)
    job = farm.submit(**fields)
    (run,) = numbers(node.tells())
    farm.submit()
    (start,) = farm.told(0, ends=[End(node.run)], ahead=[run], last=run).start
    return run, job, start


def told(farm: Inside, *has: int, end: End, log: bytes = HELLO) -> wire.Orders:
    """What a node is told that brings an end and all of its log, after it had to wait."""
    said = report(*has, ends=[end], logs=[Chunk(end.run, 0, log)], last=end.run)
    answers = farm.begin(farm.service.report(said, "ip"))
    farm.pass_time(2.0)
    (orders,) = answers
    assert isinstance(orders, wire.Orders)
    farm.farm.check_invariants()
    return orders


@pytest.mark.parametrize("received", [False, True])
def test_an_end_counts_only_with_its_log_although_its_worker_has_another_run(
    farm: Inside, received: bool
) -> None:
    run, job, start = handed_ahead(farm)
    has, end = start.run * received, End(run, worker="n-1", seconds=QUICK)
    farm.told(has, ahead=[run], last=run)
    with full_disk(farm):
        for _ in range(2):
            orders = told(farm, has, end=end)
            assert orders.ended == [] and orders.logs.get(run, 0) == 0
            assert (farm.state(job), farm.state(start.job)) == ("WAITING", "WORKING")

    orders = told(farm, has, end=end)
    assert (orders.ended, orders.logs) == ([run], {run: len(HELLO)})
    assert (farm.state(job), farm.state(start.job)) == ("FINISHED", "WORKING")
    head, hello, tail = farm.log(job).splitlines()
    assert (head.split(" at ")[0], hello) == (f"* RUN {run} on n-1", "hello")
    assert f"* RUN {run} FINISHED at " in tail


def test_its_log_names_the_worker_that_had_it_and_not_the_one_it_was_meant_for(
    farm: Inside,
) -> None:
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    farm.told(node.run, 0, ahead=[run], last=run)
    end = End(run, worker="n-2", seconds=QUICK)
    with full_disk(farm):
        assert told(farm, node.run, 0, end=end).ended == []

    assert told(farm, node.run, 0, end=end).ended == [run]
    assert farm.log(job).startswith(f"* RUN {run} on n-2 at ")
    assert farm.job(job)["worker"] == "n-2"


def test_a_job_that_is_edited_before_its_log_was_taken_has_not_run(farm: Inside) -> None:
    run, job, start = handed_ahead(farm)
    end = End(run, worker="n-1", seconds=QUICK)
    with full_disk(farm):
        told(farm, 0, end=end)
        farm.do(farm.service.edit_jobs(NOBODY, {job: {"command": "false"}}))
    assert told(farm, 0, end=end).ended == [run]

    assert (farm.state(job), farm.log(job)) == ("WAITING", "")
    assert farm.logs._sections.keys() == {start.run}
    assert [one.job for one in farm.told(0, node="other").start] == [job]


def test_how_far_a_run_came_is_known_although_it_was_over_when_the_server_heard_of_it(
    farm: Inside,
) -> None:
    run, job, _ = handed_ahead(farm, globalprogress="P:%percent")
    end = End(run, 3, worker="n-1", seconds=QUICK)

    assert told(farm, 0, end=end, log=b"P:40\n").ended == [run]
    assert (farm.state(job), farm.job(job)["progress"]) == ("ERROR", 0.4)


def test_the_end_of_a_run_that_was_called_back_comes_before_its_log_and_counts_with_it(
    farm: Inside,
) -> None:
    run, job, _ = handed_ahead(farm)
    end = End(run, worker="n-1", seconds=QUICK, size=3 * len(HELLO))
    farm.order(Farm.on_pause, job)
    for have in (1, 2):
        part = Chunk(run, (have - 1) * len(HELLO), HELLO)
        orders = farm.told(0, ends=[end], logs=[part], last=run)
        assert (orders.ended, orders.logs) == ([], {run: have * len(HELLO)})
        assert farm.state(job) == "PAUSED"

    orders = farm.told(0, ends=[end], logs=[Chunk(run, 2 * len(HELLO), HELLO)], last=run)
    assert (orders.ended, farm.state(job)) == ([run], "FINISHED")
    assert farm.log(job).splitlines()[1:-1] == ["hello"] * 3


def test_nobody_waits_for_the_log_of_a_run_that_does_not_count(farm: Inside) -> None:
    run, job, _ = handed_ahead(farm)
    farm.do(farm.service.edit_jobs(NOBODY, {job: {"command": "false"}}))
    end = End(run, worker="n-1", seconds=QUICK, size=3 * len(HELLO))
    orders = farm.told(0, ends=[end], logs=[Chunk(run, 0, HELLO)], last=run)
    assert (orders.ended, farm.state(job), farm.log(job)) == ([run], "WAITING", "")


def test_what_a_log_has_lost_on_the_server_is_asked_for_before_the_end_counts(
    farm: Inside,
) -> None:
    job = farm.submit()
    run = farm.started().run
    end = End(run, worker="n-1", size=2 * len(HELLO))
    farm.told(run, logs=[Chunk(run, 0, HELLO)])
    orders = farm.told(0, ends=[end])
    assert (orders.ended, orders.logs) == ([], {run: len(HELLO)})
    assert farm.told(0, ends=[end], logs=[Chunk(run, len(HELLO), HELLO)]).ended == [run]
    assert farm.state(job) == "FINISHED"
