"""What goes back to a client: values as JSON, errors in one shape, and which status each has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from coalition import errors, wire
from coalition.server.lists import Listing
from coalition.server.stream import Stream

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass
class Answer:
    """An answer that is more than a value: a status, headers, a body as it is."""

    body: bytes = b""
    status: int = 200
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    file: tuple[str, int, int] | None = None  # path, offset and length of a file to send as body
    as_json: bool = False  # the file is sent as a JSON text, piece by piece
    remark: str = ""  # a last line of that text


class JsonText(Answer):
    """A text as JSON, or, asked for a range, a part of it as it is."""

    media = JSON


class Html(Answer):
    """A page."""

    media = "text/html; charset=utf-8"

    def __init__(self, text: str) -> None:
        """Make it of its text."""
        super().__init__(text.encode(), content_type=self.media)


class Plain(Answer):
    """A text."""

    media = TEXT

    def __init__(self, text: str) -> None:
        """Make it of what it says."""
        super().__init__(text.encode(), content_type=self.media)


class Events(Answer):
    """A stream of events without end."""

    media = "text/event-stream"

    def __init__(self, stream: Stream, last: str) -> None:
        """Begin after the message with the id `last`."""
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(content_type=self.media, headers=headers)
        self.stream = stream
        self.last = last


STATUS: dict[type[errors.CoalitionError], int] = {
    errors.TooSlow: 408,
    errors.TooLarge: 413,
    errors.TargetTooLong: 414,
    errors.HeaderTooLarge: 431,
    errors.UnknownRoute: 404,
    errors.WrongMethod: 405,
    errors.Gone: 410,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.UnknownJob: 404,
    errors.UnknownWorker: 404,
    errors.Unknown: 404,
    errors.CommandRefused: 403,
    errors.Cycle: 409,
    errors.NameTaken: 409,
    errors.OtherFarm: 409,
    errors.NotAGroup: 409,
    errors.IllegalMove: 409,
    errors.NoInstance: 409,
    errors.BadRequest: 400,
    errors.UnknownParent: 400,
    errors.UnknownDependency: 400,
    errors.Refused: 400,
    errors.Unavailable: 503,
    errors.StoreUnavailable: 503,
    errors.LogUnusable: 503,
    errors.CoalitionError: 500,
}
"""The one table from exceptions to statuses; a class that is missing has its parent's."""


def of_value(value: object, status: int = 200) -> Answer:
    """Give a value as JSON; with a part of a list goes how many there are in all."""
    if isinstance(value, Listing):
        return Answer(bytes(value.rows), headers={"X-Total-Count": str(value.total)})
    return Answer(msgspec.json.encode(value), status)


PART = 250
"""Values made JSON in one step; the interpreter cannot go to another thread within it."""


def json_list(values: Iterable[object]) -> msgspec.Raw:
    """Make JSON of a long list, in steps between which other threads can run."""
    parts, source = [], iter(values)
    while part := list(islice(source, PART)):
        parts.append(msgspec.json.encode(part)[1:-1])
    return msgspec.Raw(b"[" + b",".join(parts) + b"]")


def status_of(error: type[errors.CoalitionError]) -> int:
    """Give the status of an error: its own, or that of the nearest class above it."""
    return next(STATUS[kind] for kind in error.__mro__ if kind in STATUS)


def is_bug(error: BaseException) -> bool:
    """Say whether an error is one that no request should lead to, and no outage."""
    return not isinstance(error, errors.CoalitionError) or status_of(type(error)) == 500


def of_error(error: BaseException) -> Answer:
    """Give an error; one that nobody should have met says nothing of itself."""
    headers: dict[str, str] = {}
    if isinstance(error, errors.CoalitionError) and not is_bug(error):
        status = status_of(type(error))
        detail: dict[str, Any] = error.detail
        body = wire.ErrorBody(error.code, str(error), detail)
        if isinstance(error, errors.WrongMethod):
            headers["allow"] = ", ".join(detail["takes"])
    else:
        status = 500
        body = wire.ErrorBody("internal", "the server made an error; its log says which")
    return Answer(msgspec.json.encode(wire.ErrorAnswer(body)), status, headers=headers)
