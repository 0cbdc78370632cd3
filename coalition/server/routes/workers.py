"""The routes of workers, their runs and their affinities."""

from __future__ import annotations

from collections.abc import Callable

from coalition.core.farm import Farm
from coalition.errors import BadRequest
from coalition.server import editing
from coalition.server.routes import Call, route
from coalition.server.submitting import is_id
from coalition.wire import Text, WorkerEdit

Names = list[str]


@route("GET", "/api/workers")
async def workers(call: Call) -> object:
    """Give the workers."""
    return await call.service.workers(call.who)


@route("POST", "/api/workers")
async def edit(call: Call) -> object:
    """Change affinity lines or the active flag."""
    edits = editing.worker_edits(call.json(dict[str, WorkerEdit]))
    return await call.service.edit_workers(call.who, edits)


@route("DELETE", "/api/workers")
async def delete(call: Call) -> object:
    """Forget workers."""
    return await _order(call, Farm.on_delete_workers)


@route("POST", "/api/startworkers")
async def start(call: Call) -> object:
    """Let workers take jobs again."""
    return await _order(call, Farm.on_start_workers)


@route("POST", "/api/pauseworkers")
async def pause(call: Call) -> object:
    """Let workers take no more jobs; what they run goes on."""
    return await _order(call, Farm.on_pause_workers)


@route("POST", "/api/drainworkers")
async def drain(call: Call) -> object:
    """Let workers take no more jobs, and leave when what they run is done."""
    return await _order(call, Farm.on_drain_workers)


@route("POST", "/api/stopworkers")
async def stop(call: Call) -> object:
    """Let workers take no more jobs, and end what they run."""
    return await _order(call, Farm.on_stop_workers)


async def _order(call: Call, order: Callable[[Farm, list[str], float], None]) -> object:
    return await call.service.order_workers(call.who, order, call.json(Names))


@route("GET", "/api/affinities")
async def affinities(call: Call) -> object:
    """Give the list of known affinity words."""
    return await call.service.affinities(call.who)


@route("POST", "/api/affinities")
async def name_affinities(call: Call) -> object:
    """Write the list of known affinity words."""
    names: dict[int, str] = {}
    for number, name in call.json(dict[str, Text]).items():
        if not (is_id(number) and 0 < int(number) < 64):
            raise BadRequest(f"{number!r} is not a number from 1 to 63", field=number)
        names[int(number)] = name
    return await call.service.name_affinities(call.who, names)


@route("GET", "/api/events")
async def events(call: Call) -> object:
    """Give the runs of a job, of a worker, of the last seconds."""
    howlong = call.number("howlong", -1) if "howlong" in call.args else None
    if howlong is not None and howlong < 0:
        howlong = None
    job, worker = call.number("job", -1), call.args.get("worker", "")
    return await call.service.events(call.who, job, worker, howlong)
