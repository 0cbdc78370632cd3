"""The routes of the workers themselves: protocol 1 of Coalition 4.0, and protocol 2."""

from __future__ import annotations

import base64
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct, field

from coalition import wire
from coalition.errors import BadRequest
from coalition.server.answers import Plain
from coalition.server.protocol1 import Load
from coalition.server.routes import Call, route
from coalition.wire import Orders, Report

LONGEST_LOAD = 10_000
"""Characters of a worker's load: a thousand processors have six each."""

JobId = Annotated[int, Meta(ge=-1, le=2**53)]


class PickQuery(Struct, kw_only=True):
    """Who asks by protocol 1, and how busy its computer is."""

    hostname: wire.Name
    """The name of the worker."""
    load: Annotated[str, Meta(max_length=LONGEST_LOAD)] = "[0]"
    """Percent per processor, as a text such as `[12]`."""
    free_memory: wire.Count = 0
    """MB."""
    total_memory: wire.Count = 0
    """MB."""
    free_memory_3: wire.Count = field(default=0, name="freeMemory")
    """What `free_memory` was in version 3."""
    total_memory_3: wire.Count = field(default=0, name="totalMemory")
    """What `total_memory` was in version 3."""


class HeartbeatQuery(PickQuery, kw_only=True):
    """What a worker says by protocol 1 of the job that it runs."""

    job: JobId = field(default=-1, name="jobId")
    """The job."""
    log: str = ""
    """What it has printed since the last time, in base64."""


class EndQuery(Struct, kw_only=True):
    """How a worker's job has ended, by protocol 1."""

    hostname: wire.Name
    """The name of the worker."""
    job: JobId = field(default=-1, name="jobId")
    """The job."""
    code: wire.ExitCode = field(default=0, name="errorCode")
    """Its exit code, negative for a signal."""


@route("POST", "/workers/node")
async def report(call: Call, body: Report) -> Orders:
    """Protocol 2: what a node has to say, for what it should do."""
    call.hung_up = partial(call.service.nodes.drop, body)
    return await call.service.report(body, call.ip)


@route("POST", "/workers/pickjob")
@route("GET", "/workers/pickjob")
async def pick(call: Call, query: PickQuery) -> Plain:
    """Protocol 1: a job for a worker, as the tuple literal that its worker.py evaluates."""
    start = await call.service.pick(query.hostname, call.ip, _load(query))
    if start is None:
        return Plain("(-1, '', '', '', None)")
    texts = (start.command, start.dir, start.user, start.environment)
    # The u marks the text for Python 2, which else takes an accent for a byte.
    return Plain(f"({start.job}, {', '.join('u' + ascii(text) for text in texts)})")


@route("POST", "/workers/heartbeat")
@route("GET", "/workers/heartbeat")
async def heartbeat(call: Call, query: HeartbeatQuery) -> Plain:
    """Protocol 1: `true` for a job that is to go on, `false` for one that is to be ended."""
    try:
        log = base64.b64decode(query.log)
    except ValueError:  # binascii.Error is one
        raise BadRequest("log is not base64", field="log") from None
    goes_on = await call.service.heartbeat(query.hostname, call.ip, _load(query), query.job, log)
    return Plain("true" if goes_on else "false")


@route("POST", "/workers/endjob")
@route("GET", "/workers/endjob")
async def end(call: Call, query: EndQuery) -> Plain:
    """Protocol 1: a job has ended; `None`."""
    await call.service.end(query.hostname, call.ip, query.job, query.code)
    return Plain("None")


def _load(query: PickQuery) -> Load:
    free = query.free_memory or query.free_memory_3
    total = query.total_memory or query.total_memory_3
    return query.load, free, total
