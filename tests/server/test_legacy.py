"""/json/addjob and /xmlrpc/addjob: what scripts of Coalition 3 and 4 call, and what they get."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.server.builders import Api

ADDRESSES = ["/json/addjob", "/xmlrpc/addjob"]

ALL = {
    "title": "frame 1", "cmd": "render 'a b'", "dir": "/shots", "env": "A=1\\nB=2",
    "priority": "2000", "timeout": "30", "retry": "3", "affinity": "LINUX,24GB",
    "localprogress": "%percent", "globalprogress": "P:%one", "url": "http://example.org/1",
    "user": "ada",
}  # fmt: skip


def add(api: Api, params: dict[str, Any], method: str = "GET", path: str = "") -> requests.Response:
    """Add a job by the parameters of an address, or of a form."""
    given = {"params": params} if method == "GET" else {"data": params}
    url = api.url + (path or ADDRESSES[0])
    return api.session.request(method, url, timeout=30, **given)  # type: ignore[arg-type]


def added(api: Api, params: dict[str, Any], method: str = "GET", path: str = "") -> dict[str, Any]:
    """The job that was added by such parameters."""
    answer = add(api, params, method, path)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = api.get(f"jobs/{int(answer.text)}")
    return shown


@pytest.mark.parametrize("path", ADDRESSES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_job_is_added_with_all_that_is_said_of_it(api: Api, method: str, path: str) -> None:
    shown = added(api, ALL, method, path)
    expected: dict[str, Any] = {**ALL, "priority": 2000, "timeout": 30, "retry": 3}
    expected["command"], expected["environment"] = expected.pop("cmd"), expected.pop("env")
    expected["progress_pattern"] = expected.pop("localprogress")

    assert {name: shown[name] for name in expected} == expected


def test_the_answer_is_the_number_and_nothing_else(api: Api) -> None:
    answer = add(api, {"cmd": "true"})
    (job,) = api.get("jobs")

    assert answer.text == str(job["id"])
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_the_address_of_the_manual_adds_a_job(api: Api) -> None:
    query = "title=job&cmd=echo toto&priority=1000&affinity=linux&retry=10"
    shown = api.get(f"jobs/{api.ask('GET', f'/json/addjob?{query}').text}")

    assert (shown["title"], shown["command"], shown["retry"]) == ("job", "echo toto", 10)


def test_what_is_not_said_is_as_it_was(api: Api) -> None:
    shown = added(api, {"command": "true"})
    expected = {
        "title": "New job", "command": "true", "dir": ".", "environment": "", "parent": 0,
        "priority": 1000, "timeout": 0, "retry": 0, "affinity": "", "user": "", "url": "",
        "state": "WAITING", "dependencies": [],
    }  # fmt: skip

    assert {name: shown[name] for name in expected} == expected


@pytest.mark.parametrize(
    "params", [{"env": "None", "localprogress": "None"}, {"env": "", "dir": ""}]
)
def test_none_and_nothing_are_as_if_it_had_not_been_said(api: Api, params: dict[str, str]) -> None:
    shown = added(api, {"cmd": "true", **params})

    assert (shown["environment"], shown["progress_pattern"], shown["dir"]) == ("", "", ".")


def test_parameters_may_stand_in_the_address_of_a_form_as_well(api: Api) -> None:
    url = f"{api.url}/xmlrpc/addjob?title=t&cmd=false"
    id = api.session.post(url, data={"cmd": "true"}, timeout=30).text
    shown = api.get(f"jobs/{id}")

    assert (shown["title"], shown["command"]) == ("t", "true")


def test_a_parent_is_named_by_id_title_and_path(api: Api) -> None:
    add(api, {"title": "departments"})
    render = int(add(api, {"title": "render", "parent": "departments"}).text)
    for parent in (str(render), "render", "departments|render", "|departments|render"):
        assert added(api, {"cmd": "true", "parent": parent})["parent"] == render

    assert added(api, {"cmd": "true", "parent": "0"})["parent"] == 0


@pytest.mark.parametrize(
    "text", ["{0},{1}", "{0} {1}", "[{0}, {1}]", "job {0}; job {1}.", "{0},{1},{0}"]
)
def test_every_run_of_digits_is_a_dependency(api: Api, text: str) -> None:
    ids = [int(add(api, {"cmd": "true"}).text) for _ in range(2)]
    shown = added(api, {"cmd": "true", "dependencies": text.format(*ids)})

    assert (sorted(shown["dependencies"]), shown["state"]) == (ids, "PENDING")


@pytest.mark.parametrize("params", [{"state": "PAUSED"}, {"paused": "1"}, {"paused": "true"}])
def test_a_job_is_added_paused(api: Api, params: dict[str, str]) -> None:
    assert added(api, {"cmd": "true", **params})["state"] == "PAUSED"


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"priority": "high"}, 400, "bad_request"),
        ({"timeout": "soon"}, 400, "bad_request"),
        ({"state": "nonsense"}, 400, "bad_request"),
        ({"globalprogress": "(%percent"}, 400, "bad_request"),
        ({"parent": "nowhere"}, 400, "unknown_parent"),
        ({"parent": "99999"}, 400, "unknown_parent"),
        ({"dependencies": "99999"}, 400, "unknown_dependency"),
        ({"dependencies": "9" * 30}, 400, "unknown_dependency"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_cannot_be_is_refused_readably_and_nothing_is_added(
    api: Api, method: str, params: dict[str, str], status: int, code: str
) -> None:
    answer = add(api, {"cmd": "true", **params}, method)
    error = answer.json()["error"]

    assert (answer.status_code, error["code"]) == (status, code)
    assert error["message"]
    assert api.get("jobs") == []


def test_a_job_that_has_run_is_no_parent(api: Api) -> None:
    first = int(add(api, {"cmd": "true"}).text)
    api.worker("pickjob", "w")
    answer = add(api, {"cmd": "true", "parent": str(first)})

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_a_group")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(api: Api, method: str) -> None:
    assert api.ask(method, "/json/addjob?cmd=true").status_code == 405
    assert api.get("jobs") == []


def test_a_body_that_is_no_form_is_refused_rather_than_ignored(api: Api) -> None:
    answer = api.session.post(f"{api.url}/json/addjob", json={"cmd": "true"}, timeout=30)

    assert (answer.status_code, api.get("jobs")) == (400, [])


@pytest.mark.parametrize("text", ["né à ☃", 'it\'s "x"', "a\\b\\n", "line\nbreak", "a&b=c%d+e"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_any_text_arrives_as_it_was_sent(api: Api, method: str, text: str) -> None:
    shown = added(api, {"cmd": text, "title": text}, method)

    assert (shown["command"], shown["title"]) == (text, text)


@pytest.mark.parametrize("path", ["/api/webfrontend/addjob", "/api/webfrontend/xmlrpc/addjob"])
def test_the_page_of_40_never_had_this_address(api: Api, path: str) -> None:
    assert api.ask("GET", f"{path}?cmd=true").status_code == 404
    assert api.get("jobs") == []


def test_a_text_is_as_long_as_that_of_any_job(api: Api) -> None:
    assert len(added(api, {"cmd": "x" * 100_000}, "POST")["command"]) == 100_000
    answer = add(api, {"cmd": "x" * 100_001}, "POST")

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


@pytest.mark.parametrize("path", ["/json/addjob?cmd=true", "/workers/pickjob?hostname=w"])
def test_asking_only_for_the_head_changes_nothing(api: Api, path: str) -> None:
    answer = api.ask("HEAD", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert api.get("jobs") == api.get("workers") == []
