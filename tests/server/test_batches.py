"""Many jobs in one request: all of them or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from coalition.errors import CoalitionError, UnknownParent
from coalition.server.auth import NOBODY
from coalition.server.service import AT_ONCE
from coalition.store import schema
from coalition.store.listing import ALL
from tests.server.builders import Api, Inside, inside

MANY = 4 * AT_ONCE + 1
"""Enough to be written in several batches."""

TREE = [
    {
        "title": "film",
        "children": [
            {
                "title": "frames",
                "key": "frames",
                "children": [{"title": f"frame {n}", "command": "render"} for n in range(3)],
            },
            {"title": "join", "command": "join", "dependencies": ["frames"], "key": "join"},
        ],
    },
    {"title": "mail", "command": "mail", "dependencies": "join"},
    {"title": "empty", "children": []},
]


def test_trees_are_created_in_one_go_and_the_ids_come_back_in_their_shape(api: Api) -> None:
    film, mail, empty = api.put(TREE)
    frames, join = film["children"]
    a, b, c = frames["children"]

    assert [job["title"] for job in api.get("jobs")] == ["film", "mail", "empty"]
    assert [job["id"] for job in api.get(f"jobs/{film['id']}/children")] == [frames["id"], join]
    assert [job["id"] for job in api.get(f"jobs/{frames['id']}/children")] == [a, b, c]
    assert api.get(f"jobs/{join}")["dependencies"] == [frames["id"]]
    assert (api.get(f"jobs/{mail}")["dependencies"], empty["children"]) == ([join], [])
    assert api.get(f"jobs/{film['id']}")["total"] == 4


def test_what_depends_on_a_key_waits_for_it(api: Api) -> None:
    _, mail, _ = api.put(TREE)
    done = []
    while (answer := api.worker("pickjob", "w")) != "(-1, '', '', '', None)":
        done.append(int(answer[1:].split(",")[0]))
        api.worker("endjob", "w", jobId=done[-1], errorCode=0)

    assert [api.get(f"jobs/{id}")["title"] for id in done] == [
        "frame 0", "frame 1", "frame 2", "join", "mail",
    ]  # fmt: skip
    assert done[-1] == mail


def test_a_batch_goes_below_jobs_and_waits_for_jobs_that_are_there(api: Api) -> None:
    old, home = api.put({"command": "true"}), api.put({"title": "home"})
    first, second = api.put(
        [
            {"command": "true", "parent": "home", "dependencies": [old, "two"]},
            {"command": "true", "parent": home, "key": "two"},
        ]
    )

    assert api.get(f"jobs/{first}")["dependencies"] == [old, second]
    assert [job["state"] for job in api.get(f"jobs/{home}/children")] == ["PENDING", "WAITING"]


def test_a_key_of_digits_means_the_job_of_this_request(api: Api) -> None:
    first, second = api.put(
        [{"command": "true", "key": "7"}, {"command": "true", "dependencies": ["7"]}]
    )

    assert api.get(f"jobs/{second}")["dependencies"] == [first]


def test_one_tree_and_an_empty_list_are_answered_in_their_shape(api: Api) -> None:
    answer = api.put({"title": "group", "children": [{"command": "true"}]})

    assert answer == {"id": answer["id"], "children": [answer["id"] + 1]}
    assert api.put([]) == []


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("unknown_parent", {"parent": 10**9}),
        ("unknown_dependency", {"dependencies": [10**9]}),
        ("bad_request", {"dependencies": ["nobody"]}),
        ("bad_request", {"key": "frames"}),
        ("bad_request", {"retry": -1}),
        ("cycle", {"children": [{"command": "x", "dependencies": ["x"]}], "key": "x"}),
        ("cycle", {"dependencies": ["x"], "key": "x"}),
    ],
)
@pytest.mark.parametrize("many", [0, MANY])
def test_when_one_job_is_refused_none_is_created(
    farm: Inside, code: str, fault: dict[str, Any], many: int
) -> None:
    beside = farm.submit()
    body = [*TREE, *({"command": "true"} for _ in range(many)), {"command": "true", **fault}]
    with pytest.raises(CoalitionError) as refused:
        farm.submit(body)
    farm.turn(20)

    assert refused.value.code == code
    assert [job["id"] for job in farm.children(0)] == [beside] == list(farm.farm.tree.jobs)
    assert farm.submit() > beside


def stored(farm: Inside) -> int:
    """How many jobs are in the database, whether they count or not."""
    with farm.store.reading() as connection:
        return connection.scalar(select(func.count()).select_from(schema.jobs)) or 0


def large(farm: Inside, parent: int = 0) -> list[Any]:
    """Begin to submit many jobs, each of which depends on the one before."""
    jobs = [{"command": "true", "parent": parent, "key": str(n)} for n in range(MANY)]
    for number in range(1, MANY):
        jobs[number]["dependencies"] = [str(number - 1)]
    return farm.begin(farm.service.submit(NOBODY, json.dumps(jobs).encode()))


def test_nothing_of_a_large_batch_is_seen_before_all_of_it_counts(farm: Inside) -> None:
    parent = farm.submit(command="", title="home")
    first = parent + 1
    submitted = large(farm, parent)
    held = farm.held(0)
    seen = []
    while not submitted:
        farm.turn()
        seen.append((len(farm.children(parent)), farm.job(parent)["total"], len(held)))
    farm.turn(5)

    assert set(seen[:-1]) == {(0, 0, 0)}
    assert seen[-1][:2] in [(0, 0), (MANY, MANY)]
    assert submitted == [list(range(first, first + MANY))]
    assert [start.job for start in held[0].start] == [first]  # type: ignore[union-attr]
    states = [job["state"] for job in farm.children(parent)]
    assert states == ["WORKING", *["PENDING"] * (MANY - 1)]
    farm.farm.check_invariants()


def test_a_list_that_was_asked_for_before_a_large_batch_began_has_nothing_of_it(
    farm: Inside,
) -> None:
    submitted = large(farm)
    lists = []
    while not submitted:
        farm.farm.on_name_affinities({1: "LINUX"})  # so that each list waits for a commit
        lists.append(farm.begin(farm.service.children(NOBODY, 0, ALL)))
        farm.turn()
    farm.turn(5)

    sizes = {len(json.loads(bytes(shown.rows))) for (shown,) in lists}  # type: ignore[union-attr]
    assert sizes <= {0, MANY}


def test_others_work_while_a_large_batch_is_written(farm: Inside) -> None:
    submitted = large(farm)
    other = farm.submit()
    farm.order(type(farm.farm).on_pause, other)
    while not submitted:
        farm.turn()

    assert farm.state(other) == "PAUSED"
    assert len(farm.children(0)) == MANY + 1


def test_a_large_batch_below_a_group_that_is_deleted_meanwhile_is_refused(farm: Inside) -> None:
    parent = farm.submit(command="", title="home")
    submitted = large(farm, parent)
    while not farm.farm.changes.submissions:
        farm.turn()
    farm.order(type(farm.farm).on_delete, parent)
    while not submitted:
        farm.turn()
    farm.turn(20)

    assert isinstance(submitted[0].value, UnknownParent)
    assert farm.children(0) == []
    assert farm.farm.tree.jobs == {}


def test_a_large_batch_that_is_cut_short_by_the_end_of_the_server_never_was(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        beside = farm.submit()
        submitted = large(farm)
        while stored(farm) < MANY // 2:
            farm.turn()
        assert not submitted
    with inside(tmp_path) as farm:
        assert [job["id"] for job in farm.children(0)] == [beside]
        assert farm.submit() > beside


def test_a_large_batch_is_the_same_after_a_restart(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        parent = farm.submit(command="", title="home")
        submitted = large(farm, parent)
        while not submitted:
            farm.turn()
        before = farm.children(parent)
    with inside(tmp_path) as farm:
        farm.farm.check_invariants()
        assert farm.children(parent) == before
        assert len(farm.farm.tree.jobs) == MANY + 1


def test_children_are_nested_two_hundred_deep_and_no_deeper(api: Api) -> None:
    def nested(depth: int) -> str:
        return '{"children":[' * depth + '{"command":"true"}' + "]}" * depth

    assert api.ask("PUT", "/api/jobs", nested(200).encode()).status_code == 200
    refused = api.ask("PUT", "/api/jobs", nested(300).encode())
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_request")
