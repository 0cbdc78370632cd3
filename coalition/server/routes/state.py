"""The routes about the server itself."""

from __future__ import annotations

from coalition.server import answers
from coalition.server.routes import Call, route
from coalition.wire import Health


@route("GET", "/health")
async def health(call: Call) -> object:
    """Say which farm this is and whether the server is well: 200, or 503 with the reasons."""
    reasons = await call.service.health(call.who)
    answer = answers.of_value(Health(not reasons, reasons, call.service.nodes.identity))
    answer.status = 503 if reasons else 200
    return answer
