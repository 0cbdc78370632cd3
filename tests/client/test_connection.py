from __future__ import annotations

import subprocess
import sys

import pytest

import coalition
from coalition import Connection, errors
from coalition.address import server_url
from tests.scripted import Scripted, job, refused


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("farm", "http://farm:19211"),
        ("farm:8080", "http://farm:8080"),
        ("http://farm", "http://farm:19211"),
        ("http://farm:8080/", "http://farm:8080"),
        ("https://farm", "https://farm"),
        ("https://farm:19443", "https://farm:19443"),
        ("https://farm/coalition/", "https://farm/coalition"),
        ("::1", "http://[::1]:19211"),
        ("[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_server_is_named_in_many_ways(text: str, url: str) -> None:
    assert server_url(text) == url
    assert Connection(text).url == url


@pytest.mark.parametrize("text", ["", "http://", "ftp://farm", "farm:many", "farm?x=1", "farm:1e9"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="is not the address of a server"):
        Connection(text)


def test_host_and_port_are_the_first_arguments_as_in_4_0() -> None:
    assert Connection("farm", 1234).url == "http://farm:1234"
    assert Connection().url == "http://localhost:19211"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("https://farm", "https://farm:19443"),
        ("https://farm/coalition", "https://farm:19443/coalition"),
        ("https://ada:x@farm", "https://farm:19443"),
        ("https://[::1]", "https://[::1]:19443"),
        ("http://farm", "http://farm:19443"),
        ("https://farm:8443", "https://farm:8443"),
    ],
)
def test_a_port_that_is_given_counts_unless_the_url_names_one(host: str, url: str) -> None:
    assert Connection(host, 19443).url == url


def test_importing_coalition_loads_neither_requests_nor_twisted() -> None:
    code = "import coalition, sys; print({'requests', 'twisted', 'msgspec'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
    assert coalition.CoalitionError is errors.CoalitionError


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Conection'"):
        coalition.Conection  # type: ignore[attr-defined]  # noqa: B018


def test_a_new_job_is_put_and_its_id_comes_back(server: Scripted, farm: Connection) -> None:
    server.on("PUT", "/api/jobs", 12)
    assert farm.newJob(title="Frame 1", command="render", parent="film|frames", retry=2) == 12
    [(method, path, body)] = server.sent()
    assert (method, path) == ("PUT", "/api/jobs")
    assert (body["title"], body["command"]) == ("Frame 1", "render")
    assert (body["parent"], body["retry"]) == ("film|frames", 2)


def test_a_new_job_may_be_exclusive_and_run_in_its_scratch_directory(
    server: Scripted, farm: Connection
) -> None:
    server.on("PUT", "/api/jobs", 12)
    farm.newJob(command="render", exclusive=True, scratch=True)
    [(_, _, body)] = server.sent()
    assert (body["exclusive"], body["scratch"]) == (True, True)


def test_the_arguments_of_a_new_job_stand_in_4_0_order(server: Scripted, farm: Connection) -> None:
    server.on("PUT", "/api/jobs", 12)
    farm.newJob(
        1, "t", "c", "/d", {"A": "1"}, "PAUSED", True, 5, 60, "LINUX", "zoé", "P:%one", [3, 4],
        "http://x", 2, "G:%percent",
    )  # fmt: skip
    [(_, _, body)] = server.sent()
    assert body == {
        "parent": 1, "title": "t", "command": "c", "dir": "/d", "environment": {"A": "1"},
        "state": "PAUSED", "paused": True, "priority": 5, "timeout": 60, "affinity": "LINUX",
        "user": "zoé", "progress_pattern": "P:%one", "dependencies": [3, 4], "url": "http://x",
        "retry": 2, "globalprogress": "G:%percent",
    }  # fmt: skip


