"""What a node decides, told by events and a clock that only this file moves."""

from __future__ import annotations

import pytest

from coalition import wire
from coalition.worker.node.actions import Begin, Cut, EndTree, Forget, Save
from coalition.worker.node.run import RUN_LIMIT
from tests.worker.machines import (
    ended,
    ends_of,
    new_machine,
    recovered,
    report,
    runs_of,
    start,
    starts,
    working,
)

# --- starts and ends -------------------------------------------------------------------------


def test_a_start_is_begun_and_reported_at_once() -> None:
    machine = new_machine()
    plan = report(machine)
    assert machine.on_orders(plan.number, wire.Orders(start=[start(5)]), 1) == [Begin(start(5))]
    assert runs_of(report(machine, 1)) == {"node": 5}


@pytest.mark.parametrize("repeated", [5, 4])
def test_a_start_that_is_not_newer_is_a_repetition(repeated: int) -> None:
    machine = working(5)
    assert machine.on_orders(report(machine).number, starts("w5", repeated), 0) == []
    ended(machine, 5)
    assert machine.on_orders(report(machine).number, starts("w5", repeated), 0) == []
    machine.on_orders(report(machine, 2).number, wire.Orders(ended=[5]), 2)
    assert machine.on_orders(report(machine, 2).number, starts("w5", repeated), 2) == []


def test_the_highest_run_of_each_worker_is_told_in_every_report() -> None:
    machine = working(5, 6)
    recovered(machine, 3, "w6", 0)
    for _ in range(2):
        plan = report(machine)
        assert [(slot.name, slot.last) for slot in plan.report.workers] == [("w5", 5), ("w6", 6)]
        ended(machine, 5)
        machine.on_orders(plan.number, wire.Orders(ended=[3]), 0)
    machine = new_machine()
    recovered(machine, 7, "node", 0)
    assert report(machine).report.workers == [wire.Slot("node", 0, 7)]


def test_two_workers_never_have_a_run_of_one_number() -> None:
    machine = working(5, 6)
    ended(machine, 5)
    machine.on_orders(report(machine).number, starts("w5", 6), 0)
    assert runs_of(report(machine, 2)) == {"w5": 0, "w6": 6}


def test_a_busy_or_unknown_worker_begins_nothing() -> None:
    machine = working(5)
    orders = wire.Orders(start=[start(6, "w5"), start(7, "stranger")])
    assert machine.on_orders(report(machine).number, orders, 0) == []
    ended(machine, 5)
    assert machine.on_orders(report(machine).number, starts("w5", 6), 0) == [Begin(start(6, "w5"))]


def test_a_worker_asks_for_work_in_the_report_of_its_end() -> None:
    machine = working(5, 6)
    ended(machine, 5, 3)
    plan = report(machine)
    assert ends_of(plan) == [(5, 3, False)]
    assert runs_of(plan) == {"w5": 0, "w6": 6}


def test_an_end_is_reported_only_when_it_is_safe_on_disk() -> None:
    machine = working(5)
    machine.on_exit(5, 0, 0)
    plan = report(machine)
    assert ends_of(plan) == []
    assert runs_of(plan) == {"w5": 5}


def test_an_end_is_repeated_until_it_is_acknowledged() -> None:
    machine = working(5)
    ended(machine, 5)
    for now in (0.0, 2.0, 4.0):
        plan = report(machine, now)
        assert ends_of(plan) == [(5, 0, False)]
        machine.on_orders(plan.number, wire.Orders(), now)
    plan = report(machine, 6)
    assert machine.on_orders(plan.number, wire.Orders(ended=[5]), 6) == [Forget(5)]
    assert ends_of(report(machine, 6)) == []


def test_a_kill_ends_the_processes_once_and_no_end_is_reported() -> None:
    machine = working(5)
    orders = wire.Orders(kill=[5, 99])
    assert machine.on_orders(report(machine).number, orders, 0) == [EndTree(5)]
    plan = report(machine, 0)
    assert runs_of(plan) == {"w5": 5}
    assert machine.on_orders(plan.number, orders, 0) == []
    assert machine.on_exit(5, -15, 1) == [Forget(5)]
    plan = report(machine, 1)
    assert (runs_of(plan), ends_of(plan)) == ({"w5": 0}, [])


