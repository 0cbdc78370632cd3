"""Two computers of one name: the one that is at work goes on, the other is told why it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coalition import wire
from coalition.errors import BadRequest, NameTaken
from coalition.server.node import SILENCE
from coalition.server.nodes import RETURN
from tests.server.builders import Inside, inside


def works(farm: Inside, session: str = "one", **fields: Any) -> int:
    """A node has a job; give its run."""
    farm.submit(command="sleep 60")
    (start,) = farm.told(0, session=session, **fields).start
    farm.told(start.run, session=session, number=1, **fields)
    return start.run


def test_a_node_with_the_name_of_another_is_refused_and_nothing_is_lost(farm: Inside) -> None:
    run = works(farm)
    with pytest.raises(NameTaken, match="'n-1' is at work at ip"):
        farm.told(0, session="two")

    assert farm.told(run, session="one", number=2).kill == []
    assert farm.state(1) == "WORKING"


def test_a_worker_with_the_name_of_another_nodes_is_refused(farm: Inside) -> None:
    works(farm)
    other = wire.Report("other", [wire.Slot("n-1")], session="two")
    with pytest.raises(NameTaken):
        farm.do(farm.service.report(other, "elsewhere"))


def test_the_node_itself_comes_back_at_once(farm: Inside) -> None:
    works(farm)
    farm.told(0, session="two", previous=["zero", "one"])
    assert farm.state(1) == "WORKING", "the next worker.py has its job again"
    with pytest.raises(NameTaken):
        farm.told(0, session="one", number=5)


def test_a_held_request_shows_that_a_node_is_at_work(farm: Inside) -> None:
    held = farm.held(0, session="one")
    farm.pass_time(SILENCE + 1)
    assert held == []
    with pytest.raises(NameTaken):
        farm.told(0, session="two")


@pytest.mark.parametrize("leaves", [True, False])
def test_the_name_is_free_when_its_node_has_left_or_is_silent(farm: Inside, leaves: bool) -> None:
    farm.told(0, session="one")
    if leaves:
        farm.told(0, session="one", number=1, leaving=True)
    else:
        farm.pass_time(SILENCE)
    farm.told(0, session="two")
    with pytest.raises(NameTaken):
        farm.told(0, session="one", number=2)


def test_after_a_restart_of_the_server_the_node_that_had_the_name_has_time_to_speak(
    tmp_path: Path,
) -> None:
    with inside(tmp_path) as farm:
        run = works(farm)
    with inside(tmp_path) as farm:
        farm.pass_time(RETURN)
        with pytest.raises(NameTaken):
            farm.told(0, session="two")
        assert farm.told(run, session="one", number=7).kill == []
        assert farm.state(1) == "WORKING"


def test_an_old_worker_with_the_name_of_a_new_one_gets_nothing_and_disturbs_nothing(
    farm: Inside,
) -> None:
    run = works(farm)
    farm.submit()
    load = ("[0]", 0, 0)
    assert farm.do(farm.service.pick("n-1", "elsewhere", load)) is None
    assert farm.do(farm.service.heartbeat("n-1", "elsewhere", load, 1, b"hello")) is False
    farm.do(farm.service.end("n-1", "elsewhere", 1, 1))

    assert farm.told(run, session="one", number=2).kill == []
    assert (farm.state(1), farm.log(1)) == ("WORKING", farm.log(1).replace("hello", ""))


def test_a_new_worker_with_the_name_of_an_old_one_at_work_is_refused(farm: Inside) -> None:
    farm.submit()
    load = ("[0]", 0, 0)
    start = farm.do(farm.service.pick("n-1", "old", load))
    assert start is not None
    with pytest.raises(NameTaken, match="at work at old"):
        farm.told(0, session="one")
    farm.do(farm.service.end("n-1", "old", 1, 0))
    farm.pass_time(SILENCE)
    farm.told(0, session="one")


def test_a_stranger_waits_until_what_a_silent_node_had_is_lost(farm: Inside) -> None:
    works(farm)
    farm.pass_time(59)
    with pytest.raises(NameTaken):
        farm.told(0, session="two")
    assert farm.do(farm.service.pick("n-1", "elsewhere", ("[0]", 0, 0))) is None
    farm.pass_time(2)

    assert [start.job for start in farm.told(0, session="two").start] == [1]


def test_a_refused_node_is_told_to_end_what_is_no_run_any_more(farm: Inside) -> None:
    run = works(farm)
    farm.pass_time(61)
    farm.told(0, session="two")
    with pytest.raises(NameTaken) as refusal:
        farm.told(run, session="one", number=2)
    assert refusal.value.detail["kill"] == [run]


def test_the_copy_of_a_node_at_work_is_refused(farm: Inside) -> None:
    held = farm.held(0, session="one")
    with pytest.raises(NameTaken):
        farm.told(0, session="two", previous=["one"])
    assert held == []


def test_a_worker_that_the_node_had_before_does_not_stand_in_its_way(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        farm.told(0, 0, 0, session="one")
        farm.told(0, session="one", number=1, leaving=True)
        farm.pass_time(100)
        run = works(farm, "two")
    with inside(tmp_path) as farm:
        assert farm.told(run, session="two", number=9).kill == []
        assert farm.state(1) == "WORKING"


def test_two_workers_of_one_name_in_one_report_are_refused(farm: Inside) -> None:
    with pytest.raises(BadRequest, match="same name"):
        farm.do(farm.service.report(wire.Report("n", [wire.Slot("a"), wire.Slot("a")]), "ip"))
    assert farm.farm.workers == {}


def test_after_the_timeout_was_shortened_a_stranger_waits_for_as_long_as_nodes_count_on(
    tmp_path: Path,
) -> None:
    with inside(tmp_path, timeout=600) as farm:
        works(farm)
    with inside(tmp_path, timeout=60) as farm:
        farm.pass_time(590)
        with pytest.raises(NameTaken):
            farm.told(0, session="two")
        farm.pass_time(20)
        farm.farm.on_tick(farm.clock.seconds())
        assert [start.job for start in farm.told(0, session="two").start] == [1]
