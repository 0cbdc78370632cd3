"""Waiting for jobs, and logs that are followed."""

from __future__ import annotations

import pytest

from coalition import Connection, errors
from tests.scripted import Answer, Scripted, as_json, job, refused


def test_waiting_ends_when_all_have_ended(server: Scripted) -> None:
    server.lists["/api/jobs"] = [job(1, state="FINISHED"), job(2), job(3, state="WORKING")]
    server.on("GET", "/api/jobs/2", job(2, state="ERROR"))

    def later(seconds: float) -> None:
        server.lists["/api/jobs"][1:] = [job(2, state="WORKING"), job(3, state="FINISHED")]

    farm = Connection(server.url, sleep=later)
    assert [one.state for one in farm.wait([2, 3, 1])] == ["ERROR", "FINISHED", "FINISHED"]
    assert [path for _, path, _ in server.sent()] == [
        "/api/jobs?id=2,3,1&limit=3", "/api/jobs?id=2,3&limit=2", "/api/jobs/2",
    ]  # fmt: skip


def test_jobs_are_waited_for_by_themselves_or_by_their_ids(
    server: Scripted, farm: Connection
) -> None:
    server.on("GET", "/api/jobs/1", job(1), job(1, state="FINISHED"))
    one = farm.getJob(1)
    assert one.wait() is one
    assert one.state == "FINISHED"
    assert [ended.id for ended in farm.wait(1)] == [1]
    assert [ended.id for ended in farm.wait([one])] == [1]


def test_a_job_that_is_not_there_cannot_be_waited_for(server: Scripted, farm: Connection) -> None:
    server.lists["/api/jobs"] = [job(1)]
    server.on("GET", "/api/jobs/9", refused(404, "unknown_job", "There is no job 9."))
    with pytest.raises(errors.UnknownJob, match=r"There is no job 9\."):
        farm.wait([1, 9])


def test_waiting_for_nothing_is_over_at_once(server: Scripted, farm: Connection) -> None:
    assert farm.wait([]) == []
    assert server.sent() == []


def test_waiting_ends_in_time_and_says_what_has_not_ended(
    server: Scripted, farm: Connection, slept: list[float]
) -> None:
    server.lists["/api/jobs"] = [job(1, state="FINISHED"), job(2, state="WORKING"), job(3)]
    server.on("GET", "/api/jobs/2", job(2, state="WORKING"))
    said = r"^2 of 3 jobs have not ended after 1\.2 s: 2 \(WORKING\), 3 \(WAITING\)$"
    with pytest.raises(errors.TimedOut, match=said) as caught:
        farm.wait([1, 2, 3], timeout=1.2)
    assert sum(slept) == pytest.approx(1.2)
    assert caught.value.detail == {"jobs": [2, 3]}
    with pytest.raises(TimeoutError):
        farm.getJob(2).wait(timeout=0)


def test_waiting_ends_in_time_also_while_the_server_is_away(
    server: Scripted, farm: Connection, slept: list[float]
) -> None:
    server.on("GET", "/api/jobs/1", job(1), refused(503, "unavailable", "Later."))
    with pytest.raises(errors.Unavailable):
        farm.wait(1, timeout=10)
    assert sum(slept) <= 10


def test_waiting_outlives_a_restart_of_the_server(server: Scripted, farm: Connection) -> None:
    away = refused(503, "unavailable", "Later.")
    server.on("GET", "/api/jobs/1", job(1), away, away, job(1, state="FINISHED"))
    assert [one.state for one in farm.wait([1])] == ["FINISHED"]


def test_waiting_gives_up_when_the_server_stays_away(server: Scripted) -> None:
    slept: list[float] = []
    server.on("GET", "/api/jobs/1", job(1), refused(503, "unavailable", "Later."))
    with pytest.raises(errors.Unavailable):
        Connection(server.url, sleep=slept.append).wait([1])
    assert 40 < sum(slept) < 90


def test_a_log_comes_whole_and_what_is_not_utf8_is_replaced(
    server: Scripted, farm: Connection
) -> None:
    server.logs[1] = "Zoé ".encode() * 500_000 + b"\xff\n"
    assert "".join(farm.log(1)) == "Zoé " * 500_000 + "\ufffd\n"
    server.logs[2] = b""
    assert "".join(farm.log(2)) == ""


def test_the_log_of_an_unknown_job_is_refused(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/9/log", refused(404, "unknown_job", "There is no job 9."))
    with pytest.raises(errors.UnknownJob, match=r"There is no job 9\."):
        list(farm.log(9))


def test_a_followed_log_goes_on_until_the_job_has_ended(server: Scripted, farm: Connection) -> None:
    def writes(text: bytes, state: str) -> Answer:
        server.logs[1] = server.logs.get(1, b"") + text
        return as_json(job(1, state=state))

    server.on(
        "GET", "/api/jobs/1",
        lambda: writes(b"", "WAITING"),
        lambda: writes(b"one \xc3", "WORKING"),
        lambda: writes(b"\xa9", "WORKING"),
        lambda: writes(b" end\n", "FINISHED"),
    )  # fmt: skip
    assert "".join(farm.log(1, follow=True)) == "one é end\n"


def test_a_followed_log_starts_again_after_a_reset(server: Scripted, farm: Connection) -> None:
    def holds(text: bytes, state: str) -> Answer:
        server.logs[1] = text
        return as_json(job(1, state=state))

    server.on(
        "GET", "/api/jobs/1",
        lambda: holds(b"first run\n", "WORKING"),
        lambda: holds(b"", "WAITING"),
        lambda: holds(b"second run\n", "FINISHED"),
    )  # fmt: skip
    assert "".join(farm.log(1, follow=True)) == "first run\nsecond run\n"


def test_a_job_gives_its_log(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/1", job(1, state="FINISHED"))
    server.logs[1] = b"one\n"
    assert "".join(farm.getJob(1).log()) == "one\n"
    assert "".join(farm.getJob(1).log(follow=True)) == "one\n"
