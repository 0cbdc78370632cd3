"""What can be done with a job that the server gave."""

from __future__ import annotations

from typing import get_type_hints

import pytest
from msgspec import UnsetType

from coalition import Connection, errors, wire
from coalition.client.jobs import Job, JobChanges
from coalition.client.shapes import Event, Worker, WorkerChanges
from tests.scripted import LOST, Scripted, job, refused


@pytest.fixture
def one(server: Scripted, farm: Connection) -> Job:
    server.on("GET", "/api/jobs/1", job(1), job(1, title="new", parent=7, priority=5))
    return farm.getJob(1)


def test_an_update_is_sent_at_once_and_then_the_job_has_the_new_values(
    server: Scripted, one: Job
) -> None:
    server.on("POST", "/api/jobs", 1)
    one.update(title="new", parent="films", priority=5)
    sent = {"1": {"title": "new", "parent": "films", "priority": 5}}
    assert server.sent()[1] == ("POST", "/api/jobs", sent)
    assert (one.title, one.parent, one.priority) == ("new", 7, 5)


def test_an_update_that_is_refused_changes_nothing(server: Scripted, one: Job) -> None:
    server.on("POST", "/api/jobs", refused(400, "unknown_parent", "There is no parent 7."))
    before = dict(one.fields)
    with pytest.raises(errors.UnknownParent):
        one.update(parent=7)
    assert one.fields == before


def test_an_update_is_made_also_where_the_server_is_away_right_after(
    server: Scripted, farm: Connection
) -> None:
    server.on("GET", "/api/jobs/1", job(1), LOST)
    server.on("POST", "/api/jobs", 1)
    one = farm.getJob(1)
    one.update(title="new")
    assert one.title == "new"


def test_an_update_within_a_block_leaves_the_edits_of_the_block_alone(
    server: Scripted, farm: Connection, one: Job
) -> None:
    server.on("POST", "/api/jobs", 1)
    with farm:
        one.title = "by the block"
        one.update(priority=5)
    bodies = [body for method, _, body in server.sent() if method == "POST"]
    assert bodies == [{"1": {"priority": 5}}, {"1": {"title": "by the block"}}]


def test_many_jobs_are_changed_by_one_request(server: Scripted, farm: Connection) -> None:
    server.on("POST", "/api/jobs", 1)
    farm.editJobs({1: {"priority": 5}, 2: {"title": "b"}})
    assert server.sent() == [("POST", "/api/jobs", {"1": {"priority": 5}, "2": {"title": "b"}})]


def test_a_parent_and_dependencies_are_given_as_jobs_too(
    server: Scripted, farm: Connection, one: Job
) -> None:
    server.on("GET", "/api/jobs/7", job(7))
    server.on("POST", "/api/jobs", 1)
    group = farm.getJob(7)
    one.update(parent=group, dependencies=(some for some in (group, 8)))
    farm.editJobs({1: {"parent": group, "dependencies": [group, 8]}})
    with farm:
        one.parent = group
        one.dependencies = [group, 8]
        assert (one.parent, one.dependencies) == (7, [7, 8])
    bodies = [body for method, _, body in server.sent() if method == "POST"]
    assert bodies == [{"1": {"parent": 7, "dependencies": [7, 8]}}] * 3


def test_in_a_block_a_parent_may_be_a_path_and_dependencies_a_text(
    server: Scripted, farm: Connection, one: Job
) -> None:
    server.on("POST", "/api/jobs", 1)
    with farm:
        one.parent = "films|shot 12"
        one.dependencies = "3,4"
    sent = {"1": {"parent": "films|shot 12", "dependencies": "3,4"}}
    assert server.sent()[1:] == [("POST", "/api/jobs", sent)]


def test_what_is_neither_a_job_nor_an_id_is_left_to_the_server(server: Scripted, one: Job) -> None:
    server.on("POST", "/api/jobs", refused(400, "bad_request", "Expected `int`."))
    with pytest.raises(errors.BadRequest, match="Expected"):
        one.update(parent=1.5, dependencies=["frames", 2.5])  # type: ignore[arg-type, list-item]
    sent = {"1": {"parent": 1.5, "dependencies": ["frames", 2.5]}}
    assert server.sent()[1:] == [("POST", "/api/jobs", sent)]


def test_of_a_priority_the_whole_number_counts_as_in_4_0(
    server: Scripted, farm: Connection, one: Job
) -> None:
    server.on("PUT", "/api/jobs", 2)
    server.on("POST", "/api/jobs", 1)
    farm.newJob(command="render", priority=1000 / 3)
    one.update(priority=12.7)
    farm.editJobs({1: {"priority": -12.7}})
    with farm:
        one.priority = 10**30
        one.priority = 1000 / 4
    bodies = [body for method, _, body in server.sent() if method != "GET"]
    assert bodies[0]["priority"] == 333
    assert bodies[1:] == [{"1": {"priority": n}} for n in (12, -12, 250)]


def test_a_priority_without_end_is_refused(server: Scripted, farm: Connection, one: Job) -> None:
    for priority in (float("inf"), float("nan")):
        with pytest.raises(errors.BadRequest, match="a priority cannot be"):
            farm.newJob(priority=priority)
        with pytest.raises(errors.BadRequest, match="a priority cannot be"):
            one.update(priority=priority)
        with pytest.raises(errors.BadRequest, match="a priority cannot be"), farm:
            one.priority = priority
    assert one.priority == 1000
    assert [method for method, _, _ in server.sent()] == ["GET"]


def test_orders_to_a_job_are_sent_and_it_is_then_as_the_server_has_it(
    server: Scripted, one: Job
) -> None:
    orders = {
        "/api/startjobs": one.start,
        "/api/pausejobs": one.pause,
        "/api/resetjobs": one.reset,
    }
    for path, order in orders.items():
        server.on("POST", path, 1)
        assert order() is one
        assert server.sent()[-2:] == [("POST", path, [1]), ("GET", "/api/jobs/1", None)]
    assert one.title == "new"
    server.on("DELETE", "/api/jobs", 1)
    one.delete()
    assert server.sent()[-1] == ("DELETE", "/api/jobs", [1])


def test_every_field_of_the_server_has_its_type() -> None:
    shapes = {
        JobChanges: wire.JobEdit,
        Worker: wire.Worker,
        WorkerChanges: wire.WorkerEdit,
        Event: wire.Event,
    }
    for ours, theirs in shapes.items():
        assert set(ours.__annotations__) == set(theirs.__struct_fields__)
    read = set(wire.JobWithDependencies.__struct_fields__)
    assert set(Job.__annotations__) - {"_connection"} == read


def test_a_job_is_changed_to_what_the_server_takes() -> None:
    ours, theirs = get_type_hints(JobChanges), get_type_hints(wire.JobEdit)
    other = {name for name, kind in theirs.items() if ours[name] | UnsetType != kind}
    assert other == {"parent", "dependencies", "priority"}, "these are made plain before"


def test_no_field_of_a_job_hides_what_can_be_done_with_it() -> None:
    assert [name for name in Job.__annotations__ if hasattr(Job, name)] == []
