"""Paging, sorting and filtering of every list of the API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coalition.server import lists
from tests.server.builders import Api


@pytest.fixture
def film(api: Api) -> Iterator[list[int]]:
    """A group with three shots, and a job beside it."""
    shots = [
        {"title": "Shot 1", "command": "render a", "priority": 5, "user": "ada", "affinity": "L,X"},
        {"title": "Shot 2", "command": "render b", "priority": -7, "user": "bob", "paused": True},
        {"title": "100%", "command": "render_c", "priority": 10**20, "user": "a,b"},
    ]
    made = api.put({"title": "Film", "children": shots})
    beside = api.put({"title": "beside", "command": "true", "user": "ada"})
    yield [made["id"], *made["children"], beside]


def found(api: Api, query: str, path: str = "jobs") -> list[int]:
    return [row["id"] for row in api.get(f"{path}?{query}")]


def test_without_parameters_the_list_is_the_top_level(api: Api, film: list[int]) -> None:
    group, *_, beside = film
    answer = api.ask("GET", "/api/jobs")

    assert [job["id"] for job in answer.json()] == [group, beside]
    assert answer.headers["X-Total-Count"] == "2"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("user=ada", [1, 4]),
        ("user=ada,bob", [1, 2, 4]),
        ("user=ada&user=bob", [1, 2, 4]),
        (r"user=a\,b", [3]),
        ("user=", [0]),
        ("state=PAUSED", [2]),
        ("state=WAITING,PAUSED&parent={0}", [1, 2, 3]),
        ("parent=0", [0, 4]),
        ("id={1},{3}", [1, 3]),
        ("title=shot", [1, 2]),
        ("title=0%25", [3]),
        ("command=render_", [3]),
        ("affinity=X", [1]),
        ("priority_min=5&parent={0}", [1, 3]),
        ("priority_max=5&parent={0}", [1, 2]),
        ("priority_max=4.5&priority_min=-7", [2]),
        ("priority=5,-7", [1, 2]),
        ("paused=1", [2]),
        ("paused=false&user=bob", []),
        ("is_group=1", [0]),
        ("progress_min=0&parent=0", [0]),
        ("sort=-priority,id&parent={0}", [3, 1, 2]),
        ("sort=priority&parent={0}", [2, 1, 3]),
        ("sort=-title&parent={0}", [2, 1, 3]),
        ("sort=user,-id&limit=3&id_min=0", [0, 3, 4]),
        ("parent={0}&limit=2", [1, 2]),
        ("parent={0}&limit=2&offset=2", [3]),
        ("parent={0}&offset=1", [2, 3]),
        ("limit=0", []),
        ("offset=1", [4]),
    ],
)
def test_a_list_of_jobs_is_filtered_sorted_and_paged(
    api: Api, film: list[int], query: str, expected: list[int]
) -> None:
    assert found(api, query.format(*film)) == [film[number] for number in expected]


def test_the_total_is_that_of_all_pages(api: Api, film: list[int]) -> None:
    answer = api.ask("GET", f"/api/jobs/{film[0]}/children?limit=1&priority_min=0")
    assert len(answer.json()) == 1
    assert answer.headers["X-Total-Count"] == "2"


@pytest.mark.parametrize(
    "path", ["jobs", "jobs/{0}/children", "jobs/{0}/dependencies", "jobs/{0}/childrendependencies",
             "jobs/users", "jobs/states", "jobs/workers", "jobs/priorities", "jobs/affinities",
             "workers", "events"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("colour=red", "colour"),
        ("title_min=3", "title_min"),
        ("ping=1", "ping"),
        ("sort=colour", "sort"),
        ("sort=id,,title", "sort"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("offset=1e3", "offset"),
        ("where_clause=1", "where_clause"),
    ],
)
def test_what_a_list_does_not_know_is_refused_by_name(
    api: Api, film: list[int], path: str, query: str, field: str
) -> None:
    answer = api.ask("GET", f"/api/{path.format(*film)}?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["detail"] == {"field": field}


@pytest.mark.parametrize(
    "query",
    ["id=x", "id=1,,2", "priority_min=", "priority_min=inf", "priority=nan", "paused=2", "paused=",
     "id=9" + "9" * 40, "state=done", "state=waiting", "state=", "state=ERROR,STOPPED"],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused_by_name(api: Api, query: str) -> None:
    answer = api.ask("GET", f"/api/jobs?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["detail"] == {"field": query.partition("=")[0]}


@pytest.mark.parametrize("path", ["workers", "events", "jobs/states"])
def test_a_state_that_does_not_exist_is_refused(api: Api, path: str) -> None:
    answer = api.ask("GET", f"/api/{path}?state=PARTY")
    assert answer.status_code == 400
    assert answer.json()["error"]["detail"] == {"field": "state"}
    assert "one of W" in answer.json()["error"]["message"]


@pytest.mark.parametrize("query", ["id_min=1", "priority_max=2.5", "title=a"])
def test_a_bound_or_a_part_stands_there_once(api: Api, query: str) -> None:
    answer = api.ask("GET", f"/api/jobs?{query}&{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["detail"] == {"field": query.partition("=")[0]}


@pytest.mark.parametrize("between", [",", "&id="])
def test_an_address_full_of_values_is_answered(api: Api, film: list[int], between: str) -> None:
    values = between.join(map(str, [*range(10**7, 10**7 + 1200), film[1]]))
    assert found(api, f"id={values}") == [film[1]]


def test_a_list_can_be_asked_by_everything_at_once(api: Api, film: list[int]) -> None:
    values = {"": "", "_min": "-1e17", "_max": "1e17"}
    conditions = [
        f"{name}={values[bound]}"
        for name, kind, bound in lists.JOBS.parameters()
        if (bound or kind == "text") and "progress" not in name
    ]
    beyond = film[3]  # its priority is larger than any bound
    assert found(api, "&".join(conditions)) == [id for id in film if id != beyond]


def test_workers_and_runs_are_filtered_sorted_and_paged(api: Api) -> None:
    jobs = [api.put({"command": "true", "title": f"t{number}"}) for number in range(3)]
    for name in ("sun", "moon"):
        api.worker("pickjob", name, load="[7]")
    api.worker("endjob", "moon", jobId=jobs[1], errorCode=3)
    ours = f"job_id_min={jobs[0]}"

    assert [one["name"] for one in api.get("workers?sort=-name")] == ["sun", "moon"]
    assert [one["name"] for one in api.get("workers?state=WORKING")] == ["sun"]
    assert [one["name"] for one in api.get("workers?ping_time_min=1&limit=1&offset=1")] == ["sun"]
    assert [one["worker"] for one in api.get(f"events?{ours}&state=ERROR&code=3")] == ["moon"]
    assert [one["worker"] for one in api.get(f"events?{ours}&worker=sun,moon&sort=-id")] == [
        "moon",
        "sun",
    ]
    assert [one["worker"] for one in api.get(f"events?{ours}&job_title=T0&job=-1&worker=")] == [
        "sun"
    ]
