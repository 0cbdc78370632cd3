"""Protocol 2: what a node reports, what it is told, and what repeating does."""

from __future__ import annotations

from pathlib import Path

import pytest

from coalition import wire
from coalition.core.farm import Farm
from coalition.server.auth import NOBODY
from coalition.wire import Chunk, End
from tests.server.builders import Inside, inside


def starts(orders: object) -> list[int]:
    assert isinstance(orders, wire.Orders)
    return [start.job for start in orders.start]


def test_a_held_request_is_answered_when_a_job_is_submitted(farm: Inside) -> None:
    held = farm.held(0)
    farm.turn(5)
    assert held == []
    job = farm.submit(command="echo hello", dir="/tmp", user="ada", environment="A=1")
    farm.turn(5)

    (orders,) = held
    assert isinstance(orders, wire.Orders)
    (start,) = orders.start
    assert start == wire.Start("n-1", start.run, job, "echo hello", "/tmp", "ada", "A=1")
    assert farm.state(job) == "WORKING"


def test_jobs_that_wait_are_given_at_once_one_to_each_idle_worker(farm: Inside) -> None:
    jobs = [farm.submit() for _ in range(3)]

    orders = farm.told(0, 0)
    assert [(s.worker, s.job) for s in orders.start] == [("n-1", jobs[0]), ("n-2", jobs[1])]
    assert farm.state(jobs[2]) == "WAITING"


def test_a_held_request_without_news_is_answered_when_its_wait_is_over(farm: Inside) -> None:
    held = farm.held(0)
    farm.clock.advance(14.9)
    assert held == []
    farm.clock.advance(0.2)

    assert held == [wire.Orders(wait=farm.nodes.longest_wait)]


def test_no_request_is_held_so_long_that_its_workers_would_be_lost(tmp_path: Path) -> None:
    with inside(tmp_path, timeout=3) as farm:
        held = farm.held(0)
        farm.clock.advance(1)
        (orders,) = held

        assert isinstance(orders, wire.Orders)
        assert orders.wait <= 1


def test_a_newer_request_takes_the_place_of_a_held_one(farm: Inside) -> None:
    old = farm.held(0, session="s", number=1)
    new = farm.held(0, session="s", number=2)
    assert len(old) == 1 and starts(old[0]) == [] and new == []
    job = farm.submit()
    farm.turn(5)

    assert starts(new[0]) == [job]


def test_a_request_that_was_overtaken_is_passed_over(farm: Inside) -> None:
    job = farm.submit()
    (start,) = farm.told(0, session="s", number=1).start
    farm.told(start.run, session="s", number=3)
    late = farm.told(0, session="s", number=2)

    assert (late.start, late.kill, farm.state(job)) == ([], [], "WORKING")


def test_a_node_that_was_started_anew_counts_from_the_beginning(farm: Inside) -> None:
    job = farm.submit()
    farm.told(0, session="old", number=100)
    orders = farm.told(0, session="new", previous=["old"], number=0)

    assert starts(orders) == [job]


def test_a_start_whose_answer_was_lost_is_sent_again_with_the_same_run(farm: Inside) -> None:
    farm.submit()
    first = farm.told(0).start
    assert farm.told(0).start == first
    (start,) = first
    assert farm.told(start.run).start == []

    assert [run.id for run in farm.farm.runs.values()] == [start.run]


def test_a_node_that_has_hung_up_gets_the_job_with_its_next_request(farm: Inside) -> None:
    farm.held(0, session="s", number=1)
    farm.nodes.drop(wire.Report("n", [wire.Slot("n-1")], session="s", number=1))
    job = farm.submit()
    farm.turn(5)
    assert farm.state(job) == "WAITING"

    assert starts(farm.told(0, session="s", number=2)) == [job]


def test_an_end_is_safe_when_it_is_answered_and_repeating_it_is_harmless(farm: Inside) -> None:
    job = farm.submit(retry=3)
    run = farm.started().run
    for _ in range(2):
        orders = farm.told(run, ends=[End(run, 1)])
        assert (orders.ended, orders.kill) == ([run], [])
        assert farm.job(job)["run_done"] == 1

    assert farm.state(job) == "WAITING"


def test_an_end_frees_the_worker_for_the_next_job_in_the_same_answer(farm: Inside) -> None:
    farm.submit()
    second = farm.submit()
    run = farm.started().run
    orders = farm.told(0, ends=[End(run)])

    assert (orders.ended, starts(orders)) == ([run], [second])


def test_a_run_that_the_node_had_to_end_itself_is_tried_again(farm: Inside) -> None:
    job = farm.submit()
    run = farm.started().run
    orders = farm.told(0, ends=[End(run, -15, again=True)], leaving=True)

    shown = farm.job(job)
    assert (orders.ended, orders.start) == ([run], [])
    assert (shown["state"], shown["run_done"]) == ("WAITING", 0)


