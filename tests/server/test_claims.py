"""What a node says of runs and times that cannot be so, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from coalition.core.ahead import FURTHEST
from coalition.server.node import MOST_AHEAD
from coalition.server.reports import CLOCK_SET
from coalition.wire import End, Report, Slot
from tests.server.builders import Api, Inside, inside
from tests.server.test_ahead import Quick, jobs, numbers

ABSURD = 2**53


def next_run(farm: Inside) -> int:
    """The number of the run that the next job gets."""
    farm.submit()
    return farm.started("other").run


@pytest.mark.parametrize(
    "said",
    [
        Report("n", [Slot("n-1", last=ABSURD)]),
        Report("n", [Slot("n-1", run=ABSURD)]),
        Report("n", [Slot("n-1")], last=ABSURD),
        Report("n", [Slot("n-1", last=FURTHEST + 1)]),
    ],
)
def test_a_run_number_that_no_database_ever_had_moves_nothing(farm: Inside, said: Report) -> None:
    farm.do(farm.service.report(said, "ip"))

    assert next_run(farm) == 1


@pytest.mark.parametrize(
    "said",
    [
        Report("n", [Slot("n-1", last=7)]),
        Report("n", [Slot("n-1", run=7)]),
        Report("n", [Slot("n-1")], last=7),
    ],
)
def test_runs_are_numbered_on_from_those_that_a_node_knows(farm: Inside, said: Report) -> None:
    farm.do(farm.service.report(said, "ip"))

    assert next_run(farm) == 8


@pytest.mark.parametrize("number", [-1, -0.001, 1e10, 1e400])
@pytest.mark.parametrize("field", ["ago", "seconds"])
def test_a_time_that_no_clock_measures_is_refused(api: Api, field: str, number: float) -> None:
    job = api.put({"command": "true"})
    (start,) = api.report(Report("n", [Slot("n-1")])).start
    body = b'{"node": "n", "workers": [{"name": "n-1"}], "ends": [{"run": %d, "%s": %s}]}'
    text = {1e400: b"1e400"}.get(number, str(number).encode())
    answer = api.ask("POST", "/workers/node", body % (start.run, field.encode(), text))

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert api.get(f"jobs/{job}")["state"] == "WORKING"


@pytest.mark.parametrize(("ago", "seconds"), [(0.0, 5.0), (2.0, 3.0), (100.0, 0.0), (1e9, 0.0)])
def test_a_run_is_not_over_before_it_has_begun(farm: Inside, ago: float, seconds: float) -> None:
    job = farm.submit()
    run = farm.started().run
    begun = farm.job(job)["start_time"]
    farm.pass_time(5.0)
    farm.told(0, ends=[End(run, worker="n-1", ago=ago)])

    (event,) = farm.events(job)
    assert (event["start"], event["duration"]) == (begun, pytest.approx(seconds, abs=0.01))
    assert farm.job(job)["duration"] == event["duration"]


def test_a_start_on_its_way_to_a_node_that_leaves_is_given_back_and_run_elsewhere(
    farm: Inside,
) -> None:
    held = farm.held(0)
    job = farm.submit()
    farm.turn(5)
    (start,) = held[0].start  # type: ignore[union-attr]

    (again,) = farm.told(0, leaving=True).start  # the node has not received that yet
    assert again.run == start.run
    ends = [End(start.run, again=True, worker="n-1")]
    orders = farm.told(0, leaving=True, ends=ends)
    assert (orders.ended, orders.start, farm.state(job)) == ([start.run], [], "WAITING")
    elsewhere = farm.started("other")
    farm.told(0, node="other", ends=[End(elsewhere.run, worker="other-1")])
    assert (elsewhere.job, farm.state(job), farm.job(job)["run_done"]) == (job, "FINISHED", 1)


def test_a_run_did_not_take_much_longer_than_it_was_there(farm: Inside) -> None:
    job = farm.submit()
    run = farm.started().run
    farm.pass_time(5.0)
    farm.told(0, ends=[End(run, worker="n-1", seconds=1e9)])

    assert 5.0 <= farm.job(job)["duration"] <= 5.1 + CLOCK_SET


@pytest.mark.parametrize("seconds", [5e-324, 1e-320, 1e-9])
def test_a_node_whose_runs_take_next_to_no_time_is_handed_no_more_than_others(
    farm: Inside, seconds: float
) -> None:
    ids = farm.submit([{"command": "true"}] * (MOST_AHEAD + 1))
    node = Quick(farm, seconds)

    assert jobs(node.tells()) == ids[:MOST_AHEAD]


@pytest.mark.parametrize(("ago", "seconds"), [(1e9, 1e9), (1e9, 0.0), (0.0, 1e9)])
def test_a_run_that_was_handed_ahead_began_after_that(
    farm: Inside, ago: float, seconds: float
) -> None:
    node = Quick(farm)
    job = farm.submit()
    now = farm.clock.seconds()
    (run,) = numbers(node.tells())
    farm.pass_time(5.0)
    ends = [End(node.run, worker="n-1"), End(run, worker="n-1", ago=ago, seconds=seconds)]
    farm.told(0, ends=ends, last=run)

    (event,) = farm.events(job)
    assert now - 0.01 <= event["start"] <= now + 5.1
    assert 0 <= event["duration"] <= 5.1 + CLOCK_SET


def test_a_run_from_before_a_restart_has_a_start_whatever_its_node_says(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        node = Quick(farm)
        job = farm.submit()
        (run,) = numbers(node.tells())
    with inside(tmp_path) as farm:
        farm.told(0, ends=[End(run, worker="n-1", ago=1e9, seconds=1e9)], last=run)
        assert farm.job(job)["start_time"] > 0