def test_a_run_that_ends_by_itself_before_the_order_reaches_it_is_told() -> None:
    machine = working(5)
    held = report(machine)
    machine.on_orders(held.number, wire.Orders(kill=[5]), 0)
    machine.on_over(5)
    ended(machine, 5)
    assert ends_of(report(machine)) == [(5, 0, False)]


def test_a_run_that_is_to_be_killed_when_it_is_over_is_told_before_all_of_its_log() -> None:
    machine = working(5)
    machine.on_output(5, 3 * RUN_LIMIT)
    ended(machine, 5)
    plan = report(machine)
    assert ends_of(plan) == []
    assert machine.on_orders(plan.number, wire.Orders(kill=[5]), 0) == []
    plan = report(machine)
    assert [(end.run, end.size) for end in plan.report.ends] == [(5, 3 * RUN_LIMIT)]
    assert plan.cuts == [Cut(5, 0, RUN_LIMIT)]


def test_a_run_that_is_to_be_killed_before_its_start_has_come_is_said_to_be_unknown() -> None:
    machine = working(5)
    plan = report(machine)
    machine.on_orders(plan.number, wire.Orders(kill=[99]), 0)
    plan = report(machine)
    assert plan.report.unknown == [99]
    ended(machine, 5)
    assert machine.on_orders(plan.number, starts("w5", 99), 2) == []
    assert report(machine, 2).report.unknown == []


def test_a_result_whose_worker_is_no_more_is_told_before_all_of_its_log() -> None:
    machine = new_machine("w1")
    recovered(machine, 5, "w2", 3 * RUN_LIMIT)
    assert [end.run for end in report(machine).report.ends] == [5]


def test_a_run_that_has_ended_before_it_was_to_be_killed_is_told() -> None:
    machine = working(5)
    held = report(machine)
    ended(machine, 5)
    assert machine.on_orders(held.number, wire.Orders(kill=[5]), 0) == []
    plan = report(machine)
    assert ends_of(plan) == [(5, 0, False)]
    assert machine.on_orders(plan.number, wire.Orders(ended=[5]), 0) == [Forget(5)]
    assert ends_of(report(machine, 2)) == []


def test_runs_of_an_earlier_life_are_delivered_and_not_begun_again() -> None:
    machine = new_machine()
    recovered(machine, 5, "node", 10, 1)
    recovered(machine, 3, "node-9", 0, again=True)
    plan = report(machine)
    assert sorted(ends_of(plan)) == [(3, 0, True), (5, 1, False)]
    assert plan.cuts == [Cut(5, 0, 10)]
    orders = wire.Orders(start=[start(5)], ended=[3, 5])
    assert machine.on_orders(plan.number, orders, 0) == [Forget(3), Forget(5)]


# --- logs ------------------------------------------------------------------------------------


def test_output_is_due_some_time_after_the_last_report() -> None:
    machine = working(5)
    held = report(machine, 10)
    assert machine.due(10) is None
    machine.on_output(5, 100)
    assert machine.due(10) == 12
    assert report(machine, 12).cuts == [Cut(5, 0, 100)]
    assert machine.on_orders(held.number, wire.Orders(), 12) == []


def test_only_what_is_new_is_sent() -> None:
    machine = working(5)
    machine.on_output(5, 100)
    first = report(machine)
    machine.on_orders(first.number, wire.Orders(logs={5: 100}), 0)
    machine.on_output(5, 150)
    assert report(machine, 2).cuts == [Cut(5, 100, 50)]


def test_a_server_that_has_less_gets_it_again() -> None:
    machine = working(5)
    machine.on_output(5, 100)
    machine.on_orders(report(machine).number, wire.Orders(logs={5: 40}), 0)
    assert report(machine, 2).cuts == [Cut(5, 40, 60)]


