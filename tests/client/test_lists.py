"""Long lists: searched on the server, read page by page."""

from __future__ import annotations

import itertools
from urllib.parse import parse_qs

import pytest

from coalition import Connection, errors
from tests.scripted import Scripted, as_json, job


def asked(server: Scripted) -> list[dict[str, list[str]]]:
    return [parse_qs(path.partition("?")[2]) for _, path, _ in server.sent()]


def test_all_jobs_of_the_tree_come_page_by_page(server: Scripted, farm: Connection) -> None:
    server.lists["/api/jobs"] = [job(id) for id in (1, 2, 5, 7, 8)]
    assert [one.id for one in farm.jobs(page=2)] == [1, 2, 5, 7, 8]
    assert [query["id_min"] for query in asked(server)] == [["1"], ["3"], ["8"]]


def test_only_what_is_read_is_asked_for(server: Scripted, farm: Connection) -> None:
    server.lists["/api/jobs"] = [job(id) for id in range(1, 100)]
    found = farm.jobs(page=10)
    assert server.sent() == []
    assert [one.id for one in itertools.islice(found, 11)] == list(range(1, 12))
    assert len(server.sent()) == 2


def test_jobs_that_go_meanwhile_hide_no_others(server: Scripted, farm: Connection) -> None:
    server.lists["/api/jobs"] = [job(id) for id in range(1, 7)]
    found = farm.jobs(page=2)
    assert next(found).id == 1
    del server.lists["/api/jobs"][:2]
    assert [one.id for one in found] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("sort", ["", "id"])
def test_a_list_is_read_until_a_page_is_short_whatever_its_total(
    server: Scripted, farm: Connection, sort: str
) -> None:
    jobs = server.lists["/api/jobs"] = [job(id) for id in range(1, 3)]
    found = farm.jobs(page=2, sort=sort)
    assert next(found).id == 1
    jobs.append(job(3))
    assert [one.id for one in found] == [2, 3]


def test_jobs_are_searched_by_the_server(server: Scripted, farm: Connection) -> None:
    server.lists["/api/jobs"] = []
    assert list(farm.jobs(user="bob", state=["ERROR", "WORKING"], parent=0, title="sea")) == []
    assert list(farm.jobs(priority_min=5, start_time_max=1.5, id_min=2.5, is_group=0)) == []
    fixed = {"sort": ["id"], "limit": ["500"]}
    words = {"user": ["bob"], "state": ["ERROR,WORKING"], "parent": ["0"], "title": ["sea"]}
    ranges = {"priority_min": ["5"], "start_time_max": ["1.5"], "is_group": ["0"]}
    assert asked(server) == [
        {**words, "id_min": ["1"], **fixed},
        {**ranges, "id_min": ["3"], **fixed},
    ]


def test_a_value_may_have_a_comma_or_a_backslash(server: Scripted, farm: Connection) -> None:
    server.lists["/api/jobs"] = []
    list(farm.jobs(user=["a,b", "FARM\\c"], title="a,b"))
    [query] = asked(server)
    assert (query["user"], query["title"]) == (["a\\,b,FARM\\\\c"], ["a,b"])


def test_none_of_no_values_is_nothing(server: Scripted, farm: Connection) -> None:
    assert list(farm.jobs(state=[])) == []
    assert server.sent() == []


def test_a_filter_that_does_not_exist_is_refused_at_once(farm: Connection) -> None:
    for name in ("usr", "usr_min", "priority_mix"):
        with pytest.raises(TypeError, match=f"there is no filter '{name}'"):
            farm.jobs(**{name: 1})  # type: ignore[arg-type]


def test_another_order_is_paged_by_its_place_and_gives_no_job_twice(
    server: Scripted, farm: Connection
) -> None:
    jobs = server.lists["/api/jobs"] = [job(id, priority=id) for id in range(1, 6)]
    found = farm.jobs(sort="-priority", page=2)
    assert next(found).id == 5
    jobs.append(job(6, priority=6))
    assert [one.id for one in found] == [4, 3, 2, 1]
    assert [query["offset"] for query in asked(server)] == [["0"], ["2"], ["4"], ["6"]]


def test_a_group_gives_its_children(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/1", job(1))
    server.lists["/api/jobs"] = [job(1), job(2, parent=1), job(3, parent=1), job(4, parent=2)]
    assert [child.id for child in farm.getJob(1).children()] == [2, 3]


def test_a_server_that_takes_no_notice_of_a_search_is_recognised(
    server: Scripted, farm: Connection
) -> None:
    server.on("GET", "/api/jobs?user=bob&id_min=1&sort=id&limit=500", as_json([job(1), job(2)]))
    with pytest.raises(errors.CoalitionError, match="too old to search"):
        list(farm.jobs(user="bob"))


def test_a_job_of_a_list_asks_for_its_dependencies_when_they_are_wanted(
    server: Scripted, farm: Connection
) -> None:
    listed = job(1)
    del listed["dependencies"]
    server.lists["/api/jobs"] = [listed]
    server.on("GET", "/api/jobs/1/dependencies", [job(3), job(4)])
    [one] = farm.jobs()
    assert one.dependencies == [3, 4]
    with pytest.raises(AttributeError, match="a job has no 'tilte'"):
        one.tilte  # type: ignore[attr-defined]  # noqa: B018


def test_workers_come_by_name_and_runs_by_their_numbers(server: Scripted, farm: Connection) -> None:
    server.lists["/api/workers"] = [
        {"name": name, "state": "TIMEOUT" if name == "b" else "WAITING"} for name in "cba"
    ]
    server.lists["/api/events"] = [{"id": id, "job_id": 1, "job": 1} for id in (3, 4)]
    assert [worker["name"] for worker in farm.workers(page=2)] == ["a", "b", "c"]
    assert [worker["name"] for worker in farm.workers(state="TIMEOUT")] == ["b"]
    assert [event["id"] for event in farm.events(job=1, page=1)] == [3, 4]
