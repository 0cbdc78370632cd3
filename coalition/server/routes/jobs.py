"""The routes of jobs."""

from __future__ import annotations

import re
from typing import Any

from coalition.core.farm import Farm
from coalition.errors import BadRequest, LogUnusable
from coalition.server import answers, editing
from coalition.server.routes import Call, route
from coalition.wire import Dependencies, JobEdit

Ids = list[int | str] | dict[str, Any]


@route("GET", "/api/jobs")
async def roots(call: Call) -> object:
    """Give the jobs of the top level."""
    return await call.service.children(call.who, 0)


@route("PUT", "/api/jobs")
async def submit(call: Call) -> object:
    """Create a job, or many."""
    return await call.service.submit(call.who, call.body)


@route("POST", "/api/jobs")
async def edit(call: Call) -> object:
    """Change fields of jobs."""
    edits = editing.job_edits(call.json(dict[str, JobEdit]))
    return await call.service.edit_jobs(call.who, edits)


@route("DELETE", "/api/jobs")
async def delete(call: Call) -> object:
    """Delete jobs and all below them."""
    return await _order(call, Farm.on_delete)


@route("POST", "/api/resetjobs")
async def reset(call: Call) -> object:
    """Make jobs as if they had never run."""
    return await _order(call, Farm.on_reset)


@route("POST", "/api/reseterrorjobs")
async def reset_errors(call: Call) -> object:
    """Reset those that are in ERROR."""
    return await _order(call, Farm.on_reset_errors)


@route("POST", "/api/startjobs")
async def start(call: Call) -> object:
    """Lift pauses, and run again what has ended."""
    return await _order(call, Farm.on_start)


@route("POST", "/api/pausejobs")
async def pause(call: Call) -> object:
    """Hold jobs."""
    return await _order(call, Farm.on_pause)


async def _order(call: Call, order: Any) -> object:
    return await call.service.order_jobs(call.who, order, editing.job_ids(call.json(Ids)))  # type: ignore[arg-type]


@route("GET", "/api/jobs/*")
async def job(call: Call) -> object:
    """Give one job."""
    return await call.service.job(call.who, call.id)


@route("GET", "/api/jobs/*/children")
async def children(call: Call) -> object:
    """Give the jobs below one."""
    return await call.service.children(call.who, call.id)


@route("GET", "/api/jobs/*/dependencies")
async def dependencies(call: Call) -> object:
    """Give the jobs that one depends on."""
    return await call.service.dependencies(call.who, call.id)


@route("POST", "/api/jobs/*/dependencies")
async def set_dependencies(call: Call) -> object:
    """Replace what a job depends on."""
    ids = editing.dependency_ids(call.json(Dependencies) if call.body else [])  # type: ignore[arg-type]
    return await call.service.set_dependencies(call.who, call.id, ids)


@route("GET", "/api/jobs/*/childrendependencies")
async def children_dependencies(call: Call) -> object:
    """Give which child of a job depends on what."""
    return await call.service.children_dependencies(call.who, call.id)


@route("GET", "/api/jobs/*/log")
async def log(call: Call) -> object:
    """Give a job's log: as a JSON text, or, asked for a range, those bytes as they are."""
    path, size, lost = await call.service.log_file(call.who, call.id)
    if not call.range:
        if not size:
            return lost
        return answers.Answer(file=(path, 0, size), as_json=True, remark=lost)
    span = _span(call.range, size)
    if span is None and lost:
        raise LogUnusable(lost, id=call.id)
    if span is None:
        headers = {"content-range": f"bytes */{size}"}
        return answers.Answer(b"", 416, answers.TEXT, headers)
    first, last = span
    headers = {"content-range": f"bytes {first}-{last}/{size}", "accept-ranges": "bytes"}
    return answers.Answer(b"", 206, answers.TEXT, headers, file=(path, first, last - first + 1))


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
