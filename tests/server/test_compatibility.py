"""Chapter 7 of the manual of Coalition 4.0: each of its examples, with its answer's shape."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.builders import Api

NEW_JOB = {
    "parent": 0,
    "title": "Job 1",
    "command": "echo test",
    "dir": ".",
    "environment": "",
    "state": "WAITING",
    "retry": 10,
    "timeout": 10000,
    "priority": 1000,
    "affinity": "LINUX",
    "user": "render",
    "url": "http://localhost/image.png",
    "progress_pattern": "%percent",
}

JOB = {
    "id": 123, "parent": 0, "title": "Job 123", "command": "echo test", "dir": ".",
    "environment": "", "state": "WAITING", "worker": "worker-1", "start_time": 123456,
    "duration": 12, "ping_time": 123456, "run_done": 1, "retry": 10, "timeout": 10000,
    "priority": 1000, "affinity": "LINUX", "user": "render", "finished": 0, "errors": 0,
    "working": 0, "total": 10, "total_finished": 0, "total_errors": 0, "total_working": 0,
    "url": "http://localhost/image.png", "progress": 0.5, "progress_pattern": "#%percent",
}  # fmt: skip

WORKER = {
    "name": "worker-1", "ip": "127.0.0.1", "affinity": "LINUX,WINDOWS", "state": "WAITING",
    "ping_time": 123456, "finished": 123, "error": 21, "last_job": 1234, "current_event": 1234,
    "cpu": "[0,0,0,0]", "free_memory": 123456, "total_memory": 1000000, "active": 1,
}  # fmt: skip

EVENT = {
    "id": 123, "worker": "worker-1", "job_id": 123, "job_title": "Job 123", "state": "ERROR",
    "start": 123456, "duration": 10,
}  # fmt: skip


def has_shape(answer: dict[str, Any], documented: dict[str, Any]) -> bool:
    """Every documented field is there, with a value of its type; all numbers are of one type."""

    def kind(value: Any) -> type:
        return (
            float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
        )

    return {name: kind(answer[name]) for name in documented} == {
        name: kind(value) for name, value in documented.items()
    }


@pytest.fixture
def job(api: Api) -> int:
    """A job that runs on worker-1, half done."""
    id: int = api.put(NEW_JOB)
    api.worker("pickjob", "worker-1", load="[0,0,0,0]")
    api.post("workers", {"worker-1": {"affinity": "LINUX,WINDOWS"}})
    api.worker("pickjob", "worker-1")
    api.worker("heartbeat", "worker-1", jobId=id, log="NTAlCg==")
    return id


def test_creating_a_job_answers_its_id(api: Api) -> None:
    answer = api.ask("PUT", "/api/jobs", NEW_JOB)
    assert (answer.status_code, type(answer.json())) == (200, int)
    shown = api.get(f"jobs/{answer.json()}")

    assert {name: shown[name] for name in NEW_JOB} == NEW_JOB
    assert answer.headers["content-type"] == "application/json"


def test_a_job_has_all_documented_fields(api: Api, job: int) -> None:
    group = api.put({"title": "group", "children": [{"command": "true", "dependencies": [job]}]})
    after = group["children"][0]
    for path in ("jobs", f"jobs/{group['id']}/children", f"jobs/{after}/dependencies"):
        for shown in api.get(path):
            assert has_shape({**shown, "progress": shown["progress"] or 0.0}, JOB)
    assert has_shape(api.get(f"jobs/{job}"), JOB)


def test_jobs_are_changed_by_their_ids(api: Api, job: int) -> None:
    other = api.put(NEW_JOB)
    edits = {
        id: {"title": f"Job renamed {id}", "command": "echo renamed"}
        for id in (str(job), str(other))
    }
    answer = api.ask("POST", "/api/jobs", edits)

    assert (answer.status_code, answer.json()) == (200, 1)
    assert [shown["title"] for shown in api.get("jobs")] == [e["title"] for e in edits.values()]


def test_dependencies_are_set_by_a_list_of_ids(api: Api) -> None:
    job, first, second = (api.put(NEW_JOB) for _ in range(3))
    answer = api.ask("POST", f"/api/jobs/{job}/dependencies", [first, second])

    assert (answer.status_code, answer.json()) == (200, 1)
    assert [shown["id"] for shown in api.get(f"jobs/{job}/dependencies")] == [first, second]


def test_a_log_is_a_text(api: Api, job: int) -> None:
    answer = api.ask("GET", f"/api/jobs/{job}/log")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert "50%" in answer.json()


@pytest.mark.parametrize(
    ("method", "path", "state"),
    [
        ("POST", "/api/resetjobs", "WAITING"),
        ("POST", "/api/startjobs", "WORKING"),
        ("POST", "/api/pausejobs", "PAUSED"),
        ("DELETE", "/api/jobs", None),
    ],
)
def test_orders_about_jobs_answer_1(
    api: Api, job: int, method: str, path: str, state: str | None
) -> None:
    others = [api.put(NEW_JOB), api.put(NEW_JOB)]
    answer = api.ask(method, path, [job, *others])

    assert (answer.status_code, answer.json()) == (200, 1)
    states = [shown["state"] for shown in api.get("jobs")]
    assert states[:1] == ([] if state is None else [state])


def test_reset_sets_all_counters_to_0(api: Api, job: int) -> None:
    api.worker("endjob", "worker-1", jobId=job, errorCode=0)
    api.post("resetjobs", [job])
    shown = api.get(f"jobs/{job}")

    assert [shown[name] for name in ("run_done", "start_time", "duration")] == [0, 0, 0]


def test_a_worker_has_all_documented_fields(api: Api, job: int) -> None:
    (worker,) = api.get("workers")

    assert has_shape(worker, WORKER)
    assert worker["affinity"] == "LINUX,WINDOWS"


@pytest.mark.parametrize("flag", [0, "0", False, "false"])
def test_workers_are_changed_by_their_names(api: Api, flag: Any) -> None:
    names = ("worker-1", "worker-2")
    for name in names:
        api.worker("pickjob", name)
    edit = {"affinity": "LINUX", "active": flag}
    answer = api.ask("POST", "/api/workers", dict.fromkeys(names, edit))

    assert (answer.status_code, answer.json()) == (200, 1)
    assert [(w["affinity"], w["active"]) for w in api.get("workers")] == [("LINUX", 0)] * 2


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/stopworkers"), ("POST", "/api/startworkers"), ("DELETE", "/api/workers")],
)
@pytest.mark.parametrize("shape", [list, dict.fromkeys])
def test_orders_about_workers_answer_1(api: Api, method: str, path: str, shape: Any) -> None:
    names = ("worker-1", "worker-2")
    for name in names:
        api.worker("pickjob", name)
    answer = api.ask(method, path, shape(names))

    assert (answer.status_code, answer.json()) == (200, 1)
    active = [worker["active"] for worker in api.get("workers")]
    assert active == ([] if method == "DELETE" else [int(path == "/api/startworkers")] * 2)


def test_events_have_all_documented_fields(api: Api, job: int) -> None:
    api.worker("endjob", "worker-1", jobId=job, errorCode=0)
    (event,) = api.get(f"events?job={job}&worker=worker-1&howlong=60")

    assert has_shape(event, EVENT)
    assert (event["job_id"], event["worker"], event["job_title"]) == (job, "worker-1", "Job 1")
