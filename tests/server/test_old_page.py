"""What 4.0's web page and scripts asked beyond its manual, and as which page: /api/webfrontend/."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.builders import Api

PREFIXES = ["/api", "/api/webfrontend"]

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(params=PREFIXES)
def prefix(request: pytest.FixtureRequest) -> str:
    """As a script asked, and as the page did."""
    text: str = request.param
    return text


@pytest.fixture
def jobs(api: Api) -> list[int]:
    """A group, with a job in ERROR and one that waits for that."""
    group = api.put({"title": "group", "priority": 7, "affinity": "GPU"})
    fields = {"command": "false", "parent": group, "user": "ada"}
    bad = api.put(fields)
    after = api.put({**fields, "dependencies": [bad]})
    api.worker("pickjob", "w")
    api.post("workers", {"w": {"affinity": "GPU"}})
    api.worker("pickjob", "w")
    api.worker("endjob", "w", jobId=bad, errorCode=1)
    return [group, bad, after]


def answered(api: Api, method: str, path: str, body: Any = None) -> Any:
    answer = api.ask(method, path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_list_is_there_for_page_and_script(api: Api, prefix: str, jobs: list[int]) -> None:
    group, bad, after = jobs
    expected = {
        "users/": [{"user": ""}, {"user": "ada"}],
        "states/": [{"state": "ERROR"}, {"state": "PENDING"}],
        "workers/": [{"worker": ""}, {"worker": "w"}],
        "priorities/": [{"priority": 7}, {"priority": 1000}],
        "affinities/": [{"affinity": ""}, {"affinity": "GPU"}],
        f"{group}/childrendependencies": [{"id": after, "dependency": bad}],
    }
    for path, rows in expected.items():
        assert answered(api, "GET", f"{prefix}/jobs/{path}") == rows, path


@pytest.mark.parametrize("path", ["jobs", "jobs/{}", "jobs/{}/children", "jobs/{}/dependencies",
                                  "jobs/{}/log", "workers", "events", "affinities"])  # fmt: skip
def test_the_page_is_answered_as_a_script(api: Api, jobs: list[int], path: str) -> None:
    both = [answered(api, "GET", f"{prefix}/{path.format(jobs[0])}") for prefix in PREFIXES]

    assert both[0] == both[1]


def test_jobs_are_created_edited_and_ordered_by_page_and_script(
    api: Api, prefix: str, jobs: list[int]
) -> None:
    group, bad, _ = jobs
    assert answered(api, "POST", f"{prefix}/jobs", {str(bad): {"title": "new"}}) == 1
    assert answered(api, "POST", f"{prefix}/reseterrorjobs", [group]) == 1
    shown = api.get(f"jobs/{bad}")
    assert (shown["title"], shown["state"]) == ("new", "WAITING")
    for order, state in (
        ("pausejobs", "PAUSED"),
        ("startjobs", "WAITING"),
        ("resetjobs", "WAITING"),
    ):
        assert answered(api, "POST", f"{prefix}/{order}", [str(bad)]) == 1
        assert api.get(f"jobs/{bad}")["state"] == state
    made = answered(api, "PUT", f"{prefix}/jobs", {"command": "true"})
    assert answered(api, "POST", f"{prefix}/jobs/{made}/dependencies", [bad]) == 1

    assert answered(api, "DELETE", f"{prefix}/jobs", [made]) == 1


def test_workers_are_edited_and_ordered_by_page_and_script(
    api: Api, prefix: str, jobs: list[int]
) -> None:
    for path, body, active in (
        ("workers", {"w": {"active": 0, "affinity": "A,B\nC"}}, 0),
        ("startworkers", ["w"], 1),
        ("stopworkers", ["w"], 0),
    ):
        assert answered(api, "POST", f"{prefix}/{path}", body) == 1
        (worker,) = api.get("workers")
        assert (worker["active"], worker["affinity"]) == (active, "A,B\nC")

    assert answered(api, "DELETE", f"{prefix}/workers", ["w"]) == 1


def test_affinities_always_have_the_numbers_1_to_64(api: Api, prefix: str) -> None:
    assert answered(api, "POST", f"{prefix}/affinities", {"1": "LINUX", "64": "GPU"}) == 1
    named = answered(api, "GET", f"{prefix}/affinities")
    assert list(named) == [str(number) for number in range(1, 65)]
    assert (named["1"], named["64"]) == ("LINUX", "GPU")
    answered(api, "POST", f"{prefix}/affinities", {"1": "", "64": ""})

    assert answered(api, "GET", f"{prefix}/affinities")["1"] == ""


def test_a_worker_on_no_instance_is_not_terminated(api: Api, prefix: str, jobs: list[int]) -> None:
    answer = api.ask("POST", f"{prefix}/terminateworkers", ["w"])
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (409, "no_instance")
    assert "'w'" in error["message"] and "servermode" in error["message"]
    assert api.ask("POST", f"{prefix}/terminateworkers", ["w", "x"]).status_code == 404

    assert answered(api, "POST", f"{prefix}/terminateworkers", []) == 1


@pytest.mark.parametrize("path", ["where/", "count/where/", "where"])
def test_what_took_sql_is_gone_and_says_what_to_use(api: Api, prefix: str, path: str) -> None:
    query = "where_clause=state%3D'ERROR'&min=0&max=10"
    answer = api.ask("GET", f"{prefix}/jobs/{path}?{query}")
    error = answer.json()["error"]

    assert (answer.status_code, error["code"]) == (410, "gone")
    assert all(word in error["message"] for word in ("/api/jobs", "state=", "limit=", "sort="))


def test_json_is_read_whatever_the_content_type_says(api: Api, prefix: str) -> None:
    id = api.ask("PUT", f"{prefix}/jobs", {"command": "true"}, headers=FORM).json()
    assert api.ask("POST", f"{prefix}/pausejobs", [id], headers=FORM).json() == 1

    assert api.get(f"jobs/{id}")["state"] == "PAUSED"


@pytest.mark.parametrize("path", ["jobs", "pausejobs", "resetjobs", "workers", "startworkers",
                                  "stopworkers", "affinities"])  # fmt: skip
def test_an_empty_body_orders_nothing(api: Api, jobs: list[int], path: str) -> None:
    before = (api.get("jobs"), [worker["active"] for worker in api.get("workers")])

    assert answered(api, "POST", f"/api/{path}") == 1
    assert (api.get("jobs"), [worker["active"] for worker in api.get("workers")]) == before


@pytest.mark.parametrize(("flag", "state"), [(1, "PAUSED"), ("1", "PAUSED"), (True, "PAUSED"),
                                             (0, "WAITING"), ("0", "WAITING")])  # fmt: skip
def test_paused_is_a_number_a_text_or_a_boolean(api: Api, flag: Any, state: str) -> None:
    made = api.put({"command": "true", "paused": flag})
    edited = api.put({"command": "true"})
    api.post("jobs", {str(edited): {"paused": flag}})

    assert [api.get(f"jobs/{id}")["state"] for id in (made, edited)] == [state] * 2


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"priority": "1000", "timeout": "12.7"}, {"priority": 1000, "timeout": 12.7}),
        ({"timeout": 12.7, "retry": 3.0}, {"timeout": 12.7, "retry": 3}),
        ({"title": "null", "affinity": "12"}, {"title": "null", "affinity": "12"}),
        (
            dict.fromkeys(("title", "dir", "priority", "timeout", "environment", "state", "url")),
            {"title": "", "dir": ".", "priority": 1000, "timeout": 0, "state": "WAITING"},
        ),
    ],
)
def test_numbers_come_as_texts_and_null_is_the_default(
    api: Api, sent: dict[str, Any], shown: dict[str, Any]
) -> None:
    job = api.get(f"jobs/{api.put({'command': 'true', **sent})}")

    assert {name: job[name] for name in shown} == shown


def test_a_number_is_no_text(api: Api) -> None:
    """4.0 wrote it as one; whoever sends it most likely means another field."""
    answer = api.ask("PUT", "/api/jobs", {"command": "true", "title": 5})

    assert answer.status_code == 400
    assert "$.title" in answer.json()["error"]["message"]


def test_what_the_page_sent_for_nothing_is_nothing(api: Api) -> None:
    job = api.put({"command": "true", "env": "A=1", "dependencies": [""]})
    api.post("jobs", {str(job): {"state": "", "dependencies": [""]}})
    shown = api.get(f"jobs/{job}")
    assert (shown["environment"], shown["dependencies"]) == ("A=1", [])
    assert shown["state"] == "WAITING"
