"""The routes of the workers themselves: protocol 1 of Coalition 4.0, and protocol 2."""

from __future__ import annotations

import base64
from functools import partial

from coalition.errors import BadRequest
from coalition.server import answers
from coalition.server.routes import Call, route
from coalition.wire import Orders, Report

LONGEST_LOAD = 10_000
"""Characters of a worker's load: a thousand processors have six each."""


@route("POST", "/workers/node")
async def report(call: Call, body: Report) -> Orders:
    """Protocol 2: what a node has to say, for what it should do."""
    call.hung_up = partial(call.service.nodes.drop, body)
    return await call.service.report(body, call.ip)


@route("POST", "/workers/pickjob")
@route("GET", "/workers/pickjob")
async def pick(call: Call) -> object:
    """Protocol 1: a job for a worker, as the tuple literal that its worker.py evaluates."""
    start = await call.service.pick(call.args.get("hostname", ""), call.ip, _load(call))
    if start is None:
        return _text("(-1, '', '', '', None)")
    texts = (start.command, start.dir, start.user, start.environment)
    # The u marks the text for Python 2, which else takes an accent for a byte.
    return _text(f"({start.job}, {', '.join('u' + ascii(text) for text in texts)})")


@route("POST", "/workers/heartbeat")
@route("GET", "/workers/heartbeat")
async def heartbeat(call: Call) -> object:
    """Protocol 1: go on or end it."""
    try:
        log = base64.b64decode(call.args.get("log", ""))
    except ValueError:  # binascii.Error is one
        raise BadRequest("log is not base64", field="log") from None
    name, job = call.args.get("hostname", ""), call.number("jobId", -1)
    goes_on = await call.service.heartbeat(name, call.ip, _load(call), job, log)
    return _text("true" if goes_on else "false")


@route("POST", "/workers/endjob")
@route("GET", "/workers/endjob")
async def end(call: Call) -> object:
    """Protocol 1: a job has ended."""
    name, job = call.args.get("hostname", ""), call.number("jobId", -1)
    await call.service.end(name, call.ip, job, call.number("errorCode", 0))
    return _text("None")


def _load(call: Call) -> tuple[str, int, int]:
    """Give load (a text such as "[12]"), free and total memory in MB; 3.17 had other names."""
    free = call.number("free_memory", call.number("freeMemory", 0))
    total = call.number("total_memory", call.number("totalMemory", 0))
    load = call.args.get("load", "[0]")
    if len(load) > LONGEST_LOAD:
        raise BadRequest(f"load has more than {LONGEST_LOAD} characters", field="load")
    return load, free, total


def _text(text: str) -> answers.Answer:
    return answers.Answer(text.encode(), content_type="text/html")