def test_a_server_that_has_more_gets_only_the_rest() -> None:
    machine = new_machine()
    recovered(machine, 5, "node", 3 * RUN_LIMIT)
    plan = report(machine)
    assert plan.cuts == [Cut(5, 0, RUN_LIMIT)]
    machine.on_orders(plan.number, wire.Orders(logs={5: 3 * RUN_LIMIT - 7}), 0)
    assert report(machine).cuts == [Cut(5, 3 * RUN_LIMIT - 7, 7)]


def test_a_flood_goes_in_pieces_without_waiting_and_its_end_comes_last() -> None:
    machine = working(5)
    machine.on_output(5, 2 * RUN_LIMIT + 1)
    ended(machine, 5)
    waits, ends, runs = [], [], []
    for done in (RUN_LIMIT, 2 * RUN_LIMIT, 2 * RUN_LIMIT + 1):
        plan = report(machine)
        waits.append(plan.report.wait)
        ends.append(ends_of(plan))
        runs.append(runs_of(plan)["w5"])
        machine.on_orders(plan.number, wire.Orders(logs={5: done}), 0)
    assert waits == [0, 0, wire.LONGEST_WAIT]
    assert ends == [[], [], [(5, 0, False)]]
    assert runs == [5, 5, 0]  # idle before its end, the run would be taken for lost


def test_many_floods_share_a_report_and_take_turns() -> None:
    machine = working(1, 2, 3, 4, 5, 6)
    for run in range(1, 7):
        machine.on_output(run, 10 * RUN_LIMIT)
    first = report(machine)
    assert [(cut.run, cut.length) for cut in first.cuts] == [
        (run, RUN_LIMIT) for run in (1, 2, 3, 4)
    ]
    machine.on_orders(first.number, wire.Orders(logs=dict.fromkeys((1, 2, 3, 4), RUN_LIMIT)), 0)
    assert [cut.run for cut in report(machine).cuts] == [5, 6, 1, 2]


def test_an_end_goes_with_all_of_the_log_that_may_be_lost() -> None:
    machine = working(5)
    machine.on_output(5, 100)
    report(machine)
    machine.on_output(5, 150)
    ended(machine, 5)
    plan = report(machine)
    assert plan.cuts == [Cut(5, 0, 150)]
    assert ends_of(plan) == [(5, 0, False)]


# --- the conversation ------------------------------------------------------------------------


def test_there_are_two_requests_at_most() -> None:
    machine = working(5, 6, 7)
    held = report(machine)
    ended(machine, 5)
    report(machine)
    machine.on_output(6, 10)
    assert machine.due(10) is None
    machine.on_orders(held.number, wire.Orders(), 10)
    assert report(machine, 10).cuts == [Cut(6, 0, 10)]


def test_an_end_waits_for_the_answer_that_others_will_have_soon() -> None:
    machine = working(5, 6, 7)
    held = report(machine)
    ended(machine, 5)
    first = report(machine)
    ended(machine, 6)
    machine.on_orders(held.number, wire.Orders(), 0)
    assert machine.due(0) == 2
    machine.on_orders(first.number, wire.Orders(ended=[5]), 0)
    assert ends_of(report(machine)) == [(6, 0, False)]


def test_an_end_is_told_soon_though_its_worker_has_more_and_a_request_is_held() -> None:
    machine = working(5)
    orders = wire.Orders(ahead=[wire.Ahead(["w5"], [start(6, "w5")])])
    machine.on_orders(report(machine).number, orders, 0)
    report(machine, 0.1)
    ended(machine, 5, now=0.2)
    assert machine.due(0.2) == pytest.approx(0.13)
    plan = report(machine, 0.2)
    assert (ends_of(plan), runs_of(plan)) == ([(5, 0, False)], {"w5": 6})


