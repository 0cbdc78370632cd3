"""The routes of workers, their runs and their affinities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from coalition import wire
from coalition.core import fleet
from coalition.core.farm import Farm
from coalition.errors import BadRequest, NoInstance, UnknownWorker
from coalition.server import editing, lists
from coalition.server.lists import Asked, Listing
from coalition.server.routes import Call, route
from coalition.server.submitting import is_id


@route("GET", "/api/workers", columns=lists.WORKERS)
async def workers(call: Call, asked: Asked) -> Listing[wire.Worker]:
    """Give the workers."""
    return await call.service.workers(call.who, asked)


@route("POST", "/api/workers", raises=(UnknownWorker,))
async def edit(call: Call, body: dict[str, wire.WorkerEdit]) -> wire.Done:
    """Change affinity lines or the active flag of workers, by their names: all or none."""
    return await call.service.edit_workers(call.who, editing.worker_edits(body))


@route("DELETE", "/api/workers", raises=(UnknownWorker,))
async def delete(call: Call, body: wire.Names) -> wire.Done:
    """Forget workers; what they run begins anew elsewhere."""
    return await _order(call, Farm.on_delete_workers, body)


@route("POST", "/api/startworkers", raises=(UnknownWorker,))
async def start(call: Call, body: wire.Names) -> wire.Done:
    """Let workers take jobs again."""
    return await _order(call, Farm.on_start_workers, body)


@route("POST", "/api/pauseworkers", raises=(UnknownWorker,))
async def pause(call: Call, body: wire.Names) -> wire.Done:
    """Let workers take no more jobs; what they run goes on."""
    return await _order(call, Farm.on_pause_workers, body)


@route("POST", "/api/drainworkers", raises=(UnknownWorker,))
async def drain(call: Call, body: wire.Names) -> wire.Done:
    """Let workers take no more jobs, and leave when what they run is done."""
    return await _order(call, Farm.on_drain_workers, body)


@route("POST", "/api/stopworkers", raises=(UnknownWorker,))
async def stop(call: Call, body: wire.Names) -> wire.Done:
    """Let workers take no more jobs, and end what they run, which does not count as a try."""
    return await _order(call, Farm.on_stop_workers, body)


@route("POST", "/api/terminateworkers", raises=(UnknownWorker, NoInstance))
async def terminate(call: Call, body: wire.Names) -> wire.Done:
    """End the instances in a cloud that workers run on."""
    return await _order(call, fleet.terminate, body)


async def _order(
    call: Call, order: Callable[[Farm, list[str], float], None], names: wire.Names
) -> wire.Done:
    return await call.service.order_workers(call.who, order, [*names])


@route("GET", "/api/affinities")
async def affinities(call: Call) -> dict[str, str]:
    """Give the list of known affinity words, by the numbers 1 to 64; empty where there is none."""
    named = await call.service.affinities(call.who)
    return {str(number): named.get(str(number), "") for number in wire.AFFINITIES}


@route("POST", "/api/affinities")
async def name_affinities(call: Call, body: dict[str, wire.ShortText]) -> wire.Done:
    """Write words of that list. Others can be used as well."""
    names: dict[int, str] = {}
    for number, name in body.items():
        if not (is_id(number) and int(number) in wire.AFFINITIES):
            raise BadRequest(f"{number!r} is not a number from 1 to 64", field=number)
        names[int(number)] = name
    return await call.service.name_affinities(call.who, names)


class EventsQuery(Struct):
    """Which runs, as 4.0 asked."""

    job: Annotated[int, Meta(ge=-1, le=2**53)] = -1
    """Those of a job, -1: of all."""
    worker: str = ""
    """Those of workers: a name, or several with commas between."""
    howlong: Annotated[float, Meta(ge=-1, le=1e9)] = -1
    """Those that began in the last so many seconds, -1: all."""


@route("GET", "/api/events", columns=lists.EVENTS)
async def events(call: Call, query: EventsQuery, asked: Asked) -> Listing[wire.Event]:
    """Give the runs, the oldest first."""
    if query.job >= 0:
        asked = lists.narrowed(asked, "job_id", [query.job])
    if query.worker:
        asked = lists.narrowed(asked, "worker", lists.split(query.worker))
    howlong = query.howlong if query.howlong >= 0 else None
    return await call.service.events(call.who, asked, howlong)
