"""The routes of jobs: what they take and what they answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coalition import wire
from tests.server.builders import Api, inside

JOB = {
    "title": "frame 1",
    "command": "povray 'scene'",
    "dir": "/tmp",
    "environment": "A=1\\nB=2",
    "priority": 2000,
    "timeout": 30,
    "retry": 2,
    "affinity": "LINUX,24GB",
    "url": "http://example.org/1",
    "user": "ada",
    "progress_pattern": "%percent",
    "globalprogress": "P:%one",
    "exclusive": True,
    "scratch": True,
}

FRESH = {
    "state": "WAITING", "paused": False, "worker": "", "start_time": 0, "duration": 0,
    "ping_time": 0, "run_done": 0, "progress": None, "local_progress": None, "finished": 0,
    "errors": 0, "working": 0, "total": 0, "total_finished": 0, "total_errors": 0,
    "total_working": 0,
}  # fmt: skip


def titles(jobs: Any) -> list[str]:
    return [job["title"] for job in jobs]


def test_a_job_is_shown_as_it_was_submitted(api: Api) -> None:
    id = api.put(JOB)
    shown = api.get(f"jobs/{id}")

    assert isinstance(id, int)
    expected = {**JOB, **FRESH, "id": id, "parent": 0, "dependencies": []}
    assert {name: shown[name] for name in expected} == expected
    assert api.get("jobs")[0]["id"] == id


def test_a_job_needs_nothing_but_a_command(api: Api) -> None:
    shown = api.get(f"jobs/{api.put({'command': 'true'})}")

    expected = {"priority": 1000, "timeout": 0, "retry": 0, "environment": "", "affinity": ""}
    expected |= {"exclusive": False, "scratch": False}
    assert {name: shown[name] for name in expected} == expected


def test_an_answer_may_be_sent_back_as_a_new_job(api: Api) -> None:
    shown = api.get(f"jobs/{api.put(JOB)}")
    fields = {name: shown[name] for name in (*JOB, *FRESH, "id", "parent", "dependencies")}
    again = api.get(f"jobs/{api.put(fields)}")

    assert again["id"] != shown["id"]
    assert {**again, "id": 0} == {**shown, "id": 0}


def test_parents_are_named_by_id_by_title_and_by_path(api: Api) -> None:
    departments = api.put({"title": "departments"})
    render = api.put({"title": "render", "parent": departments})
    api.put({"title": "render"})
    parents = [render, str(render), "departments|render", "|departments|render|", "render"]
    for number, parent in enumerate(parents):
        api.put({"title": str(number), "command": "true", "parent": parent})

    assert titles(api.get(f"jobs/{render}/children")) == ["0", "1", "2", "3"]
    api.put({"title": "root", "command": "true", "parent": "0"})
    assert titles(api.get("jobs")) == ["departments", "render", "root"]


def test_a_title_that_stands_only_deep_in_the_tree_is_found_there(api: Api) -> None:
    inner = api.put({"title": "inner café", "parent": api.put({"title": "outer"})})
    id = api.put({"command": "true", "parent": "inner café"})

    assert api.get(f"jobs/{id}")["parent"] == inner


def test_an_environment_may_be_an_object(api: Api) -> None:
    id = api.put({"command": "true", "environment": {"A": "1", "PATH": "/a:/b=c"}})

    assert api.get(f"jobs/{id}")["environment"] == "A=1\\nPATH=/a:/b=c"


@pytest.mark.parametrize("given", ["[{1}, {3}]", '["{1}", "{3}"]', '"{1},{3}"', '" {1} , {3} "'])
def test_dependencies_come_as_a_list_or_as_text(api: Api, given: str) -> None:
    ids = [api.put({"title": str(n), "command": "true"}) for n in range(4)]
    id = api.put({"command": "true", "dependencies": json.loads(given.format(*ids))})

    assert api.get(f"jobs/{id}")["state"] == "PENDING"
    assert titles(api.get(f"jobs/{id}/dependencies")) == ["1", "3"]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"paused": 1}, {"state": "PAUSED", "paused": True}),
        ({"paused": 0}, {"state": "WAITING", "paused": False}),
        ({"paused": "true"}, {"state": "PAUSED"}),
        ({"state": "PAUSED"}, {"state": "PAUSED", "paused": True}),
        ({"priority": "12", "retry": "3", "timeout": "4.5"}, {"priority": 12, "retry": 3}),
        ({"priority": -(10**30)}, {"priority": -(10**30)}),
        ({"localprogress": "%one"}, {"progress_pattern": "%one"}),
        ({"affinity": None, "dependencies": None, "parent": None}, {"affinity": "", "parent": 0}),
        ({"dependencies": ""}, {"dependencies": []}),
        ({"title": "né à ☃", "command": 'echo "\'\\"'}, {"title": "né à ☃"}),
    ],
)
def test_what_old_clients_send_is_understood(
    api: Api, sent: dict[str, Any], shown: dict[str, Any]
) -> None:
    job = api.get(f"jobs/{api.put({'command': 'true', **sent})}")

    assert {name: job[name] for name in shown} == shown


def test_jobs_are_edited_together(api: Api) -> None:
    one, two, group = (api.put({"title": t, "command": "true"}) for t in ("one", "two", "group"))
    edits = {
        str(one): {"title": "first", "priority": 5, "parent": group, "paused": 1},
        str(two): {"affinity": "GPU", "dependencies": [one], "environment": {"A": "b"}},
    }
    assert api.post("jobs", edits) == 1
    first, second = api.get(f"jobs/{one}"), api.get(f"jobs/{two}")

    assert (first["title"], first["priority"], first["state"]) == ("first", 5, "PAUSED")
    assert first["parent"] == group
    assert (second["affinity"], second["dependencies"]) == ("GPU", [one])
    assert (second["state"], second["environment"]) == ("PENDING", "A=b")


def test_an_edit_leaves_what_it_does_not_name(api: Api) -> None:
    id = api.put(JOB)
    before = api.get(f"jobs/{id}")
    api.post("jobs", {str(id): {"priority": 0, "title": ""}})

    assert api.get(f"jobs/{id}") == {**before, "priority": 0, "title": ""}


@pytest.mark.parametrize("field", ["exclusive", "scratch"])
def test_where_a_job_may_run_twice_and_in_which_directory_is_edited(api: Api, field: str) -> None:
    id = api.put({"command": "true"})
    for value in (True, 0, 1, False):
        before = api.get(f"jobs/{id}")
        api.post("jobs", {str(id): {field: value}})
        assert api.get(f"jobs/{id}") == {**before, field: value}


@pytest.mark.parametrize("edit", [{"state": "PAUSED"}, {"paused": True}, {"paused": 1}])
def test_a_job_is_paused_and_started_by_an_edit(api: Api, edit: dict[str, Any]) -> None:
    id = api.put(JOB)
    api.post("jobs", {str(id): edit})
    assert api.get(f"jobs/{id}")["state"] == "PAUSED"
    api.post("jobs", {str(id): {"state": "WAITING"}})

    assert api.get(f"jobs/{id}")["state"] == "WAITING"


@pytest.mark.parametrize("state", ["FINISHED", "ERROR"])
def test_a_state_is_set_by_hand_together_with_other_fields(api: Api, state: str) -> None:
    id = api.put({"command": "true", "paused": 1})
    after = api.put({"command": "true", "dependencies": [id]})
    api.post("jobs", {str(id): {"state": state, "title": "by hand"}})
    shown = api.get(f"jobs/{id}")

    assert (shown["state"], shown["title"], shown["run_done"]) == (state, "by hand", 0)
    assert (api.get(f"jobs/{after}")["state"] == "WAITING") == (state == "FINISHED")


def test_a_worker_is_told_to_end_what_was_set_by_hand(api: Api) -> None:
    id = api.put({"command": "true"})
    api.worker("pickjob", "w")
    api.post("jobs", {str(id): {"state": "FINISHED"}})
    assert api.worker("heartbeat", "w", jobId=id) == "false"
    api.worker("endjob", "w", jobId=id, errorCode=-9)

    assert api.get(f"jobs/{id}")["state"] == "FINISHED"
    assert [event["state"] for event in api.get(f"events?job={id}")] == ["STOPPED"]


def test_the_state_of_a_group_is_not_set_by_hand(api: Api) -> None:
    group = api.put({"title": "group"})
    other = api.put({"title": "other", "command": "true"})
    edits = {str(other): {"title": "new"}, str(group): {"state": "FINISHED"}}
    answer = api.ask("POST", "/api/jobs", edits)

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "illegal_move")
    assert api.get(f"jobs/{other}")["title"] == "other"


@pytest.mark.parametrize("shape", ["list", "texts", "object"])
def test_orders_take_ids_as_numbers_as_text_and_as_the_keys_of_an_object(
    api: Api, shape: str
) -> None:
    ids = [api.put(JOB), api.put(JOB)]
    body: Any = {"list": ids, "texts": [str(id) for id in ids], "object": {id: 1 for id in ids}}[
        shape
    ]
    assert api.post("pausejobs", body) == 1
    assert [job["state"] for job in api.get("jobs")] == ["PAUSED"] * 2
    assert api.post("startjobs", body) == 1
    assert [job["state"] for job in api.get("jobs")] == ["WAITING"] * 2
    assert api.delete("jobs", body) == 1

    assert api.get("jobs") == []


def run(api: Api, code: int, worker: str = "w") -> int:
    job = int(api.worker("pickjob", worker)[1:].split(",")[0])
    api.worker("endjob", worker, jobId=job, errorCode=code)
    return job


def test_jobs_and_failed_jobs_are_reset(api: Api) -> None:
    group = api.put({"title": "group"})
    good, bad = (api.put({"command": "true", "parent": group}) for _ in range(2))
    assert (run(api, 0), run(api, 7)) == (good, bad)
    shown = api.get(f"jobs/{group}")
    assert (shown["state"], shown["total"], shown["total_errors"]) == ("ERROR", 2, 1)
    assert (shown["total_finished"], shown["finished"], shown["errors"]) == (1, 1, 1)

    assert api.post("reseterrorjobs", [group]) == 1
    assert [j["state"] for j in api.get(f"jobs/{group}/children")] == ["FINISHED", "WAITING"]
    assert api.post("resetjobs", [group]) == 1
    assert [j["state"] for j in api.get(f"jobs/{group}/children")] == ["WAITING", "WAITING"]
    assert api.get(f"jobs/{good}/log") == ""
    assert api.get(f"jobs/{group}")["total_finished"] == 0


def test_dependencies_are_shown_and_replaced(api: Api) -> None:
    group = api.put({"title": "group"})
    first, second = (api.put({"command": "true", "parent": group}) for _ in range(2))
    assert api.post(f"jobs/{second}/dependencies", [first]) == 1

    assert [job["id"] for job in api.get(f"jobs/{second}/dependencies")] == [first]
    assert api.get(f"jobs/{group}/childrendependencies") == [{"id": second, "dependency": first}]
    assert api.post(f"jobs/{second}/dependencies", []) == 1
    assert api.get(f"jobs/{second}/dependencies") == []
    assert api.get(f"jobs/{second}")["state"] == "WAITING"


def test_deleting_a_group_deletes_what_is_below_and_its_logs(api: Api) -> None:
    group = api.put({"title": "group"})
    job = api.put({"command": "true", "parent": group})
    after = api.put({"command": "true", "dependencies": [group]})
    run(api, 0)
    log = api.datadir / "logs" / f"{job}.log"
    assert log.exists()
    api.delete("jobs", [group])

    assert [shown["id"] for shown in api.get("jobs")] == [after]
    assert api.get(f"jobs/{after}")["state"] == "WAITING"
    assert api.ask("GET", f"/api/jobs/{job}").status_code == 404
    assert not log.exists()


def test_the_activity_of_jobs_and_workers_is_listed(api: Api) -> None:
    one, two = (api.put({"title": t, "command": "true"}) for t in "ab")
    run(api, 0, "left")
    run(api, 3, "right")
    events = api.get(f"events?job={one}") + api.get(f"events?job={two}")

    assert [(e["job_id"], e["job_title"], e["worker"], e["state"]) for e in events] == [
        (one, "a", "left", "FINISHED"),
        (two, "b", "right", "ERROR"),
    ]
    assert [e["code"] for e in events] == [0, 3]
    assert api.get(f"events?job={one}&worker=right") == []
    assert api.get("events?worker=left&howlong=3600")[-1] == events[0]
    assert api.get("events")[-2:] == events


def test_workers_are_shown_edited_stopped_and_deleted(api: Api) -> None:
    for name in ("a worker", "été"):
        api.worker("pickjob", name, load="[12.5]", free_memory=100, total_memory=200)
    assert api.post("workers", {"a worker": {"affinity": "A,B\nC"}, "été": {"active": 0}}) == 1
    first, second = sorted(api.get("workers"), key=lambda worker: str(worker["name"]))

    assert (first["affinity"], first["active"], first["state"]) == ("A,B\nC", True, "WAITING")
    assert (first["cpu"], first["free_memory"], first["total_memory"]) == ("[12.5]", 100, 200)
    assert (second["name"], second["active"], second["ip"]) == ("été", False, "127.0.0.1")
    unknown = {"host": "", "os": "", "cores": 0, "memory": 0, "version": "", "draining": False}
    assert second.items() >= unknown.items()
    assert api.post("startworkers", ["été"]) == 1
    assert api.post("stopworkers", ["a worker"]) == 1
    assert {w["name"]: w["active"] for w in api.get("workers")} == {"a worker": False, "été": True}
    assert api.delete("workers", ["a worker"]) == 1
    assert [worker["name"] for worker in api.get("workers")] == ["été"]


def test_workers_tell_what_computer_they_are_on(api: Api) -> None:
    told = wire.Host("sun.lan", "Linux 6.1", 64, 256_000, "5.0.0")
    slots = [wire.Slot("sun-1"), wire.Slot("sun-2")]
    api.report(wire.Report("sun", slots, load=wire.Load([0.5], 1, 2), host=told))
    expected = {"host": "sun.lan", "os": "Linux 6.1", "cores": 64, "memory": 256_000}
    expected |= {"version": "5.0.0", "draining": False, "total_memory": 2}
    for shown in api.get("workers"):
        assert shown.items() >= expected.items()


def test_what_is_known_of_jobs_and_computers_survives_a_restart(tmp_path: Path) -> None:
    told = wire.Host("sun.lan", "Linux 6.1", 64, 256_000, "5.0.0")
    with inside(tmp_path) as farm:
        farm.told(0, host=told)
        farm.submit(exclusive=True, scratch=True)
    with inside(tmp_path) as farm:
        (worker,) = farm.workers()
        shown = [worker[name] for name in ("host", "os", "cores", "memory", "version")]
        (start,) = farm.told(0).start

        assert shown == ["sun.lan", "Linux 6.1", 64, 256_000, "5.0.0"]
        assert (start.exclusive, start.scratch) == (True, True)


def test_affinities_are_named_by_number(api: Api) -> None:
    assert api.post("affinities", {"1": "LINUX", "63": "GPU"}) == 1
    assert api.post("affinities", {"1": "WINDOWS"}) == 1

    assert {"1": "WINDOWS", "63": "GPU"}.items() <= api.get("affinities").items()


def test_the_server_says_that_it_is_well(api: Api) -> None:
    answer = api.ask("GET", "/health")

    assert answer.status_code == 200
    assert {"ok": True, "reasons": []}.items() <= answer.json().items()


def test_a_head_request_gives_the_headers_alone(api: Api) -> None:
    answer = api.ask("HEAD", "/api/jobs")

    assert (answer.status_code, answer.content) == (200, b"")