@pytest.mark.parametrize("run", [7, 2**62])
def test_words_about_runs_that_nobody_knows_change_nothing(farm: Inside, run: int) -> None:
    job = farm.submit()
    orders = farm.told(run, ends=[End(run + 1)], logs=[Chunk(run + 2, 10, b"hello")])

    assert orders.kill == [run]
    assert (orders.ended, orders.logs) == ([run + 1], {run + 2: 15})
    assert farm.state(job) == "WAITING"


def test_a_node_cannot_end_or_write_the_run_of_another_one(farm: Inside) -> None:
    job = farm.submit()
    run = farm.started().run
    before = farm.log(job)
    orders = farm.told(run, node="other", ends=[End(run, 1)], logs=[Chunk(run, 0, b"x")])

    assert orders.logs == {run: 1}
    assert (farm.state(job), farm.log(job)) == ("WORKING", before)
    assert farm.told(run).kill == []


# --- logs -------------------------------------------------------------------------------------


def written(farm: Inside, job: int) -> str:
    return "".join(farm.log(job).splitlines(True)[1:])


def test_chunks_of_a_log_are_written_once_however_often_they_come(farm: Inside) -> None:
    job = farm.submit()
    run = farm.started().run
    for chunk in (Chunk(run, 0, b"one "), Chunk(run, 0, b"one "), Chunk(run, 2, b"e two")):
        farm.told(run, logs=[chunk])
    orders = farm.told(run, logs=[Chunk(run, 6, b"o\n"), Chunk(run, 8, b"end\n")])

    assert orders.logs == {run: 12}
    assert written(farm, job) == "one two\nend\n"


def test_a_gap_in_a_log_is_answered_with_what_is_there(farm: Inside) -> None:
    job = farm.submit()
    run = farm.started().run
    assert farm.told(run, logs=[Chunk(run, 0, b"abc")]).logs == {run: 3}
    assert farm.told(run, logs=[Chunk(run, 5, b"fgh")]).logs == {run: 3}
    assert farm.told(run, logs=[Chunk(run, 3, b"defgh")]).logs == {run: 8}

    assert written(farm, job) == "abcdefgh"


