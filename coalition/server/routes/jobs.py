"""The routes of jobs."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from coalition import wire
from coalition.core.farm import Farm
from coalition.errors import (
    BadRequest,
    CommandRefused,
    Cycle,
    Gone,
    IllegalMove,
    LogUnusable,
    NotAGroup,
    UnknownDependency,
    UnknownJob,
    UnknownParent,
)
from coalition.server import answers, editing, lists
from coalition.server.lists import Asked, Listing
from coalition.server.routes import Call, route

SAFE = (
    "where_clause took SQL from anybody; ask GET /api/jobs with state=ERROR,WORKING, user=ada, "
    "title=shot, priority_min=10, sort=-priority,id, limit=100, offset=200; the header "
    "X-Total-Count of its answer is the count"
)

COMMANDS = (CommandRefused,)
"""What may be wrong with what a job runs."""

LINKS = (UnknownParent, UnknownDependency, NotAGroup, Cycle)
"""What may be wrong with where a job is put and what it waits for."""


@route("GET", "/api/jobs", columns=lists.JOBS)
async def roots(call: Call, asked: Asked) -> Listing[wire.Job]:
    """Give the jobs of the top level, or, with any condition, all jobs that satisfy it."""
    return await call.service.jobs(call.who, asked)


@route("PUT", "/api/jobs", sends=wire.NewJobs, raises=(*COMMANDS, *LINKS))
async def submit(call: Call) -> wire.CreatedJobs:
    """Create a job, or many with all that is below them: all or none; the ids in that shape."""
    ids: wire.CreatedJobs = await call.service.submit(call.who, call.body)
    return ids


@route("POST", "/api/jobs", raises=(UnknownJob, IllegalMove, *COMMANDS, *LINKS))
async def edit(call: Call, body: dict[str, wire.JobEdit]) -> wire.Done:
    """Change fields of jobs, by their ids: all or none."""
    return await call.service.edit_jobs(call.who, editing.job_edits(body))


@route("DELETE", "/api/jobs", raises=(UnknownJob,))
async def delete(call: Call, body: wire.Ids) -> wire.Done:
    """Delete jobs and all below them, with their logs."""
    return await _order(call, Farm.on_delete, body)


@route("POST", "/api/resetjobs", raises=(UnknownJob,))
async def reset(call: Call, body: wire.Ids) -> wire.Done:
    """Make jobs, and those below them, as if they had never run."""
    return await _order(call, Farm.on_reset, body)


@route("POST", "/api/reseterrorjobs", raises=(UnknownJob,))
async def reset_errors(call: Call, body: wire.Ids) -> wire.Done:
    """Reset those that are in ERROR among jobs and what is below them."""
    return await _order(call, Farm.on_reset_errors, body)


@route("POST", "/api/startjobs", raises=(UnknownJob,))
async def start(call: Call, body: wire.Ids) -> wire.Done:
    """Lift pauses, and run again what has ended."""
    return await _order(call, Farm.on_start, body)


@route("POST", "/api/pausejobs", raises=(UnknownJob,))
async def pause(call: Call, body: wire.Ids) -> wire.Done:
    """Hold jobs; what runs is ended, and begins anew when it is started."""
    return await _order(call, Farm.on_pause, body)


async def _order(call: Call, order: Any, ids: wire.Ids) -> wire.Done:
    return await call.service.order_jobs(call.who, order, editing.job_ids(ids))


@route("GET", "/api/jobs/{id}", raises=(UnknownJob,))
async def job(call: Call) -> wire.JobWithDependencies:
    """Give one job."""
    return await call.service.job(call.who, call.id)


@route("GET", "/api/jobs/{id}/children", columns=lists.JOBS, raises=(UnknownJob,))
async def children(call: Call, asked: Asked) -> Listing[wire.Job]:
    """Give the jobs directly in a group; 0 is the top."""
    return await call.service.children(call.who, call.id, asked)


@route("GET", "/api/jobs/{id}/dependencies", columns=lists.JOBS, raises=(UnknownJob,))
async def dependencies(call: Call, asked: Asked) -> Listing[wire.Job]:
    """Give the jobs that one waits for."""
    return await call.service.dependencies(call.who, call.id, asked)


@route("POST", "/api/jobs/{id}/dependencies", raises=(UnknownJob, *LINKS))
async def set_dependencies(call: Call, body: wire.Ids | str) -> wire.Done:
    """Replace what a job waits for; no body: by nothing."""
    return await call.service.set_dependencies(call.who, call.id, editing.dependency_ids(body))


@route(
    "GET",
    "/api/jobs/{id}/childrendependencies",
    columns=lists.DEPENDENCIES,
    raises=(UnknownJob,),
)
async def children_dependencies(call: Call, asked: Asked) -> Listing[wire.Dependency]:
    """Give which job directly in a group waits for which."""
    return await call.service.children_dependencies(call.who, call.id, asked)


@route("GET", "/api/jobs/users", columns=lists.USERS)
async def users(call: Call, asked: Asked) -> Listing[wire.UserOfJobs]:
    """Give the users who have jobs."""
    return await call.service.distinct(call.who, lists.USERS, asked)


@route("GET", "/api/jobs/states", columns=lists.STATES)
async def states(call: Call, asked: Asked) -> Listing[wire.StateOfJobs]:
    """Give the states in which jobs are."""
    return await call.service.distinct(call.who, lists.STATES, asked)


@route("GET", "/api/jobs/workers", columns=lists.WORKERS_OF_JOBS)
async def workers(call: Call, asked: Asked) -> Listing[wire.WorkerOfJobs]:
    """Give the workers that ran the jobs there are."""
    return await call.service.distinct(call.who, lists.WORKERS_OF_JOBS, asked)


@route("GET", "/api/jobs/priorities", columns=lists.PRIORITIES)
async def priorities(call: Call, asked: Asked) -> Listing[wire.PriorityOfJobs]:
    """Give the priorities that jobs have."""
    return await call.service.distinct(call.who, lists.PRIORITIES, asked)


@route("GET", "/api/jobs/affinities", columns=lists.AFFINITIES)
async def affinities(call: Call, asked: Asked) -> Listing[wire.AffinityOfJobs]:
    """Give the affinities that jobs have."""
    return await call.service.distinct(call.who, lists.AFFINITIES, asked)


@route("GET", "/api/jobs/where", raises=(Gone,))
@route("GET", "/api/jobs/count/where", raises=(Gone,))
async def where(call: Call) -> None:
    """Refuse what took SQL from anybody in 4.0."""
    raise Gone(SAFE, use="/api/jobs")


@route(
    "GET",
    "/api/jobs/{id}/log",
    raises=(UnknownJob, LogUnusable),
    also={206: "The bytes of the range.", 416: "The log ends before the range; it may grow."},
    headers={"Range": "Which bytes, such as `bytes=100-` or `bytes=-1000`; they come as they are."},
)
async def log(call: Call) -> answers.JsonText:
    """Give a job's log: as a JSON text, or, with a header such as Range: bytes=100-, its bytes."""
    path, size, lost = await call.service.log_file(call.who, call.id)
    if not call.range:
        if not size:
            return answers.JsonText(msgspec.json.encode(lost))
        return answers.JsonText(file=(path, 0, size), as_json=True, remark=lost)
    span = _span(call.range, size)
    if span is None and lost:
        raise LogUnusable(lost, id=call.id)
    if span is None:
        headers = {"content-range": f"bytes */{size}"}
        return answers.JsonText(b"", 416, answers.TEXT, headers)
    first, last = span
    headers = {"content-range": f"bytes {first}-{last}/{size}", "accept-ranges": "bytes"}
    return answers.JsonText(b"", 206, answers.TEXT, headers, file=(path, first, last - first + 1))


def _span(header: str, size: int) -> tuple[int, int] | None:
    """Read a Range header of one range (RFC 9110, 14.1.2): first and last byte, None: outside."""
    found = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        raise BadRequest(f"the range {header!r} is not bytes=FIRST-LAST", field="Range")
    if not found[1]:
        first, last = max(0, size - int(found[2])), size - 1
    else:
        first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
    return (first, last) if first <= last and first < size else None