def test_a_job_has_its_fields_as_attributes(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/12", job(12, title="Frame", progress=0.5, dependencies=[3]))
    found = farm.getJob(12)
    assert (found.id, found.title, found.progress, found.dependencies) == (12, "Frame", 0.5, [3])
    assert repr(found) == "<Job 12 'Frame' WAITING>"
    assert found.fields == job(12, title="Frame", progress=0.5, dependencies=[3])


def test_children_of_a_group_and_of_the_root(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs", [job(1), job(2)])
    server.on("GET", "/api/jobs/1/children", [job(3)])
    assert [child.id for child in farm.getJobChildren()] == [1, 2]
    assert [child.id for child in farm.getJobChildren(1)] == [3]


def test_dependencies_are_read_and_replaced(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/5/dependencies", [job(3), job(4)])
    server.on("POST", "/api/jobs/5/dependencies", 1)
    assert [one.id for one in farm.getJobDependencies(5)] == [3, 4]
    farm.setJobDependencies(5, [])
    assert server.sent()[-1] == ("POST", "/api/jobs/5/dependencies", [])


def test_orders_are_sent_to_their_routes(server: Scripted, farm: Connection) -> None:
    orders = {
        "/api/resetjobs": farm.resetJobs,
        "/api/reseterrorjobs": farm.resetErrorJobs,
        "/api/startjobs": farm.startJobs,
        "/api/pausejobs": farm.pauseJobs,
    }
    for path, send in orders.items():
        server.on("POST", path, 1)
        send((4, 5))
    server.on("DELETE", "/api/jobs", 1)
    farm.deleteJobs([4])
    wanted = [("POST", path, [4, 5]) for path in orders]
    assert server.sent() == [*wanted, ("DELETE", "/api/jobs", [4])]


def test_jobs_are_named_by_themselves_or_by_their_ids(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/12", job(12))
    server.on("GET", "/api/jobs/12/children", [job(13)])
    server.on("GET", "/api/jobs/12/dependencies", [])
    server.on("POST", "/api/jobs/12/dependencies", 1)
    server.on("PUT", "/api/jobs", 14)
    server.on("DELETE", "/api/jobs", 1)
    group = farm.getJob(12)
    assert [child.id for child in farm.getJobChildren(group)] == [13]
    assert farm.getJobDependencies(group) == []
    farm.setJobDependencies(group, [group, 3])
    farm.newJob(group, dependencies=[group])
    for some in (group, [group], 12, "12"):
        farm.deleteJobs(some)  # type: ignore[arg-type]
    bodies = [body for _, _, body in server.sent()[3:]]
    assert bodies[0] == [12, 3]
    assert (bodies[1]["parent"], bodies[1]["dependencies"]) == (12, [12])
    assert bodies[2:] == [[12]] * 4


def test_workers_and_affinities_are_read_and_changed(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/workers", [{"name": "w-1", "state": "WAITING"}])
    server.on("POST", "/api/workers", 1)
    server.on("GET", "/api/affinities", {"1": "LINUX"})
    server.on("POST", "/api/affinities", 1)
    [worker] = farm.getWorkers()
    assert (worker["name"], worker["state"]) == ("w-1", "WAITING")
    assert farm.getAffinities() == {"1": "LINUX"}
    farm.editWorkers({"w-1": {"active": False}})
    farm.setAffinities({"2": "GPU"})
    farm.setAffinities({3: "LINUX"})
    bodies = [body for _, _, body in server.sent()[2:]]
    assert bodies == [{"w-1": {"active": False}}, {"2": "GPU"}, {"3": "LINUX"}]


def test_orders_to_workers_name_them(server: Scripted, farm: Connection) -> None:
    orders = {
        "/api/startworkers": farm.startWorkers,
        "/api/stopworkers": farm.stopWorkers,
        "/api/pauseworkers": farm.pauseWorkers,
        "/api/drainworkers": farm.drainWorkers,
    }
    for path, send in orders.items():
        server.on("POST", path, 1)
        send(("w-1", "w-2"))
        send("w-1")
    server.on("DELETE", "/api/workers", 1)
    farm.deleteWorkers(["w-1"])
    wanted = [("POST", path, names) for path in orders for names in (["w-1", "w-2"], ["w-1"])]
    assert server.sent() == [*wanted, ("DELETE", "/api/workers", ["w-1"])]


def test_a_with_block_sends_all_edits_in_one_request(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs", [job(1), job(2)])
    server.on("POST", "/api/jobs", 1)
    with farm:
        for one in farm.getJobChildren():
            one.priority = 5
            one.title = f"new {one.id}"
            assert one.title == f"new {one.id}"
    assert server.sent()[1:] == [
        ("POST", "/api/jobs",
         {"1": {"priority": 5, "title": "new 1"}, "2": {"priority": 5, "title": "new 2"}}),
    ]  # fmt: skip


def test_a_with_block_that_fails_sends_nothing(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/1", job(1))
    one = farm.getJob(1)
    with pytest.raises(ZeroDivisionError), farm:
        one.title = "new"
        one.title = "newer"
        _ = 1 / 0
    assert one.title == "Job 1"
    assert [method for method, _, _ in server.sent()] == ["GET"]


def test_edits_the_server_refuses_are_taken_back(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/1", job(1))
    server.on("POST", "/api/jobs", refused(404, "unknown_parent", "There is no parent 7."))
    one = farm.getJob(1)
    with pytest.raises(errors.UnknownParent, match=r"There is no parent 7\."), farm:
        one.parent = 7
    assert one.parent == 0


def test_a_with_block_without_edits_sends_nothing(server: Scripted, farm: Connection) -> None:
    with farm:
        pass
    assert server.sent() == []


def test_a_job_changes_only_inside_of_a_block(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/1", job(1))
    one = farm.getJob(1)
    with pytest.raises(errors.CoalitionError, match="inside of `with connection:`"):
        one.title = "new"
    with farm, pytest.raises(AttributeError, match="'tilte' cannot be changed"):
        one.tilte = "new"  # type: ignore[attr-defined]
    assert one.title == "Job 1"


def test_a_refusal_has_the_class_message_and_detail_of_the_server(
    server: Scripted, farm: Connection
) -> None:
    server.on("PUT", "/api/jobs", refused(409, "cycle", "7 waits for itself.", jobs=[7]))
    with pytest.raises(errors.Cycle, match=r"^7 waits for itself\.$") as caught:
        farm.newJob(dependencies="7")
    assert caught.value.detail == {"jobs": [7]}


def test_a_code_of_a_newer_server_is_a_refusal(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/1", refused(400, "new_word", "No."))
    with pytest.raises(errors.Refused, match=r"^No\.$"):
        farm.getJob(1)
