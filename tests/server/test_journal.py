"""The journal: group commits in order, patience with the database, and nobody told early."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from coalition.core.changes import Changes
from coalition.core.model import Job
from coalition.errors import NotDurable, StoreError, StoreUnavailable
from coalition.server.journal import FIRST_PAUSE, LONGEST_PAUSE, PATIENCE, Journal
from tests.server.builders import Turns

DOWN = StoreUnavailable("disk full")


class Desk:
    """A journal whose database is the test: it sees each batch and says how it went."""

    def __init__(self) -> None:
        self.clock = Turns()
        self.changes = Changes()
        self.batches: list[list[int]] = []
        self.answers: list[Deferred[None]] = []
        self.committed: list[list[int]] = []
        self.stopped: list[Failure] = []
        self.fault: Exception | None = None
        self.journal: Journal[list[int]] = Journal(
            self.clock,
            self.changes,
            lambda changes: list(changes.new_jobs),
            self.write,
            self.follow,
            self.stopped.append,
        )

    def follow(self, changes: Changes) -> None:
        self.committed.append(list(changes.new_jobs))
        if self.fault is not None:
            raise self.fault

    def write(self, batch: list[int]) -> Deferred[None]:
        self.batches.append(batch)
        answer: Deferred[None] = Deferred()
        self.answers.append(answer)
        return answer

    def change(self, *ids: int) -> list[Any]:
        """Change jobs and wait for that; the list holds what the request is told."""
        self.changes.new_jobs.update((id, Job(id)) for id in ids)
        told: list[Any] = []
        self.journal.durable().addBoth(told.append)
        return told

    def turn(self, seconds: float = 0.01) -> None:
        self.clock.advance(seconds)

    def good(self) -> None:
        self.answers.pop(0).callback(None)
        self.turn()

    def bad(self, error: Exception = DOWN) -> None:
        self.answers.pop(0).errback(error)


def test_what_has_not_changed_is_durable_at_once() -> None:
    desk = Desk()

    assert desk.change() == [None]
    assert desk.batches == []


def test_a_request_is_told_when_its_change_is_written_and_not_before() -> None:
    desk = Desk()
    told = desk.change(1)
    desk.turn()
    assert (desk.batches, told, desk.committed) == ([[1]], [], [])
    desk.good()

    assert (told, desk.committed) == ([None], [[1]])


def test_what_follows_a_commit_is_done_before_anybody_is_told() -> None:
    desk = Desk()
    desk.changes.new_jobs[1] = Job(1)
    seen: list[Any] = []
    desk.journal.durable().addCallback(lambda _: seen.append(list(desk.committed)))
    desk.turn()
    desk.good()

    assert seen == [[[1]]]


def test_the_requests_of_one_turn_share_a_batch() -> None:
    desk = Desk()
    told = [desk.change(id) for id in range(100)]
    desk.turn()
    assert desk.batches == [list(range(100))]
    desk.good()

    assert told == [[None]] * 100


def test_what_changes_while_a_batch_is_written_is_the_next_batch() -> None:
    desk = Desk()
    first = desk.change(1)
    desk.turn()
    later = [desk.change(2), desk.change(3)]
    desk.turn()
    assert desk.batches == [[1]]
    desk.good()
    assert (first, later, desk.batches) == ([None], [[], []], [[1], [2, 3]])
    desk.good()

    assert later == [[None], [None]]


def test_one_who_only_reads_waits_for_the_batch_that_is_being_written() -> None:
    desk = Desk()
    desk.change(1)
    desk.turn()
    reader = desk.change()
    assert reader == []
    desk.good()

    assert (reader, desk.batches) == ([None], [[1]])


def test_a_batch_that_is_not_taken_is_tried_again_with_growing_pauses() -> None:
    desk = Desk()
    desk.change(1)
    desk.turn()
    pauses = []
    for _ in range(9):
        desk.bad()
        before = desk.clock.seconds()
        while not desk.answers:
            desk.turn()
        pauses.append(round(desk.clock.seconds() - before, 1))

    assert desk.batches == [[1]] * 10
    assert pauses == sorted(pauses)
    assert abs(pauses[0] - FIRST_PAUSE) <= 0.1 and abs(pauses[-1] - LONGEST_PAUSE) <= 0.1


def test_a_request_waits_a_bounded_time_and_its_change_is_written_later_all_the_same() -> None:
    desk = Desk()
    first = desk.change(1)
    desk.turn()
    second = desk.change(2)
    desk.bad()
    third = desk.change(3)
    assert "disk full" in str(desk.journal.trouble)
    desk.turn(PATIENCE)
    for told in (first, second, third):
        assert isinstance(told[0].value, NotDurable)
        assert "disk full" in str(told[0].value)
    desk.good()
    desk.good()

    assert (desk.committed, desk.journal.trouble, desk.stopped) == ([[1], [2, 3]], None, [])


def test_requests_succeed_when_the_database_is_back_in_time() -> None:
    desk = Desk()
    told = [desk.change(1)]
    desk.turn()
    desk.bad()
    told.append(desk.change(2))
    desk.turn(PATIENCE / 2)
    desk.good()
    desk.good()

    assert told == [[None], [None]]
    assert desk.change(3) == []
    desk.turn()
    desk.good()
    assert desk.committed == [[1], [2], [3]]


def test_the_pauses_begin_anew_after_the_trouble() -> None:
    desk = Desk()
    for id in (1, 2):
        desk.change(id)
        desk.turn()
        desk.bad()
        desk.turn(FIRST_PAUSE)
        desk.good()

    assert desk.committed == [[1], [2]]


def test_a_batch_that_can_never_be_written_stops_the_server() -> None:
    desk = Desk()
    first = desk.change(1)
    desk.turn()
    second = desk.change(2)
    desk.bad(StoreError("constraint"))

    for told in (first, second):
        assert isinstance(told[0].value, NotDurable)
    assert len(desk.stopped) == 1
    late = desk.change(3)
    desk.turn(PATIENCE)
    assert isinstance(late[0].value, NotDurable)
    assert (desk.batches, desk.committed) == ([[1]], [])


def test_an_error_in_what_follows_a_commit_does_not_stop_the_journal() -> None:
    desk = Desk()
    desk.fault = OSError("no room for the log")
    first = desk.change(1)
    desk.turn()
    desk.good()
    second = desk.change(2)
    desk.turn()
    desk.good()

    assert (first, second, desk.stopped) == ([None], [None], [])
