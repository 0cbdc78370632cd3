"""What a hostile or unlucky client, disk or clock does, and what the server makes of it."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from coalition.core.farm import Farm
from coalition.core.progress import Gauge
from coalition.errors import BadRequest
from coalition.server.discovery import Discovery
from coalition.server.joblog import compile_pattern
from coalition.server.slices import SteadyClock
from coalition.wire import Chunk, End, Report, Slot
from tests.server.builders import Api, Inside, report

END = {"run": 1, "code": 2**70}


@pytest.mark.parametrize(
    "pattern",
    [
        "%one|(?:.?){1000}(?:.?){1000}(?:.?){1000}Z",
        "(.?){100}(.?){100}Z%percent",
        "%percent|",
        "(?:%percent)?",
        "x" * 501 + "%percent",
    ],
)
def test_a_pattern_that_would_stall_the_server_is_refused(api: Api, pattern: str) -> None:
    answer = api.ask("PUT", "/api/jobs", {"command": "true", "globalprogress": pattern})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


def test_the_last_match_of_a_large_chunk_is_found_wherever_it_stands() -> None:
    for place in (0, 1000, 4090, 4096, 60_000):
        gauge = Gauge("P:%percent", compile_pattern)
        data = bytearray(b"x" * 70_000)
        data[place : place + 5] = b"P:37\n"
        assert gauge.feed(bytes(data)) == 0.37


def test_a_pattern_with_a_group_of_the_same_name_reads_its_own_number() -> None:
    assert Gauge("(?P<percent>abc)%one", compile_pattern).feed(b"abc1") == 1.0


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/api/jobs", {"command": "x", "dependencies": ["²"]}),
        ("PUT", "/api/jobs", {"command": "x", "dependencies": "9" * 5000}),
        ("PUT", "/api/jobs", {"command": "x", "parent": "9" * 5000}),
        ("PUT", "/api/jobs", {"command": "x", "environment": {"A": "x" * 200_000}}),
        ("PUT", "/api/jobs", {"command": "x" * 100_001}),
        ("GET", f"/api/events?job={'9' * 30}", None),
        ("GET", f"/api/events?howlong={'9' * 400}", None),
        ("POST", f"/workers/endjob?hostname=w&jobId=2&errorCode={'9' * 30}", None),
        ("POST", "/workers/heartbeat?hostname=w&jobId=2&log=%C3%A9", None),
        ("POST", "/workers/node", {"node": "n", "workers": [], "ends": [END]}),
    ],
)  # fmt: skip
def test_a_number_or_text_out_of_all_bounds_is_refused(
    api: Api, method: str, path: str, body: object
) -> None:
    answer = api.ask(method, path, body)
    assert answer.status_code == 400 and set(answer.json()) == {"error"}, answer.text
    assert api.ask("GET", "/health").json()["reasons"] == []


def test_a_page_that_does_not_exist_is_told_in_the_shape_of_all_errors(api: Api) -> None:
    answer = api.ask("GET", "/nothing/here.html")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_route")


def test_lifting_a_pause_that_is_not_there_does_not_run_a_finished_job_again(farm: Inside) -> None:
    job = farm.submit()
    run = farm.started().run
    farm.told(0, ends=[End(run)])
    farm.order(lambda f, ids, now: f.on_edit({ids[0]: {"paused": False}}, now), job)
    assert farm.state(job) == "FINISHED"
    farm.order(lambda f, ids, now: f.on_edit({ids[0]: {"start": True}}, now), job)
    assert farm.state(job) == "WAITING"


def test_a_log_that_cannot_be_written_holds_back_only_its_own_end(farm: Inside) -> None:
    bad, good = farm.submit(), farm.submit()
    first, second = farm.started("a"), farm.started("b")
    Path(farm.logs.path(bad)).unlink()
    Path(farm.logs.path(bad)).symlink_to("/dev/full")
    orders = farm.told(0, node="b", ends=[End(second.run)])
    assert (first.job, second.job, orders.ended) == (bad, good, [second.run])
    told = farm.begin(
        farm.service.report(
            report(
                0,
                node="a",
                logs=[Chunk(first.run, 0, b"x")],
                ends=[End(first.run, worker="a-1")],
            ),
            "ip",
        )
    )
    farm.pass_time(2.0)
    assert (told[0].ended, told[0].logs) == ([], {first.run: 0})  # type: ignore[union-attr]
    assert farm.state(bad) == "WORKING" and farm.logs.trouble is not None


def test_old_logs_of_jobs_that_were_reset_are_gone_when_they_are_looked_for(farm: Inside) -> None:
    jobs = [farm.submit() for _ in range(2)]
    for _ in jobs:
        farm.told(0, ends=[End(farm.started().run)])
    farm.logs.folder.clear(jobs[:1])
    assert not Path(farm.logs.path(jobs[0])).exists()
    assert Path(farm.logs.path(jobs[1])).exists()
    assert set(farm.logs.folder.job_ids()) == {jobs[1]}


def test_a_database_that_is_replaced_by_an_empty_one_does_not_stop_the_nodes(farm: Inside) -> None:
    job = farm.submit()
    farm.farm.next_run = 3
    said = Report("n", [Slot("n-1", last=7)])
    (start,) = farm.do(farm.service.report(said, "ip")).start
    assert (start.job, start.run) == (job, 8)


def test_a_reset_job_waits_for_its_dying_process_but_not_for_a_silent_worker(farm: Inside) -> None:
    job = farm.submit()
    run = farm.started("a").run
    farm.order(Farm.on_reset, job)
    assert farm.told(0, node="b").start == []
    farm.pass_time(61.0)
    farm.farm.on_tick(farm.clock.seconds())
    assert [s.job for s in farm.told(0, node="b").start] == [job] and run == 1


def test_a_start_that_is_still_on_the_way_is_called_back_before_another_gets_the_job(
    farm: Inside,
) -> None:
    job = farm.submit()
    (start,) = farm.told(0, node="a").start  # a has not received this when it reports again
    farm.order(Farm.on_pause, job)
    farm.order(Farm.on_start, job)
    for _ in range(2):  # the answer that says so may be lost
        assert farm.told(0, node="a").kill == [start.run]
        assert farm.told(0, node="b").start == []

    (again,) = farm.told(0, node="a", unknown=[start.run]).start
    assert again.job == job and again.run > start.run


def test_servers_do_not_answer_each_other_for_ever() -> None:
    said: list[bytes] = []
    here = Discovery()
    here.transport = type("Wire", (), {"write": lambda self, data, addr: said.append(data)})()
    for datagram in (b"coalition", b"", b"anything", b"roxor"):
        here.datagramReceived(datagram, ("127.0.0.1", 1))
    assert said == [b"roxor"] * 3


def test_the_time_of_day_may_be_set_without_anything_happening(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reactor = Clock()
    clock = SteadyClock(reactor)
    begun = clock.seconds()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    reactor.advance(5)
    assert clock.seconds() == pytest.approx(begun + 5)


def test_a_log_of_any_bytes_is_one_json_text(api: Api) -> None:
    job = api.put({"command": "true"})
    text = "é" * 50_000 + '"\\\x1b[0m\n'
    (api.datadir / "logs" / f"{job}.log").write_bytes(b"\xff\0" + text.encode())
    assert api.get(f"jobs/{job}/log") == "\ufffd\0" + text


def test_a_socket_that_sends_nonsense_gets_an_answer_or_is_closed(api: Api) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert b"400" in wire.recv(1000)


def test_patterns_that_are_refused_say_why() -> None:
    with pytest.raises(BadRequest, match="neither %percent nor %one"):
        Gauge("no number", compile_pattern)
