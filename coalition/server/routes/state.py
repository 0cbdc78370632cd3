"""The routes about the server itself."""

from __future__ import annotations

from coalition.server.routes import Call, route
from coalition.wire import API, Health, Version


@route("GET", "/health")
async def health(call: Call) -> Health:
    """Say which farm this is and whether the server is well: 200, or 503 with the reasons."""
    reasons = await call.service.health(call.who)
    call.status = 503 if reasons else 200
    return Health(not reasons, reasons, call.service.nodes.identity)


@route("GET", "/api/version")
async def version(call: Call) -> Version:
    """Say which program answers."""
    return Version(call.service.version, API, call.service.nodes.identity)