def test_nothing_waits_behind_a_run_that_is_not_short() -> None:
    machine = working(5, 6)
    machine.on_began(5)
    ahead = wire.Ahead(["w5", "w6"], [start(7), start(8), start(9)])
    actions = machine.on_orders(report(machine).number, wire.Orders(ahead=[ahead]), 0)
    assert [one.start.worker for one in actions if isinstance(one, Begin)] == ["w6"] * 3


def test_a_report_says_what_is_being_ended() -> None:
    machine = working(5, 6)
    machine.on_orders(report(machine).number, wire.Orders(kill=[6]), 0)
    assert report(machine, 2).report.ending == [6]
    machine.on_exit(6, -15, 3)
    assert report(machine, 3).report.ending == []


def test_what_is_urgent_waits_for_no_answer() -> None:
    machine = working(5, 6)
    held = report(machine)
    ended(machine, 5)
    report(machine)
    machine.on_orders(held.number, wire.Orders(kill=[6]), 0)
    machine.on_exit(6, -15, 0)
    assert report(machine).report.ahead == []


def test_an_end_is_saved_soon_if_its_worker_has_nothing_more() -> None:
    machine = working(5)
    orders = wire.Orders(ahead=[wire.Ahead(["w5"], [start(6, "w5")])])
    machine.on_orders(report(machine).number, orders, 0)
    assert machine.on_exit(5, 0, 0) == [Save(5, 0, False, 0.0, soon=False)]
    assert machine.on_exit(6, 0, 0) == [Save(6, 0, False, 0.0, soon=True)]


def test_a_node_waits_as_long_as_the_server_likes() -> None:
    machine = new_machine()
    machine.on_orders(report(machine).number, wire.Orders(wait=7.5), 0)
    assert report(machine, 2).report.wait == 7.5


def test_a_server_that_does_not_hold_requests_is_not_flooded_with_them() -> None:
    machine = new_machine()
    now, pauses = 10.0, []
    for _ in range(10):
        machine.on_orders(report(machine, now).number, wire.Orders(wait=0), now)
        due = machine.due(now)
        assert due is not None
        pauses.append(due - now)
        now = due
    assert pauses == pytest.approx([0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1, 1])
    # One that was held for long is followed at once.
    machine.on_orders(report(machine, now).number, wire.Orders(wait=0), now + 20)
    assert machine.due(now + 20) == now + 20
    machine.on_orders(report(machine, now + 20).number, wire.Orders(wait=0), now + 20)
    assert machine.due(now + 20) == pytest.approx(now + 20.01)


def test_tries_become_rarer_while_the_server_is_away_but_never_rare() -> None:
    machine = new_machine()
    now, pauses = 0.0, []
    for _ in range(12):
        machine.on_lost(report(machine, now).number, now)
        due = machine.due(now)
        assert due is not None
        pauses.append(due - now)
        now = due
    assert 0.1 < pauses[0] < 0.3
    assert all(5 <= pause <= 10 for pause in pauses[6:])
    assert len(set(pauses)) == len(pauses)


def test_a_report_that_is_not_taken_is_tried_again_slowly() -> None:
    machine = new_machine()
    machine.on_lost(report(machine).number, 0, slow=True)
    due = machine.due(0)
    assert due is not None and 5 <= due <= 10


def test_what_was_lost_is_sent_again() -> None:
    machine = working(5, 6)
    machine.on_output(6, 100)
    ended(machine, 5)
    lost = report(machine)
    machine.on_lost(lost.number, 0)
    again = report(machine, 1)
    assert again.cuts == lost.cuts
    assert ends_of(again) == ends_of(lost)
    assert again.report.host == wire.Host("computer")


def test_the_host_is_told_once() -> None:
    machine = new_machine()
    plan = report(machine)
    assert plan.report.host == wire.Host("computer")
    machine.on_orders(plan.number, wire.Orders(), 0)
    assert report(machine, 2).report.host is None


# --- leaving ---------------------------------------------------------------------------------


