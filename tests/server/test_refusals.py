"""What the server refuses: a status of 4xx, one shape of error, and nothing changed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.builders import Api
from tests.server.conftest import MAXBODY


@pytest.fixture
def farm(api: Api) -> Iterator[Api]:
    """A small farm, which is afterwards as it was."""
    first = api.put({"title": "first", "command": "true"})
    group = api.put({"title": "group", "dependencies": [first]})
    api.put({"title": "inside", "command": "true", "parent": group})
    api.worker("pickjob", "w")
    api.worker("endjob", "w", jobId=first, errorCode=1)
    before = everything(api)
    yield api
    assert everything(api) == before


def everything(api: Api) -> list[Any]:
    jobs = api.get("jobs")
    below = [api.get(f"jobs/{job['id']}/children") for job in jobs]
    links = [api.get(f"jobs/{job['id']}/dependencies") for job in jobs]
    workers = [{**worker, "ping_time": 0} for worker in api.get("workers")]
    return [jobs, below, links, workers, api.get("affinities")]


def id_of(api: Api, title: str) -> int:
    found = [*api.get("jobs"), *api.get(f"jobs/{api.get('jobs')[1]['id']}/children")]
    return next(int(job["id"]) for job in found if job["title"] == title)


def refused(api: Api, status: int, code: str, method: str, path: str, body: Any = None) -> Any:
    answer = api.ask(method, path, body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    (error,) = answer.json().values()
    assert list(answer.json()) == ["error"] and set(error) <= {"code", "message", "detail"}
    assert error["code"] == code and error["message"]
    return error


MALFORMED = [b"{", b"", b"\xff\xfe", b'{"command": "a', b"[" * 50_000, b"nonsense", b"{}{}"]


@pytest.mark.parametrize("body", [body for body in MALFORMED if body])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "jobs"),
        ("POST", "jobs"),
        ("DELETE", "jobs"),
        ("POST", "resetjobs"),
        ("POST", "workers"),
        ("DELETE", "workers"),
        ("POST", "affinities"),
    ],
)
def test_a_body_that_is_not_json(farm: Api, method: str, path: str, body: bytes) -> None:
    refused(farm, 400, "bad_request", method, f"/api/{path}", body)


@pytest.mark.parametrize(
    "job",
    [
        {"command": 5},
        {"command": ["a"]},
        {"priority": 1.5},
        {"priority": "high"},
        {"retry": -1},
        {"timeout": -0.5},
        {"timeout": "soon"},
        {"parent": {}},
        {"parent": 1.5},
        {"dependencies": 7},
        {"dependencies": [1.5]},
        {"environment": {"A": 1}},
        {"environment": {"A=B": "1"}},
        {"environment": {"A": "a\nb"}},
        {"state": "FINISHED"},
        {"state": "nonsense"},
        {"paused": "perhaps"},
        {"globalprogress": "(%percent"},
        {"localprogress": "no number"},
        {"colour": "red"},
        {"children": [{"colour": "red"}]},
        {"children": {}},
        "text",
        5,
        None,
        [[]],
        [{"command": "true"}, {"retry": -1}],
    ],
)
def test_a_job_with_a_wrong_field(farm: Api, job: Any) -> None:
    body = {"command": "true", **job} if isinstance(job, dict) else job

    refused(farm, 400, "bad_request", "PUT", "/api/jobs", body)


def test_the_message_names_the_field_that_is_wrong(farm: Api) -> None:
    body = [{"children": [{"command": "true"}, {"retry": "x"}]}]
    error = refused(farm, 400, "bad_request", "PUT", "/api/jobs", body)

    assert "$[0].children[1].retry" in error["message"]


@pytest.mark.parametrize(
    ("code", "job"),
    [
        ("unknown_parent", {"parent": 10**6}),
        ("unknown_parent", {"parent": -1}),
        ("unknown_parent", {"parent": 2**70}),
        ("unknown_parent", {"parent": "nowhere"}),
        ("unknown_parent", {"parent": "group|nowhere"}),
        ("unknown_dependency", {"dependencies": [10**6]}),
        ("unknown_dependency", {"dependencies": [-1]}),
        ("unknown_dependency", {"dependencies": [0]}),
        ("unknown_dependency", {"dependencies": [2**70]}),
        ("unknown_dependency", {"dependencies": "99999999999999999999"}),
    ],
)
def test_a_parent_or_dependency_that_does_not_exist(farm: Api, code: str, job: Any) -> None:
    refused(farm, 400, code, "PUT", "/api/jobs", {"command": "true", **job})
    refused(farm, 400, code, "POST", "/api/jobs", {str(id_of(farm, "inside")): job})


def test_a_parent_that_has_run(farm: Api) -> None:
    body = {"command": "true", "parent": "first"}

    refused(farm, 409, "not_a_group", "PUT", "/api/jobs", body)


def test_a_cycle_through_the_tree(farm: Api) -> None:
    group, inside = id_of(farm, "group"), id_of(farm, "inside")

    refused(farm, 409, "cycle", "POST", f"/api/jobs/{inside}/dependencies", [group])
    refused(farm, 409, "cycle", "POST", "/api/jobs", {str(group): {"parent": group}})
    body = {"command": "true", "parent": group, "dependencies": [group]}
    refused(farm, 409, "cycle", "PUT", "/api/jobs", body)


@pytest.mark.parametrize("id", [10**6, 2**59, 10**18 - 1])
def test_a_job_that_does_not_exist(farm: Api, id: int) -> None:
    there = id_of(farm, "first")
    for path in ("", "/children", "/dependencies", "/childrendependencies", "/log"):
        refused(farm, 404, "unknown_job", "GET", f"/api/jobs/{id}{path}")
    for path in ("resetjobs", "reseterrorjobs", "startjobs", "pausejobs"):
        refused(farm, 404, "unknown_job", "POST", f"/api/{path}", [there, id])
    refused(farm, 404, "unknown_job", "DELETE", "/api/jobs", [there, id])
    body = {str(there): {"title": "new"}, str(id): {"title": "new"}}
    refused(farm, 404, "unknown_job", "POST", "/api/jobs", body)
    refused(farm, 404, "unknown_job", "POST", f"/api/jobs/{id}/dependencies", [there])


@pytest.mark.parametrize("id", [0, -5, 2**70])
def test_an_order_about_a_number_that_is_no_job(farm: Api, id: int) -> None:
    answer = farm.ask("POST", "/api/pausejobs", [id])

    assert answer.status_code in (400, 404)


@pytest.mark.parametrize("ids", [["x"], [1.5], [None], "1", 5, [[1]], {"x": 1}, ["1e3"]])
def test_an_order_about_what_is_no_list_of_ids(farm: Api, ids: Any) -> None:
    refused(farm, 400, "bad_request", "POST", "/api/resetjobs", ids)


@pytest.mark.parametrize(
    "edit",
    [
        {"retry": -1},
        {"colour": 1},
        {"state": "WORKING"},
        {"state": "PENDING"},
        {"id": 5},
        {"command": None},
        5,
    ],
)
def test_a_wrong_edit(farm: Api, edit: Any) -> None:
    first, inside = id_of(farm, "first"), id_of(farm, "inside")

    body = {str(first): {"title": "new"}, str(inside): edit}
    refused(farm, 400, "bad_request", "POST", "/api/jobs", body)


def test_a_worker_that_does_not_exist(farm: Api) -> None:
    refused(farm, 404, "unknown_worker", "POST", "/api/workers", {"w": {"active": 0}, "x": {}})
    for path in ("startworkers", "stopworkers"):
        refused(farm, 404, "unknown_worker", "POST", f"/api/{path}", ["w", "x"])
    refused(farm, 404, "unknown_worker", "DELETE", "/api/workers", ["w", "x"])


@pytest.mark.parametrize("body", [{"w": {"active": 3}}, {"w": {"name": "x"}}, {"w": 1}, ["w"]])
def test_a_wrong_edit_of_a_worker(farm: Api, body: Any) -> None:
    refused(farm, 400, "bad_request", "POST", "/api/workers", body)


@pytest.mark.parametrize("body", [{"0": "A"}, {"65": "A"}, {"x": "A"}, {"-1": "A"}, {"1": 5}, []])
def test_affinity_numbers_from_1_to_64_only(farm: Api, body: Any) -> None:
    refused(farm, 400, "bad_request", "POST", "/api/affinities", body)


@pytest.mark.parametrize("query", ["job=x", "howlong=soon", "job=1.5"])
def test_a_question_about_events_with_wrong_numbers(farm: Api, query: str) -> None:
    refused(farm, 400, "bad_request", "GET", f"/api/events?{query}")


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/nothing",
        "/api/jobs/1/nothing",
        "/api/jobs/x",
        "/api/jobs/-1",
        "/api/jobs/1/2/children",
        "/workers/nothing",
        "/api/jobs/" + "9" * 30,
    ],
)
def test_an_address_that_does_not_exist(farm: Api, path: str) -> None:
    for method in ("GET", "POST"):
        refused(farm, 404, "unknown_route", method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/api/jobs"),
        ("DELETE", "/api/jobs/1"),
        ("GET", "/api/resetjobs"),
        ("PUT", "/api/workers"),
        ("GET", "/workers/node"),
    ],
)
def test_a_method_that_an_address_does_not_take(farm: Api, method: str, path: str) -> None:
    error = refused(farm, 405, "wrong_method", method, path)

    assert error["detail"]["takes"]


def test_a_body_over_the_limit(farm: Api) -> None:
    body = {"command": "x" * MAXBODY}
    error = refused(farm, 413, "too_large", "PUT", "/api/jobs", body)

    assert error["detail"]["limit"] == MAXBODY


def test_a_body_in_chunks_over_the_limit(farm: Api) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"command": "'
        for _ in range(60):
            yield b"x" * 10_000
        yield b'"}'

    answer = farm.session.put(f"{farm.url}/api/jobs", data=pieces(), timeout=30)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_body_in_chunks_below_the_limit_is_taken(api: Api) -> None:
    pieces = iter([b'{"command": ', b'"tr', b'ue"}'])
    answer = api.session.put(f"{api.url}/api/jobs", data=pieces, timeout=30)

    assert answer.status_code == 200
    assert api.get(f"jobs/{answer.json()}")["command"] == "true"


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"PUT /api/jobs HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"\x00" * 5000,
        b"PUT /api/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    ],
)
def test_nonsense_on_the_connection_does_no_harm(farm: Api, data: bytes) -> None:
    host, port = farm.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    assert farm.ask("GET", "/health").status_code == 200
