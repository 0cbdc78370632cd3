"""A run that was taken back keeps its job from others until its process is gone, in any case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from coalition.core.farm import Farm
from coalition.server.auth import NOBODY
from coalition.store.schema import endings
from coalition.wire import End, Orders, Report, Slot
from tests.server.builders import Inside, inside
from tests.server.test_ahead import QUICK, Quick, numbers


def delete_worker(farm: Inside) -> None:
    farm.do(farm.service.order_workers(NOBODY, Farm.on_delete_workers, ["n-1"]))


def reset_job(farm: Inside) -> None:
    farm.order(Farm.on_reset, 1)


@pytest.mark.parametrize("order", [delete_worker, reset_job])
def test_the_job_of_a_run_that_is_being_ended_waits_for_that(farm: Inside, order: object) -> None:
    farm.submit()
    run = farm.started().run
    order(farm)  # type: ignore[operator]
    assert farm.told(0, node="other").start == []
    assert farm.told(run).kill == [run]
    assert farm.told(0, node="other").start == []
    farm.told(0, leaving=True)

    assert [start.job for start in farm.told(0, node="other").start] == [1]


@pytest.mark.parametrize("order", [delete_worker, reset_job])
def test_so_it_does_across_a_restart_of_the_server(tmp_path: Path, order: object) -> None:
    with inside(tmp_path) as farm:
        farm.submit()
        run = farm.started().run
        order(farm)  # type: ignore[operator]
    with inside(tmp_path) as farm:
        assert farm.told(0, node="other").start == []
        assert farm.told(run, last=run).kill == [run]
    with inside(tmp_path) as farm:
        assert farm.told(0, node="other").start == []
        assert farm.told(0).kill == [run]
        farm.told(0, unknown=[run], leaving=True)
        assert [start.job for start in farm.told(0, node="other").start] == [1]


@pytest.mark.parametrize("order", [delete_worker, reset_job])
def test_a_node_that_does_not_come_back_is_given_up_after_its_timeout(
    tmp_path: Path, order: object
) -> None:
    with inside(tmp_path) as farm:
        farm.submit()
        farm.started()
        order(farm)  # type: ignore[operator]
    with inside(tmp_path, timeout=60) as farm:
        farm.pass_time(59)
        assert farm.told(0, node="other").start == []
        farm.pass_time(2)
        assert [start.job for start in farm.told(0, node="other").start] == [1]


def test_what_was_handed_ahead_to_a_deleted_worker_waits_for_its_node(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        farm.told(0)
        job = farm.submit()
        run = farm.farm.on_reserve(farm.farm.workers["n-1"], farm.clock.seconds())
        assert run is not None
        delete_worker(farm)
    with inside(tmp_path) as farm:
        assert farm.told(0, node="other").start == []
        assert farm.told(0, ahead=[run.id], last=run.id).kill == [run.id]
        farm.told(0, last=run.id, leaving=True)
        assert [start.job for start in farm.told(0, node="other").start] == [job]
        with farm.store.reading() as connection:
            assert list(connection.execute(select(endings))) == []


def four_oh(farm: Inside) -> None:
    assert farm.do(farm.service.pick("n-1", "ip", ("", 0, 0))) is None


def another_node(farm: Inside) -> None:
    farm.do(farm.service.report(Report("m", [Slot("n-1")]), "ip"))


@pytest.mark.parametrize("speak", [four_oh, another_node])
def test_nor_has_it_to_do_with_another_worker_of_that_name(
    tmp_path: Path, speak: Callable[[Inside], None]
) -> None:
    with inside(tmp_path) as farm:
        farm.told(0)
        job = farm.submit()
        assert farm.farm.on_reserve(farm.farm.workers["n-1"], farm.clock.seconds()) is not None
        delete_worker(farm)
    with inside(tmp_path) as farm:
        speak(farm)
    with inside(tmp_path) as farm:
        for _ in range(59):
            speak(farm)
            farm.pass_time(1)
        assert farm.told(0, node="other").start == []
        farm.pass_time(2)
        assert [start.job for start in farm.told(0, node="other").start] == [job]


def test_nobody_is_given_up_before_the_lease_that_an_earlier_server_gave_is_over(
    tmp_path: Path,
) -> None:
    with inside(tmp_path, timeout=60) as farm:
        farm.submit(exclusive=True)
        run = farm.started().run
    with inside(tmp_path, timeout=6) as farm:
        farm.told(run)
        farm.pass_time(58)
        assert farm.told(0, node="other").start == []
        farm.pass_time(7)
        assert [start.job for start in farm.told(0, node="other").start] == [1]


def test_nor_if_the_server_is_started_once_more_before_it_is_over(tmp_path: Path) -> None:
    with inside(tmp_path, timeout=60) as farm:
        farm.submit(exclusive=True)
        farm.started()
    with inside(tmp_path, timeout=6) as farm:
        farm.pass_time(7)
    with inside(tmp_path, timeout=6) as farm:
        farm.pass_time(7)
        assert farm.told(0, node="other").start == []


def test_a_lease_that_is_over_counts_no_more_when_the_server_is_started_again(
    tmp_path: Path,
) -> None:
    with inside(tmp_path, timeout=60) as farm:
        farm.submit(exclusive=True)
        farm.started()
    with inside(tmp_path, timeout=6) as farm:
        farm.pass_time(61)
        assert [start.job for start in farm.told(0, node="other").start] == [1]
    with inside(tmp_path, timeout=6) as farm:
        farm.pass_time(7)
        assert [start.job for start in farm.told(0).start] == [1]


def test_a_node_that_ends_a_run_is_held_until_there_is_news_for_others(farm: Inside) -> None:
    first, second = farm.submit(), farm.submit()
    runs = {start.job: start.run for start in farm.told(0, 0).start}
    both = runs[first], runs[second]
    farm.told(*both)
    farm.order(Farm.on_pause, first)
    assert farm.told(*both).kill == [both[0]]

    held = farm.held(*both, ending=[both[0]])
    farm.turn(5)
    assert held == []
    farm.order(Farm.on_pause, second)
    farm.turn(5)
    (orders,) = held
    assert isinstance(orders, Orders) and orders.kill == [both[1]]


def test_what_an_edited_job_was_to_do_is_not_done_after_a_restart_of_the_server(
    tmp_path: Path,
) -> None:
    with inside(tmp_path) as farm:
        node = Quick(farm)
        job = farm.submit()
        (run,) = numbers(node.tells())
        farm.do(farm.service.edit_jobs(NOBODY, {job: {"command": "false"}}))
    with inside(tmp_path) as farm:
        ends = [End(node.run, worker="n-1"), End(run, worker="n-1", seconds=QUICK)]
        assert farm.told(0, ends=ends, last=run).ended == [node.run, run]
        assert farm.state(job) == "WORKING"  # again, as it is to be now
        (event,) = farm.events(job)
        assert event["id"] > run


def test_a_start_that_is_on_its_way_across_a_restart_of_the_server_is_sent_again(
    tmp_path: Path,
) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit()
        (start,) = farm.told(0, session="one").start
    with inside(tmp_path) as farm:
        assert farm.told(0, session="one", number=1).start == [start]
        assert farm.state(job) == "WORKING"
    with inside(tmp_path) as farm:
        (other,) = farm.told(0, session="two", previous=["one"]).start
        assert other.job == job and other.run > start.run
