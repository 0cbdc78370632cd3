"""A connection of HTTP: what is no request is refused in the shape of all errors, and who drips,
does not read or does not go is cut off.
"""

from __future__ import annotations

import logging
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, cast

from twisted.web.http import HTTPChannel, datetimeToString

from coalition.errors import (
    BadRequest,
    CoalitionError,
    HeaderTooLarge,
    TargetTooLong,
    TooLarge,
    TooSlow,
)
from coalition.server import answers, target

log = logging.getLogger(__name__)

LONGEST_LINE = 16 * 1024
"""Bytes of a request line or of a header field."""

LONGEST_HEADER = 64 * 1024
"""Bytes of all header fields together."""

MOST_FIELDS = 200
"""Header fields of a request."""

LOOK = 1.0
"""Seconds between two looks at all connections: a timer for each request would cost more than the
request's own parsing."""

HEADER_TIME = 30.0
"""Seconds from the first byte of a request to the end of its header."""

BODY_TIME = 30.0
"""Seconds in which the next BODY_PART of a body, or its end, has to come."""

BODY_PART = 30 * 1024
"""Bytes: 1 kB a second. A worker behind a bad line has more; who drips to hold us up has not."""

IDLE_TIME = 75.0
"""Seconds that a connection may stay without a request."""

UNREAD_TIME = 120.0
"""Seconds in which a client must take something of an answer: what is unread is memory of ours."""

LINGER_TIME = 10.0
"""Seconds that what was refused is still read, and thrown away. A connection that is closed with
something unread is reset, and then the client does not see why it was refused."""

LINGER_PART = 64 * target.MB
"""Bytes that are thrown away for the same reason."""


class Stage(Enum):
    """Where a connection is."""

    IDLE = auto()
    HEADER = auto()
    BODY = auto()
    ANSWER = auto()
    CLOSING = auto()  # it ends when the answer is read
    LINGER = auto()  # the request was refused, and what still comes of it is thrown away


