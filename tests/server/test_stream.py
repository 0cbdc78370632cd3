"""Those who watch the stream hear of what has changed, in order, once it is durable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from coalition.server.stream import KEPT, MOMENT, MOST, QUIET
from tests.server.builders import Api, Inside


class Ear:
    """A connection that notes what it is told: kinds and data of messages."""

    def __init__(self) -> None:
        self.text = b""
        self.ended = False

    def send(self, text: bytes) -> None:
        self.text += text

    def end(self) -> None:
        self.ended = True

    @property
    def events(self) -> list[tuple[str, str, Any]]:
        """Kind, id and data of all messages."""
        return list(messages(self.text.decode().split("\n")))


def messages(lines: Iterator[str] | list[str]) -> Iterator[tuple[str, str, Any]]:
    fields: dict[str, str] = {}
    for line in lines:
        if not line and "event" in fields:
            yield fields["event"], fields["id"], json.loads(fields["data"])
            fields = {}
        name, _, value = line.partition(": ")
        fields[name] = value


def listening(farm: Inside, last: str = "") -> Ear:
    ear = Ear()
    farm.stream.watch(ear, last)
    return ear


def moment(farm: Inside) -> None:
    farm.clock.advance(MOMENT)


def test_a_change_is_told_with_the_names_of_what_is_other_than_before(farm: Inside) -> None:
    ear = listening(farm)
    job = farm.submit()
    farm.told(0)
    moment(farm)
    (hello, told) = ear.events

    assert hello[0] == "hello"
    assert told == ("changed", "s-1", {"jobs": [job], "workers": ["n-1"], "runs": [1]})


def test_nothing_is_told_when_no_job_worker_or_run_changes(
    farm: Inside,
) -> None:
    ear = listening(farm)
    moment(farm)
    farm.farm.on_name_affinities({1: "LINUX"})
    moment(farm)
    assert [event[0] for event in ear.events] == ["hello"]


def test_changes_of_a_moment_are_one_message(farm: Inside) -> None:
    ear = listening(farm)
    jobs = [farm.submit() for _ in range(5)]
    moment(farm)
    farm.submit()
    moment(farm)
    assert [event[2].get("jobs") for event in ear.events] == [None, jobs, [jobs[-1] + 1]]


def test_a_large_batch_says_that_there_is_more(farm: Inside) -> None:
    ear = listening(farm)
    farm.submit([{"command": "true"}] * (MOST + 1))
    moment(farm)
    said = ear.events[-1][2]
    assert said["more"] is True and len(said.get("jobs", ())) <= MOST


def test_who_comes_back_gets_what_it_missed(farm: Inside) -> None:
    first = listening(farm)
    for _ in range(3):
        farm.submit()
        moment(farm)
    farm.stream.leave(first)
    late = listening(farm, first.events[1][1])

    assert late.events == first.events[2:]


@pytest.mark.parametrize("last", ["other-1", "s-99", "s-", "s-x", "1", "s-٣"])
def test_who_names_a_message_that_nobody_knows_is_told_of_a_gap(farm: Inside, last: str) -> None:
    farm.submit()
    moment(farm)
    assert [event[:2] for event in listening(farm, last).events] == [("gap", "s-1")]


def test_who_was_away_for_too_long_is_told_of_a_gap(farm: Inside) -> None:
    for _ in range(KEPT + 2):
        farm.submit()
        moment(farm)
    assert [event[0] for event in listening(farm, "s-1").events] == ["gap"]
    assert len(listening(farm, "s-2").events) == KEPT


def test_a_connection_that_takes_nothing_is_sent_nothing_until_it_does(farm: Inside) -> None:
    slow = listening(farm)
    farm.stream.hold(slow)
    for _ in range(3):
        farm.submit()
        moment(farm)
    assert [event[0] for event in slow.events] == ["hello"]
    farm.stream.go_on(slow)
    assert [event[1] for event in slow.events] == ["s-0", "s-1", "s-2", "s-3"]

    farm.stream.hold(slow)
    for _ in range(KEPT + 1):
        farm.submit()
        moment(farm)
    farm.stream.go_on(slow)
    assert [event[0] for event in slow.events][4:] == ["gap"]


def test_a_connection_that_fills_up_costs_the_others_nothing(farm: Inside) -> None:
    class Full(Ear):
        def send(self, text: bytes) -> None:
            super().send(text)
            farm.stream.hold(self)

    ears = [listening(farm), Full(), listening(farm)]
    farm.stream.watch(ears[1], "")
    for _ in range(3):
        farm.submit()
        moment(farm)
    assert [event[1] for event in ears[0].events] == ["s-0", "s-1", "s-2", "s-3"]
    assert ears[2].events == ears[0].events
    assert [event[0] for event in ears[1].events] == ["hello"]
    for _ in range(3):
        farm.stream.go_on(ears[1])
    assert ears[1].events == ears[0].events


def test_a_quiet_stream_shows_that_it_lives(farm: Inside) -> None:
    ear = listening(farm)
    before = ear.text
    farm.clock.advance(QUIET)
    assert ear.text == before + b":\n\n"
    farm.stream.leave(ear)
    farm.clock.advance(QUIET)
    assert farm.stream.watchers == 0


@contextmanager
def watched(api: Api, **headers: str) -> Iterator[Iterator[tuple[str, str, Any]]]:
    with requests.get(f"{api.url}/api/stream", headers=headers, stream=True, timeout=30) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        yield messages(answer.iter_lines(chunk_size=1, decode_unicode=True))


def test_the_stream_of_a_real_server_is_taken_up_again_after_a_cut(api: Api) -> None:
    with watched(api) as events:
        assert next(events)[0] == "hello"
        job = api.put({"command": "true"})
        kind, last, said = next(events)
        assert (kind, said["jobs"]) == ("changed", [job])
    api.delete("jobs", [job])
    with watched(api, **{"Last-Event-ID": last}) as events:
        assert job in next(events)[2]["jobs"]


def test_asking_only_for_the_head_of_a_stream_ends(api: Api) -> None:
    answer = api.ask("HEAD", "/api/stream")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