def test_a_log_goes_on_where_it_was_after_a_sudden_end_of_the_server(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit(progress_pattern="P:%percent")
        run = farm.started().run
        farm.told(run, logs=[Chunk(run, 0, b"P:10\nha")])
    with inside(tmp_path) as farm:
        assert farm.told(run, logs=[Chunk(run, 0, b"P:10\nhalf P:")]).logs == {run: 12}
        orders = farm.told(run, logs=[Chunk(run, 12, b"50\n")])
        assert (orders.kill, orders.logs) == ([], {run: 15})
        farm.told(0, ends=[End(run)])

        head, *lines, tail = farm.log(job).splitlines()
        assert lines == ["P:10", "half P:50"]
        assert "n-1" in head and "true" in head and "exit code 0" in tail


def test_each_run_has_a_head_and_a_tail_in_the_log(farm: Inside) -> None:
    job = farm.submit(command="make film\nmake sound", retry=1)
    for code, text in ((3, b"no newline"), (0, b"")):
        run = farm.started().run
        farm.told(0, logs=[Chunk(run, 0, text)] if text else [], ends=[End(run, code)])
        farm.turn(3)

    first, text_, end, second, last = farm.log(job).splitlines()
    assert "on n-1 at" in first and "make film" in first and "make sound" in first
    assert (text_, "exit code 3" in end, "ERROR" in end) == ("no newline", True, True)
    assert "on n-1 at" in second and "exit code 0" in last and "FINISHED" in last


def test_progress_is_read_from_the_log_and_shown(farm: Inside) -> None:
    job = farm.submit(globalprogress="frame %percent", localprogress="sample %one")
    run = farm.started().run
    farm.told(run, logs=[Chunk(run, 0, b"frame 25\nsample 0.")])
    farm.told(run, logs=[Chunk(run, 18, b"5\n")])
    farm.pass_time(0)

    shown = farm.job(job)
    assert (shown["progress"], shown["local_progress"]) == (0.25, 0.5)


# --- killing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [Farm.on_pause, Farm.on_delete, Farm.on_reset])
@pytest.mark.parametrize("waiting", [True, False])
def test_a_run_is_killed_when_its_job_is_paused_deleted_or_reset(
    farm: Inside, order: object, waiting: bool
) -> None:
    job = farm.submit()
    run = farm.started().run
    held = farm.held(run) if waiting else []
    farm.order(order, job)  # type: ignore[arg-type]
    farm.turn(5)

    orders = held[0] if waiting else farm.told(run)
    assert isinstance(orders, wire.Orders)
    assert (orders.kill, farm.farm.runs) == ([run], {})
    assert (farm.told(run).kill, farm.told(run, ends=[End(run, 0)]).ended) == ([run], [run])


def test_a_job_that_was_reset_is_started_again_once_its_process_is_gone(
    farm: Inside,
) -> None:
    job = farm.submit()
    run = farm.started().run
    other = farm.held(0, node="other")
    farm.order(Farm.on_reset, job)
    farm.turn(5)
    assert farm.told(run).kill == [run]
    assert other == []

    orders = farm.told(0, ends=[End(run, 0)])
    assert (orders.ended, starts(orders)) == ([run], [job])
    assert orders.start[0].run > run


def test_a_run_is_killed_when_its_worker_is_stopped_and_the_worker_gets_no_more(
    farm: Inside,
) -> None:
    job = farm.submit()
    run = farm.started().run
    held = farm.held(run)
    farm.do(farm.service.order_workers(NOBODY, Farm.on_stop_workers, ["n-1"]))
    farm.turn(5)
    (orders,) = held
    assert isinstance(orders, wire.Orders)

    assert farm.told(run).kill == [run]
    assert (farm.told(0).start, farm.state(job)) == ([], "WAITING")
    held = farm.held(0)
    farm.do(farm.service.order_workers(NOBODY, Farm.on_start_workers, ["n-1"]))
    farm.turn(5)
    assert starts(held[0]) == [job] or starts(farm.told(0)) == [job]


def test_a_run_over_its_timeout_is_killed(farm: Inside) -> None:
    job = farm.submit(timeout=5)
    run = farm.started().run
    held = farm.held(run)
    farm.pass_time(6)

    (orders,) = held
    assert isinstance(orders, wire.Orders)
    assert (orders.kill, farm.state(job)) == ([run], "ERROR")


def test_a_silent_node_loses_its_job_and_is_told_so_when_it_is_back(farm: Inside) -> None:
    job = farm.submit()
    run = farm.started().run
    farm.pass_time(59)
    assert farm.state(job) == "WORKING"
    farm.pass_time(2)
    (worker,) = farm.workers()

    assert (farm.state(job), worker["state"]) == ("WAITING", "TIMEOUT")
    assert farm.told(run, ends=[End(run, 0)]).ended == [run]
    assert (farm.state(job), farm.job(job)["run_done"]) == ("WAITING", 0)


def test_a_node_that_waits_again_and_again_is_not_lost(farm: Inside) -> None:
    farm.submit()
    run = farm.started().run
    for _ in range(10):
        held = farm.held(run)
        farm.pass_time(15.5)
        assert len(held) == 1

    assert list(farm.farm.runs) == [run]


def test_every_worker_gets_its_full_time_after_a_restart_of_the_server(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit()
        run = farm.started().run
    with inside(tmp_path) as farm:
        farm.pass_time(59)
        assert farm.state(job) == "WORKING"
        assert farm.told(run).kill == []
        farm.told(0, ends=[End(run, 0)])
        assert farm.state(job) == "FINISHED"


def test_a_worker_that_leaves_is_terminated_not_lost_and_gets_nothing(farm: Inside) -> None:
    farm.told(0)
    farm.told(0, leaving=True)
    job = farm.submit()
    assert farm.told(0, leaving=True).start == []
    farm.pass_time(100)
    (worker,) = farm.workers()

    assert (worker["state"], worker["error"], farm.state(job)) == ("TERMINATED", 0, "WAITING")
    assert starts(farm.told(0)) == [job]


def test_a_deleted_worker_that_speaks_is_there_again(farm: Inside) -> None:
    job = farm.submit()
    run = farm.started().run
    farm.do(farm.service.order_workers(NOBODY, Farm.on_delete_workers, ["n-1"]))
    assert farm.workers() == []

    assert farm.told(run).kill == [run]
    assert starts(farm.told(0)) == [job]


def test_new_affinity_of_an_idle_worker_counts_while_its_request_is_held(farm: Inside) -> None:
    job = farm.submit(affinity="GPU")
    held = farm.held(0)
    farm.do(farm.service.edit_workers(NOBODY, {"n-1": {"affinity": "GPU"}}))
    farm.turn(5)

    assert starts(held[0]) == [job] or starts(farm.told(0)) == [job]


def test_an_announced_affinity_counts_until_somebody_sets_another(farm: Inside) -> None:
    job = farm.submit(affinity="GPU")
    said = wire.Report("n", [wire.Slot("n-1", affinity="GPU")])
    assert starts(farm.do(farm.service.report(said, "ip"))) == [job]
    farm.do(farm.service.edit_workers(NOBODY, {"n-1": {"affinity": "CPU"}}))
    farm.do(farm.service.report(said, "ip"))

    (worker,) = farm.workers()
    assert worker["affinity"] == "CPU"


def test_the_load_of_a_node_is_shown_with_its_workers(farm: Inside) -> None:
    farm.told(0, load=wire.Load([12.5, 50.0], 1000, 2000), host=wire.Host("render7"))
    (worker,) = farm.workers()

    assert (worker["cpu"], worker["ip"]) == ("[12.5,50.0]", "ip")
    assert (worker["free_memory"], worker["total_memory"]) == (1000, 2000)


def test_thousands_of_idle_workers_share_the_jobs_and_each_job_goes_to_one(farm: Inside) -> None:
    held = [farm.held(0, 0, node=f"node{number}") for number in range(200)]
    jobs = farm.submit([{"command": "true"} for _ in range(300)])
    farm.turn(10)

    given = [job for answer in held if answer for job in starts(answer[0])]
    assert sorted(given) == jobs
    farm.farm.check_invariants()
