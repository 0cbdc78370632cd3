"""One example for every route: together a story that runs as it stands on a fresh server.

A worker of the name node-1 picks up the first job as soon as there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coalition.server.routes.jobs import SAFE


@dataclass(frozen=True)
class Example:
    """What is sent, and what is answered; `id` is that in the path.

    One that is not `played` has an answer that is longer, or has no end.
    """

    id: int = 3
    query: str = ""
    body: Any = None
    answer: Any = None
    status: int = 200
    played: bool = True


FILM = {
    "title": "Film",
    "children": [
        {
            "title": "Frames",
            "key": "frames",
            "children": [
                {"title": "Frame 1", "command": "render -f 1", "user": "ada"},
                {"title": "Frame 2", "command": "render -f 2", "user": "ada", "retry": 1},
            ],
        },
        {"title": "Join", "command": "join", "user": "ada", "dependencies": ["frames"]},
    ],
}

BEGAN = 1795303746.345


def _job(**fields: Any) -> dict[str, Any]:
    """Give a job as it is answered: what is not named is as in a new one."""
    job = {
        "id": 0, "parent": 0, "title": "", "command": "", "dir": ".", "environment": "",
        "state": "WAITING", "paused": 0, "worker": "", "start_time": 0.0, "duration": 0.0,
        "run_done": 0, "retry": 0, "timeout": 0, "priority": 1000, "affinity": "", "user": "",
        "finished": 0, "errors": 0, "working": 0, "total": 0, "total_finished": 0,
        "total_errors": 0, "total_working": 0, "url": "", "progress": None,
        "local_progress": None, "progress_pattern": "", "globalprogress": "", "is_group": 0,
        "exclusive": 0, "scratch": 0, "ping_time": 0.0,
    }  # fmt: skip
    return job | fields


def _group(**fields: Any) -> dict[str, Any]:
    state = {"state": "WORKING", "start_time": BEGAN, "total_working": 1, "progress": 0.0}
    return _job(is_group=1, **state, **fields)


AFFINITIES = {str(number): "" for number in range(3, 65)}

ONE = [1]
NODE = ["node-1"]

EVENT = {
    "id": 1, "worker": "node-1", "job_id": 3, "job_title": "Frame 1", "state": "STOPPED",
    "start": BEGAN, "duration": 0.089, "code": None,
}  # fmt: skip

WORKER = {
    "name": "node-1", "node": "", "start_time": BEGAN, "ip": "127.0.0.1", "state": "WAITING",
    "finished": 0, "error": 0, "last_job": 3, "current_event": -1, "active": 1, "host": "",
    "os": "", "cores": 0, "memory": 0, "version": "", "draining": 0, "affinity": "",
    "ping_time": BEGAN, "cpu": "[12]", "free_memory": 8000, "total_memory": 16000,
}  # fmt: skip

HELLO = "title=Hello&cmd=echo+hello&retry=3"

GONE = Example(
    status=410,
    answer={"error": {"code": "gone", "message": SAFE, "detail": {"use": "/api/jobs"}}},
)

EXAMPLES: dict[tuple[str, str], Example] = {
    ("PUT", "/api/jobs"): Example(
        body=FILM, answer={"id": 1, "children": [{"id": 2, "children": [3, 4]}, 5]}
    ),
    ("GET", "/api/jobs"): Example(answer=[_group(id=1, title="Film", total=3)]),
    ("GET", "/api/jobs/{id}"): Example(
        id=5,
        answer=_job(
            id=5,
            parent=1,
            title="Join",
            command="join",
            state="PENDING",
            user="ada",
            dependencies=[2],
        ),
    ),
    ("GET", "/api/jobs/{id}/children"): Example(
        id=2,
        query="state=WAITING&sort=-priority,id&limit=10",
        answer=[
            _job(id=4, parent=2, title="Frame 2", command="render -f 2", user="ada", retry=1),
        ],
    ),
    ("GET", "/api/jobs/{id}/dependencies"): Example(
        id=5, answer=[_group(id=2, parent=1, title="Frames", working=1, total=2)]
    ),
    ("GET", "/api/jobs/{id}/childrendependencies"): Example(
        id=1, answer=[{"id": 5, "dependency": 2}]
    ),
    ("GET", "/api/jobs/{id}/log"): Example(
        answer="* RUN 1 on node-1 at 2026-11-21 23:29:06: render -f 1\nFrame 1 done\n"
    ),
    ("GET", "/api/jobs/users"): Example(answer=[{"user": ""}, {"user": "ada"}]),
    ("GET", "/api/jobs/states"): Example(
        answer=[{"state": "PENDING"}, {"state": "WAITING"}, {"state": "WORKING"}]
    ),
    ("GET", "/api/jobs/workers"): Example(answer=[{"worker": ""}, {"worker": "node-1"}]),
    ("GET", "/api/jobs/priorities"): Example(answer=[{"priority": 1000}]),
    ("GET", "/api/jobs/affinities"): Example(answer=[{"affinity": ""}]),
    ("POST", "/api/jobs"): Example(
        body={"3": {"priority": 2000}, "4": {"title": "Frame 2, again", "timeout": 3600}}, answer=1
    ),
    ("POST", "/api/jobs/{id}/dependencies"): Example(id=5, body=[3, 4], answer=1),
    ("POST", "/api/pausejobs"): Example(body=ONE, answer=1),
    ("POST", "/api/startjobs"): Example(body=ONE, answer=1),
    ("POST", "/api/resetjobs"): Example(body=ONE, answer=1),
    ("POST", "/api/reseterrorjobs"): Example(body=ONE, answer=1),
    ("GET", "/api/events"): Example(
        query="job=3&howlong=3600",
        answer=[EVENT],
    ),
    ("GET", "/api/workers"): Example(answer=[WORKER]),
    ("POST", "/api/workers"): Example(
        body={"node-1": {"affinity": "LINUX,24GB\nLINUX", "active": True}}, answer=1
    ),
    ("POST", "/api/pauseworkers"): Example(body=NODE, answer=1),
    ("POST", "/api/startworkers"): Example(body=NODE, answer=1),
    ("POST", "/api/stopworkers"): Example(body=NODE, answer=1),
    ("POST", "/api/drainworkers"): Example(body=NODE, answer=1),
    ("POST", "/api/terminateworkers"): Example(body=[], answer=1),
    ("DELETE", "/api/workers"): Example(body=NODE, answer=1),
    ("POST", "/api/affinities"): Example(body={"1": "LINUX", "2": "24GB"}, answer=1),
    ("GET", "/api/affinities"): Example(answer={"1": "LINUX", "2": "24GB", **AFFINITIES}),
    ("DELETE", "/api/jobs"): Example(body=ONE, answer=1),
    ("GET", "/json/addjob"): Example(query=HELLO, answer="6"),
    ("POST", "/json/addjob"): Example(query=HELLO, answer="7"),
    ("GET", "/xmlrpc/addjob"): Example(query=HELLO, answer="8"),
    ("POST", "/xmlrpc/addjob"): Example(query=HELLO, answer="9"),
    ("GET", "/api/jobs/where"): GONE,
    ("GET", "/api/jobs/count/where"): GONE,
    ("GET", "/api/stream"): Example(
        answer='id: 5f3a-7\nevent: changed\ndata: {"jobs":[3,4],"runs":[2]}\n\n', played=False
    ),
    ("GET", "/metrics"): Example(
        answer='coalition_jobs{state="WAITING"} 2.0\ncoalition_healthy 1.0\n', played=False
    ),
    ("GET", "/api/openapi.json"): Example(answer={"openapi": "3.1.0"}, played=False),
    ("GET", "/api/docs"): Example(answer="<!DOCTYPE html>", played=False),
    ("GET", "/api/version"): Example(
        answer={"version": "5.0.0", "api": 1, "farm": "9417b08407904e55ad7d22d53fece2e1"}
    ),
    ("GET", "/health"): Example(
        answer={"ok": True, "reasons": [], "farm": "9417b08407904e55ad7d22d53fece2e1"}
    ),
}
