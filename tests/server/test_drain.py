"""Workers that take no more: drained ones leave when they are done, paused ones stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coalition import wire
from coalition.core.farm import Farm
from coalition.server.auth import NOBODY
from coalition.wire import End
from tests.server.builders import Api, Inside, inside, report
from tests.server.test_ahead import Quick, numbers


def shown(farm: Inside, name: str = "n-1") -> dict[str, Any]:
    workers = farm.workers()
    return next(one for one in workers if one["name"] == name)


def drain(farm: Inside, *names: str) -> None:
    farm.do(farm.service.order_workers(NOBODY, Farm.on_drain_workers, list(names)))


def pause(farm: Inside, *names: str) -> None:
    farm.do(farm.service.order_workers(NOBODY, Farm.on_pause_workers, list(names)))


def test_a_drained_worker_finishes_what_it_runs_and_gets_nothing_more(farm: Inside) -> None:
    job, next_ = farm.submit(), farm.submit()
    run = farm.started().run
    drain(farm, "n-1")
    orders = farm.told(run)
    assert (orders.drain, orders.kill, orders.start) == (["n-1"], [], [])
    assert farm.told(0, ends=[End(run)]).start == []
    assert (farm.state(job), farm.state(next_)) == ("FINISHED", "WAITING")


def test_a_paused_worker_finishes_what_it_runs_and_is_not_told_to_leave(farm: Inside) -> None:
    job, next_ = farm.submit(), farm.submit()
    run = farm.started().run
    pause(farm, "n-1")
    orders = farm.told(run)
    assert (orders.drain, orders.kill) == ([], [])
    assert farm.told(0, ends=[End(run)]).start == []
    assert (farm.state(job), farm.state(next_)) == ("FINISHED", "WAITING")
    assert not shown(farm)["active"] and not shown(farm)["draining"]


def test_a_node_that_waits_may_ask_again_at_once_and_is_told_of_the_drain(farm: Inside) -> None:
    held = farm.held(0, 0)
    drain(farm, "n-2")
    farm.turn(5)
    assert len(held) == 1
    orders = farm.told(0, 0)
    assert (orders.drain, orders.kill, orders.start) == (["n-2"], [], [])


def test_a_worker_that_rests_already_is_not_told_again_and_again(farm: Inside) -> None:
    farm.told(0)
    drain(farm, "n-1")
    resting = wire.Report("n", [wire.Slot("n-1", resting=True)], wait=15)
    held = farm.begin(farm.service.report(resting, "ip"))
    farm.turn(5)
    assert held == []
    farm.pass_time(16)
    (orders,) = held
    assert isinstance(orders, wire.Orders) and orders.drain == ["n-1"]


def test_only_the_drained_one_of_two_workers_gets_nothing(farm: Inside) -> None:
    farm.told(0, 0)
    drain(farm, "n-1")
    farm.submit()
    farm.submit()
    assert [start.worker for start in farm.told(0, 0).start] == ["n-2"]


def test_a_drained_worker_that_has_left_is_terminated_and_not_lost(farm: Inside) -> None:
    farm.told(0)
    drain(farm, "n-1")
    farm.told(0, leaving=True)
    farm.pass_time(120)
    worker = shown(farm)
    assert (worker["state"], worker["error"]) == ("TERMINATED", 0)


def test_one_that_comes_back_stays_without_jobs_until_it_is_started(farm: Inside) -> None:
    job = farm.submit(affinity="GPU")
    farm.told(0)
    drain(farm, "n-1")
    farm.told(0, leaving=True)
    farm.do(farm.service.edit_workers(NOBODY, {"n-1": {"affinity": "GPU"}}))

    orders = farm.told(0)
    assert (orders.drain, orders.start, shown(farm)["state"]) == ([], [], "WAITING")
    farm.do(farm.service.order_workers(NOBODY, Farm.on_start_workers, ["n-1"]))
    assert [start.job for start in farm.told(0).start] == [job]


@pytest.mark.parametrize("order", [drain, pause])
def test_starting_a_worker_lifts_it_while_its_request_is_held(farm: Inside, order: Any) -> None:
    farm.told(0)
    order(farm, "n-1")
    farm.submit()
    resting = wire.Report("n", [wire.Slot("n-1", resting=True)], wait=15)
    held = farm.begin(farm.service.report(resting, "ip"))
    farm.do(farm.service.order_workers(NOBODY, Farm.on_start_workers, ["n-1"]))
    farm.turn(5)
    assert len(held) == 1
    orders = farm.told(0)
    assert (orders.drain, len(orders.start)) == ([], 1)


@pytest.mark.parametrize("order", [drain, pause])
def test_what_was_handed_ahead_comes_back(farm: Inside, order: Any) -> None:
    node = Quick(farm)
    farm.submit()
    (run,) = numbers(node.tells())
    order(farm, "n-1")
    orders = node.tells(run)
    assert (orders.drop, orders.ahead) == ([run], [])


def test_a_drain_outlives_the_server(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        farm.told(0)
        drain(farm, "n-1")
    with inside(tmp_path) as farm:
        assert farm.told(0).drain == ["n-1"]
        assert shown(farm)["draining"]


@pytest.mark.parametrize("path", ["drainworkers", "pauseworkers"])
def test_the_rest_api_takes_names_and_refuses_unknown_ones_as_a_whole(api: Api, path: str) -> None:
    api.report(report(0, 0))
    answer = api.ask("POST", f"/api/{path}", ["n-1", "nobody"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_worker")
    assert all(worker["active"] for worker in api.get("workers"))
    assert api.post(path, ["n-1"]) == 1
    active = {worker["name"]: bool(worker["active"]) for worker in api.get("workers")}
    assert active == {"n-1": False, "n-2": True}


def test_the_computer_of_a_worker_is_shown(farm: Inside) -> None:
    host = wire.Host("box", "Linux 6.1", cores=8, memory=32_000, version="5.0.0")
    farm.told(0, host=host)
    farm.told(0)
    worker = shown(farm)
    told = {name: worker[name] for name in ("host", "os", "cores", "memory", "version")}
    assert told == {"host": "box", "os": "Linux 6.1", "cores": 8, "memory": 32_000,
                    "version": "5.0.0"}  # fmt: skip


def test_a_computer_that_has_changed_is_shown_as_it_is_now(farm: Inside) -> None:
    farm.told(0, host=wire.Host("box", cores=8))
    farm.told(0, host=wire.Host("box", cores=16))
    assert (shown(farm)["host"], shown(farm)["cores"]) == ("box", 16)