class Channel(HTTPChannel):
    """A connection to a client, from which one request after the other is read and answered."""

    transport: Any
    _networkProducer: Any
    _path: Any
    MAX_LENGTH = LONGEST_LINE
    maxHeaders = MOST_FIELDS
    totalHeadersSize = LONGEST_HEADER

    def __init__(self) -> None:
        """Have no request."""
        super().__init__()
        self.limit = 0
        self._stage = Stage.IDLE
        self._full = False  # the client does not take what is sent
        self._moves = 0  # goes up whenever something is done that may take time again
        self._seen = -1  # its value at the time below
        self._since = 0.0
        self._came = 0  # bytes of the body, or thrown away, at that time
        self._thrown = 0

    # --- from the network -------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Be among those that are looked at."""
        super().connectionMade()
        self._site.channels.add(self)

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        """Be gone."""
        self._site.channels.discard(self)
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        """Take what has come."""
        if self._stage is Stage.IDLE:
            self._enter(Stage.HEADER)
        elif self._stage is Stage.LINGER:
            self._throw_away(data)
            return
        try:
            super().dataReceived(data)
        except ValueError:
            if self._stage not in (Stage.IDLE, Stage.HEADER):
                raise
            # Python reads no number of thousands of digits.
            self.refuse(BadRequest("the Content-Length is no length", field="Content-Length"))

    def allHeadersReceived(self) -> None:
        """Judge the header, before anything of the body is taken."""
        request = self.requests[-1]
        try:
            hosts = tuple(request.requestHeaders.getRawHeaders(b"Host", ()))
            path = target.check(self._command, self._path, self._version, hosts)
            if self.length != 0:
                self._check_body(path)
        except CoalitionError as error:
            self.refuse(error)
            return
        self._path = path
        if self.length != 0:
            self._enter(Stage.BODY)
        super().allHeadersReceived()

    def _check_body(self, path: bytes) -> None:
        self.limit = target.find_limit(self._site.limits, self._command, path)
        if self.length is None and self._version == b"HTTP/1.0":
            raise BadRequest("HTTP/1.0 has no chunks", field="Transfer-Encoding")
        if self.length is not None and self.length > self.limit:
            raise self.too_large()

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Say whether another request may follow; Connection is a list with commas."""
        named = request.requestHeaders.getRawHeaders(b"Connection")
        words = b",".join(named).lower().replace(b" ", b"").split(b",") if named else ()
        if version == b"HTTP/1.1" and b"close" not in words:
            return True
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return False

    def allContentReceived(self) -> None:
        """Begin to answer, unless it was refused meanwhile."""
        if self._stage is not Stage.LINGER:
            self._enter(Stage.ANSWER)
            super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        """Be ready for the next request, which may have come already."""
        self._enter(Stage.IDLE)
        super().requestDone(request)

    # --- refusing ---------------------------------------------------------------------------

    def too_large(self) -> TooLarge:
        """Make the error for a body over the limit."""
        return TooLarge(f"the body is larger than {self.limit} bytes", limit=self.limit)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that is too long."""
        self._respondToBadRequestAndDisconnect(too_long=True)

    def _respondToBadRequestAndDisconnect(self, too_long: bool = False) -> None:
        """Refuse what is no HTTP: Twisted calls this wherever it finds something of the kind."""
        in_first = not hasattr(self, "_command")
        if too_long and in_first:
            text = f"the request line is longer than {LONGEST_LINE} bytes"
            self.refuse(TargetTooLong(text, limit=LONGEST_LINE))
        elif too_long or self._receivedHeaderSize > LONGEST_HEADER:
            limit = LONGEST_LINE if too_long else LONGEST_HEADER
            self.refuse(HeaderTooLarge(f"the header is longer than {limit} bytes", limit=limit))
        elif self._receivedHeaderCount > MOST_FIELDS:
            text = f"the header has more than {MOST_FIELDS} fields"
            self.refuse(HeaderTooLarge(text, limit=MOST_FIELDS))
        elif in_first:
            self.refuse(BadRequest("the first line is no request line of HTTP/1.1"))
        elif self._stage is Stage.BODY:
            self.refuse(BadRequest("the chunks of the body are malformed"))
        else:
            text = "a header field is malformed, or the length of the body is told wrongly or twice"
            self.refuse(BadRequest(text))

    def refuse(self, error: CoalitionError) -> None:
        """Answer with an error at once, and take no more requests."""
        if self._stage in (Stage.LINGER, Stage.CLOSING):
            return
        self._enter(Stage.LINGER)
        # The lines behind the one that was refused are not looked at.
        self.lineReceived = self.rawDataReceived = _pass_over  # type: ignore[method-assign]
        with_body = getattr(self, "_command", b"") != b"HEAD"
        self.transport.write(_bytes(answers.of_error(error), with_body))
        # What was paused while answers waited has to be read to its end, too.
        self._networkProducer.resumeProducing()
        self._networkProducer.unregisterProducer()
        self.transport.loseWriteConnection()

    def _throw_away(self, data: bytes) -> None:
        self._thrown += len(data)
        if self._thrown > LINGER_PART:
            self.transport.abortConnection()

    # --- waiting ----------------------------------------------------------------------------

    def loseConnection(self) -> None:
        """Close, when what was sent is read."""
        if self._stage is not Stage.LINGER:
            self._enter(Stage.CLOSING)
        super().loseConnection()

    def pauseProducing(self) -> None:
        """Wait: the client does not take more for now."""
        self._full = True
        self._moves += 1
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """Go on: the client has taken something."""
        self._full = False
        self._moves += 1
        super().resumeProducing()

    def _enter(self, stage: Stage) -> None:
        self._stage = stage
        self._moves += 1

    def look(self, now: float) -> None:
        """See how long nothing has moved, and cut off who takes too long."""
        if self._moves != self._seen:
            self._note(now)
            return
        waited = now - self._since
        if self._full:
            self._end_after(waited, UNREAD_TIME)
        elif self._stage is Stage.IDLE and waited > IDLE_TIME:
            self.loseConnection()
        elif self._stage is Stage.HEADER and waited > HEADER_TIME:
            text = f"the header was not complete within {HEADER_TIME:g} seconds"
            self.refuse(TooSlow(text))
        elif self._stage is Stage.BODY and waited > BODY_TIME:
            self._look_at_body(now)
        elif self._stage is Stage.CLOSING:
            self._end_after(waited, UNREAD_TIME)
        elif self._stage is Stage.LINGER:
            self._end_after(waited, LINGER_TIME)

    def _note(self, now: float) -> None:
        self._seen, self._since = self._moves, now
        self._came = self._size() if self._stage is Stage.BODY else 0

    def _look_at_body(self, now: float) -> None:
        if self._size() - self._came < BODY_PART:
            text = f"less than {BODY_PART} bytes of the body came in {BODY_TIME:g} seconds"
            self.refuse(TooSlow(text))
        else:
            self._note(now)

    def _size(self) -> int:
        return cast(int, self.requests[-1].content.tell())

    def _end_after(self, waited: float, limit: float) -> None:
        if waited > limit:
            log.info("%s does not read what it is sent, or does not go", self.transport.getPeer())
            self.transport.abortConnection()

    @property
    def _site(self) -> Any:
        return self.site  # type: ignore[attr-defined]


def _pass_over(data: bytes) -> None:
    pass


def _bytes(answer: answers.Answer, with_body: bool) -> bytes:
    """Give an answer that is the last one of its connection, as it is sent."""
    headers = {
        "date": datetimeToString().decode(),
        "content-type": answer.content_type,
        "content-length": str(len(answer.body)),
        "connection": "close",
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, "", ""]).encode()
    return head + answer.body if with_body else head
