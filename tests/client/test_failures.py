"""What goes wrong between a script and the server, and what is tried again."""

from __future__ import annotations

import socket
import threading

import pytest
import requests
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError

from coalition import Connection, errors
from coalition.client import faults
from tests.scripted import LOST, Answer, Scripted, free_port, job, refused


@pytest.mark.parametrize("answer", [Answer(b"<html>", 404), Answer(b"<html>"), Answer(b"\xff")])
def test_another_kind_of_server_is_recognised(
    server: Scripted, farm: Connection, answer: Answer
) -> None:
    server.on("GET", "/api/jobs/1", answer)
    with pytest.raises(errors.CoalitionError, match="not as a Coalition server does"):
        farm.getJob(1)


def test_a_server_that_is_not_there_is_tried_a_few_times_and_then_unreachable() -> None:
    slept: list[float] = []
    farm = Connection("127.0.0.1", free_port(), retries=5, sleep=slept.append)
    said = r"127\.0\.0\.1:\d+ does not answer \(Connection refused\)$"
    with pytest.raises(errors.ServerUnreachable, match=said):
        farm.newJob(command="echo")
    assert len(slept) == 5
    for pause, longest in zip(slept, (0.25, 0.5, 1, 2, 4), strict=True):
        assert longest / 2 <= pause <= longest


def test_a_proxy_of_the_environment_is_not_asked(
    server: Scripted, farm: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    server.on("GET", "/api/jobs/1", job(1))
    assert farm.getJob(1).id == 1


def test_a_question_whose_answer_was_lost_is_asked_again(
    server: Scripted, farm: Connection
) -> None:
    server.on("GET", "/api/jobs/1", LOST, LOST, job(1))
    assert farm.getJob(1).id == 1


def test_a_job_whose_answer_was_lost_is_not_submitted_twice(
    server: Scripted, farm: Connection, slept: list[float]
) -> None:
    server.on("PUT", "/api/jobs", LOST, 12)
    with pytest.raises(errors.Unanswered, match="whether it has done what it was asked is unknown"):
        farm.newJob(command="echo")
    assert (len(server.sent()), slept) == (1, [])


def test_a_server_that_is_too_slow_may_have_done_what_it_was_asked(server: Scripted) -> None:
    late = threading.Event()

    def answer() -> Answer:
        late.wait(30)
        return LOST

    server.on("PUT", "/api/jobs", answer)
    with pytest.raises(errors.Unanswered, match="takes too long to answer"):
        Connection(server.url, timeout=0.1).newJob(command="echo")
    late.set()


def test_what_a_proxy_lost_may_have_been_done(server: Scripted, farm: Connection) -> None:
    server.on("PUT", "/api/jobs", *(Answer(b"<html>", status) for status in (502, 503, 504)))
    server.on("GET", "/api/jobs/1", Answer(b"<html>", 502), Answer(b"<html>", 503), job(1))
    for status in (502, 503, 504):
        with pytest.raises(errors.Unanswered, match=f"answered {status}"):
            farm.newJob(command="echo")
    assert farm.getJob(1).id == 1


def test_a_server_that_cannot_now_is_asked_again_when_it_says_so(
    server: Scripted, farm: Connection, slept: list[float]
) -> None:
    later = refused(503, "unavailable", "Later.")
    later.headers["Retry-After"] = "7"
    server.on("PUT", "/api/jobs", later, 12)
    assert farm.newJob(command="echo") == 12
    assert slept == [7]


def test_what_is_only_not_in_the_database_yet_is_not_submitted_twice(
    server: Scripted, farm: Connection
) -> None:
    server.on("PUT", "/api/jobs", refused(503, "not_durable", "The disk is full."), 12)
    with pytest.raises(errors.NotDurable, match="The disk is full"):
        farm.newJob(command="echo")
    assert len(server.sent()) == 1


def test_without_retries_a_question_is_asked_once(server: Scripted) -> None:
    server.on("GET", "/api/jobs/1", LOST, job(1))
    with pytest.raises(errors.ServerUnreachable):
        Connection(server.url, retries=0).getJob(1)


def test_a_redirect_is_told_and_not_followed(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/1", Answer(b"", 302, {"Location": "https://other/api/jobs/1"}))
    with pytest.raises(errors.ConfigError, match="sends elsewhere, to https://other/api/jobs/1"):
        farm.getJob(1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "no web server; is the port right"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "speaks https; try https://"),
    ],
)
def test_a_port_where_something_else_talks_is_recognised(words: bytes, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            with listening.accept()[0] as other:
                other.recv(10_000)
                other.sendall(words)

        thread = threading.Thread(target=talk)
        thread.start()
        with pytest.raises(errors.CoalitionError, match=said):
            Connection("127.0.0.1", listening.getsockname()[1]).getJob(1)
        thread.join()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (socket.EAI_NONAME, "the name in http://farn:19211 is unknown"),
        (socket.EAI_AGAIN, "the server at http://farn:19211 does not answer (away)"),
    ],
)
def test_a_name_that_nobody_has_is_told_from_a_name_service_that_is_away(
    number: int, said: str
) -> None:
    # No name is sure to be looked up here as nowhere else, so the failure is made by hand.
    failure = requests.ConnectionError()
    failure.__cause__ = NewConnectionError(HTTPConnection("farn"), "no")
    failure.__cause__.__cause__ = socket.gaierror(number, "away")
    assert str(faults.of_failure(failure, "http://farn:19211", "PUT")).startswith(said)


def test_a_connection_is_kept_but_not_used_after_a_long_rest(server: Scripted) -> None:
    now = 0.0
    server.on("PUT", "/api/jobs", 12)
    farm = Connection(server.url, clock=lambda: now)
    for now in (1.0, 5.0, 100.0):  # noqa: B007
        farm.newJob(command="echo")
    first, second, third = [request.port for request in server.requests]
    assert first == second != third


def test_threads_have_connections_of_their_own(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/1", job(1))
    farm.getJob(1)
    thread = threading.Thread(target=farm.getJob, args=(1,))
    thread.start()
    thread.join()
    ours, theirs = [request.port for request in server.requests]
    assert ours != theirs


def test_each_thread_has_its_own_block(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/1", job(1))
    server.on("POST", "/api/jobs", 1)
    refusals: list[Exception] = []

    def other() -> None:
        try:
            farm.getJob(1).title = "theirs"
        except errors.CoalitionError as error:
            refusals.append(error)

    with farm:
        farm.getJob(1).title = "ours"
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refusals) == 1
    assert server.sent()[-1] == ("POST", "/api/jobs", {"1": {"title": "ours"}})