def test_an_idle_node_leaves_when_the_server_knows() -> None:
    machine = new_machine()
    held = report(machine)
    assert machine.on_stop(0) == []
    goodbye = report(machine)
    assert (goodbye.report.leaving, goodbye.report.wait) == (True, 0)
    machine.on_orders(held.number, wire.Orders(), 0)
    assert not machine.finished(0)
    machine.on_orders(goodbye.number, wire.Orders(), 0)
    assert machine.finished(0)


def test_an_idle_node_does_not_wait_long_for_a_server_that_is_away() -> None:
    machine = new_machine()
    machine.on_stop(100)
    assert not machine.finished(104)
    assert machine.finished(105)


def test_a_node_that_leaves_finishes_and_delivers() -> None:
    machine = working(5)
    machine.on_stop(0)
    plan = report(machine)
    machine.on_orders(plan.number, wire.Orders(), 0)
    assert not machine.finished(10_000)
    ended(machine, 5, now=10_000)
    plan = report(machine, 10_000)
    assert ends_of(plan) == [(5, 0, False)]
    assert machine.on_orders(plan.number, wire.Orders(ended=[5]), 10_000) == [Forget(5)]
    assert machine.finished(10_000)


def test_a_job_that_was_on_its_way_to_a_leaving_node_is_given_back() -> None:
    machine = new_machine()
    held = report(machine)
    machine.on_stop(0)
    goodbye = report(machine)
    assert machine.on_orders(held.number, starts("node", 5), 0) == []
    machine.on_orders(goodbye.number, starts("node", 5), 0)
    assert not machine.finished(0)
    plan = report(machine)
    assert ends_of(plan) == [(5, 0, True)]
    machine.on_orders(plan.number, wire.Orders(ended=[5]), 0)
    assert machine.finished(0)


def test_a_job_that_was_on_its_way_to_a_pausing_node_is_given_back() -> None:
    machine = new_machine()
    held = report(machine)
    machine.on_pause(True)
    assert machine.on_orders(held.number, starts("node", 5), 0) == []
    plan = report(machine)
    assert ends_of(plan) == [(5, 0, True)]
    assert machine.on_orders(plan.number, wire.Orders(ended=[5]), 0) == [Forget(5)]
    machine.on_pause(False)
    assert machine.on_orders(report(machine).number, starts("node", 6), 0) == [Begin(start(6))]


def test_a_second_stop_ends_the_jobs_and_asks_for_another_try() -> None:
    machine = working(5, 6)
    machine.on_stop(0)
    assert machine.on_stop(1) == [EndTree(5), EndTree(6)]
    assert machine.on_stop(1) == []
    for run in (5, 6):
        assert machine.on_exit(run, -15, 2) == [Save(run, -15, True, 0.0)]
        machine.on_saved(run)
    assert [end.again for end in report(machine, 2).report.ends] == [True, True]
    assert not machine.finished(11.9)
    assert machine.finished(12)


def test_a_second_stop_does_not_wait_for_processes_that_never_end() -> None:
    machine = working(5)
    machine.on_stop(0)
    machine.on_stop(0)
    assert machine.finished(15)


def test_what_is_handed_ahead_to_a_node_that_leaves_meanwhile_is_let_go() -> None:
    machine = new_machine()
    held = report(machine)
    machine.on_stop(0)
    goodbye = report(machine)
    ahead = wire.Orders(ahead=[wire.Ahead(["node"], [start(5)])])
    assert machine.on_orders(held.number, ahead, 0) == []
    machine.on_orders(goodbye.number, ahead, 0)
    assert machine.finished(0)
    assert (goodbye.report.leaving, goodbye.report.ahead) == (True, [])


# --- cuts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [2.0, 3.0, 10.0, 60.0, 600.0])
def test_a_node_whose_held_report_a_cut_swallows_is_heard_before_it_would_be_lost(
    timeout: float,
) -> None:
    machine = new_machine()
    orders = wire.Orders(wait=min(wire.LONGEST_WAIT, timeout / 3), timeout=timeout)
    machine.on_orders(report(machine).number, orders, 0)
    held = report(machine, 100)  # the last that the server hears before the cut
    given_up = 100 + held.report.wait + held.patience
    machine.on_lost(held.number, given_up)

    due = machine.due(given_up)
    assert held.report.wait == orders.wait
    assert due is not None and due < 100 + timeout


