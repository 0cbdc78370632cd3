"""Trees of jobs that are created by one request."""

from __future__ import annotations

import json

import pytest

from coalition import Connection, JobId, NewJob, errors
from tests.scripted import Scripted


def film() -> NewJob:
    frames = [NewJob(f"Frame {n}", f"render -f {n}", retry=2) for n in (1, 2)]
    join = NewJob("Join", "join", dependencies=["frames"], environment={"A": "1"})
    return NewJob("Film", children=[NewJob("Frames", key="frames", children=frames), join])


def test_a_tree_is_created_by_one_request(server: Scripted, farm: Connection) -> None:
    answer = {"id": 7, "children": [{"id": 8, "children": [9, 10]}, 11]}
    server.on("PUT", "/api/jobs", answer)
    made = farm.addJobs(film())
    frames, join = made.children
    assert (made, frames, frames.children, join) == (7, 8, [9, 10], 11)
    assert server.sent() == [("PUT", "/api/jobs", {
        "title": "Film", "children": [
            {"title": "Frames", "key": "frames", "children": [
                {"title": "Frame 1", "command": "render -f 1", "retry": 2},
                {"title": "Frame 2", "command": "render -f 2", "retry": 2}]},
            {"title": "Join", "command": "join", "dependencies": ["frames"],
             "environment": {"A": "1"}}]})]  # fmt: skip


def test_many_trees_come_back_as_many_ids(server: Scripted, farm: Connection) -> None:
    server.on("PUT", "/api/jobs", [7, {"id": 8, "children": [9]}])
    made = farm.addJobs([NewJob("a", "a"), {"title": "b", "children": [{"command": "c"}]}])
    assert made == [7, 8]
    assert [one.children for one in made] == [[], [9]]


def test_an_empty_group_is_a_group(server: Scripted, farm: Connection) -> None:
    server.on("PUT", "/api/jobs", {"id": 7, "children": []})
    farm.addJobs(NewJob("Film", children=[]))
    assert server.sent()[0][2] == {"title": "Film", "children": []}


def test_ids_that_were_created_can_be_used_as_numbers(server: Scripted, farm: Connection) -> None:
    server.on("PUT", "/api/jobs", 8)
    server.on("POST", "/api/pausejobs", 1)
    farm.addJobs(NewJob(parent=JobId(7), dependencies=[JobId(6)]))
    farm.newJob(JobId(7), dependencies=[JobId(6)])
    farm.pauseJobs([JobId(7)])
    tree, job, paused = [body for _, _, body in server.sent()]
    assert [(body["parent"], body["dependencies"]) for body in (tree, job)] == [(7, [6])] * 2
    assert paused == [7]
    assert json.dumps(JobId(7)) == "7"


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"title": 5}, r"Expected `str \| null`, got `int` - at `\$\[0\].children\[0\].title`"),
        ({"priority": "high"}, r"Expected `int \| null`, got `str` - at .*\.priority`"),
        ({"retry": -1}, r"Expected `int` >= 0 - at .*\.retry`"),
        ({"timeout": -5}, r"Expected `float` >= 0.0 - at .*\.timeout`"),
        ({"title": {1, 2}}, "got `array`"),
        ({"title": object()}, "this cannot be sent"),
    ],
)
def test_a_slip_is_found_before_anything_is_sent(
    server: Scripted, farm: Connection, job: dict[str, object], said: str
) -> None:
    with pytest.raises(errors.BadRequest, match=said):
        farm.addJobs([{"title": "Film", "children": [job]}])
    assert server.sent() == []
