"""The server itself as the REST API knows it, and errors."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from coalition.wire.plain import Identity

API = 1
"""Counts the changes of the API that an older client could not live with."""


class Health(Struct):
    """How the server is: the status is 200, or 503 if it is not well."""

    ok: bool
    """Whether it is well."""
    reasons: list[str]
    """What is wrong, in words."""
    farm: Identity = ""
    """Which farm this is."""


class Version(Struct):
    """Which program answers, and what it speaks."""

    version: str
    """Of the server."""
    api: int
    """Counts the changes of this API that an older client could not live with."""
    farm: Identity = ""
    """Which farm this is."""


class Changed(Struct, omit_defaults=True):
    """What has changed since the message before: an event `changed` of the stream."""

    jobs: list[int] = []
    """Ids of jobs that are new, other than before, or gone."""
    workers: list[str] = []
    """Names of such workers."""
    runs: list[int] = []
    """Ids of runs that began or ended."""
    more: bool = False
    """There are more of them than are named: look anew."""


class ErrorBody(Struct):
    """What went wrong."""

    code: str
    """A word for programs, which stays what it is."""
    message: str
    """A sentence for people, which may change."""
    detail: dict[str, Any] = {}
    """What it is about: often `field`, the name of what is wrong in the request."""


class ErrorAnswer(Struct):
    """What an answer with a status of 400 or more carries."""

    error: ErrorBody
    """What went wrong."""