def test_while_no_answer_comes_the_server_is_asked_for_one_at_once() -> None:
    machine = new_machine()
    first = report(machine)
    assert first.report.wait > 0
    machine.on_lost(first.number, 30.0)
    again = report(machine, 60.0)
    assert again.report.wait == 0
    machine.on_orders(again.number, wire.Orders(), 60.1)

    assert report(machine, 62.0).report.wait > 0


def test_a_refused_node_ends_what_the_server_says_is_no_run_any_more() -> None:
    machine = working(5, 6)
    assert machine.on_turned_away(report(machine).number, 0, [5, 77]) == [EndTree(5)]
    machine.on_exit(5, -15, 1)
    assert runs_of(report(machine, 20)) == {"w5": 0, "w6": 6}


def test_where_large_reports_are_refused_smaller_ones_bring_the_log() -> None:
    machine = working(5)
    machine.on_output(5, 10_000_000)
    sizes = []
    for now in range(0, 50, 10):
        plan = report(machine, now)
        sizes.append(plan.cuts[0].length)
        machine.on_too_large(plan.number, now)
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] <= sizes[0] // 4
    plan = report(machine, 60)
    machine.on_orders(plan.number, wire.Orders(logs={5: plan.cuts[0].length}), 60)
    assert sizes[-1] // 2 < report(machine, 70).cuts[0].length < 2 * sizes[-1]


def test_an_exclusive_run_moves_its_lease_in_time_also_where_the_timeout_is_short() -> None:
    machine = new_machine()
    orders = wire.Orders(start=[wire.Start("node", 5, 1, "true", exclusive=True)], timeout=1.0)
    machine.on_orders(report(machine).number, orders, 0)
    now = 0.0
    for _ in range(10):
        due = machine.due(now)
        assert due is not None and due <= now + 0.2
        now = due
        plan = report(machine, now)
        assert plan.report.wait <= 0.2
        now += plan.report.wait
        machine.on_orders(plan.number, wire.Orders(timeout=1.0), now)


def test_a_node_that_was_drained_stays_if_that_is_taken_back_while_it_works() -> None:
    machine = working(5)
    machine.on_orders(report(machine).number, wire.Orders(drain=["w5"]), 0)
    assert machine.leaving
    machine.on_orders(report(machine).number, wire.Orders(), 1)
    assert not machine.leaving
    machine.on_exit(5, 0, 2)
    assert not machine.finished(100)


def test_the_first_signal_to_a_node_that_is_drained_ends_no_job() -> None:
    machine = working(5)
    machine.on_orders(report(machine).number, wire.Orders(drain=["w5"]), 0)
    assert machine.on_stop(1) == []
    assert machine.on_stop(2) == [EndTree(5)]


def test_what_waited_in_vain_for_a_worker_is_told_of_at_once() -> None:
    machine = new_machine("w1", "w2")
    machine.on_orders(report(machine).number, wire.Orders(start=[start(5, "w1")]), 0)
    report(machine)  # it offers the other worker, so what is handed ahead must wait for its answer
    machine.on_output(5, 10)
    told = report(machine, 2)
    ahead = wire.Orders(ahead=[wire.Ahead(["w2"], [start(6, "w2")])], logs={5: 10})
    assert machine.on_orders(told.number, ahead, 2) == []
    assert machine.due(2.1) is None
    assert machine.give_back(2.3) == []

    assert report(machine, 2.3).report.ahead == []


def test_a_node_that_something_keeps_when_its_time_is_over_sleeps() -> None:
    machine = working(5)
    machine.on_stop(0)
    assert machine.on_stop(0) == [EndTree(5)]
    report(machine)
    over = machine.wake_at(0)
    assert over is not None and machine.finished(over)
    assert machine.wake_at(over) is None
