"""The routes of the API's reference."""

from __future__ import annotations

from functools import cache
from typing import Any

from coalition.server import answers
from coalition.server.reference.document import document
from coalition.server.reference.page import page
from coalition.server.routes import Call, route, routes


@route("GET", "/api/openapi.json")
async def openapi(call: Call) -> dict[str, Any]:
    """Give this document."""
    return _document(call.service.version)


@route("GET", "/api/docs")
async def docs(call: Call) -> answers.Html:
    """Give this document as a page for people."""
    return answers.Html(page(_document(call.service.version)))


@cache
def _document(version: str) -> dict[str, Any]:
    return document(routes(), version)
