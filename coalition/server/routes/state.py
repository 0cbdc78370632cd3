"""The routes about the server itself."""

from __future__ import annotations

from coalition.server import answers
from coalition.server.routes import Call, route
from coalition.wire import API, Health, Version


@route("GET", "/health", also={503: "It is not well."})
async def health(call: Call) -> Health:
    """Say which farm this is and whether the server is well: 200, or 503 with the reasons."""
    reasons = await call.service.health(call.who)
    call.status = 503 if reasons else 200
    return Health(not reasons, reasons, call.service.nodes.identity)


@route(
    "GET",
    "/api/stream",
    headers={"Last-Event-ID": "The id of the last message that came: those after it are sent."},
)
async def stream(call: Call) -> answers.Events:
    """Tell what changes, as Server-Sent Events that go on until the connection is closed.

    An event `changed` has a Changed as its data; `hello` is the first, and `gap` says that some
    were missed. A header Last-Event-ID asks for those after that one.
    """
    call.service.stream.check_room()
    return answers.Events(call.service.stream, call.last_event)


@route("GET", "/metrics")
async def metrics(call: Call) -> answers.Plain:
    """Give figures about the farm and the server in the text format of Prometheus."""
    return answers.Plain(await call.service.figures(call.who))


@route("GET", "/api/version")
async def version(call: Call) -> Version:
    """Say which program answers."""
    return Version(call.service.version, API, call.service.nodes.identity)
