"""A request as it comes in, with a body that is limited, and its answer as it goes out."""

from __future__ import annotations

import re
import zlib
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import Any, cast

from twisted.web.server import Request

from coalition.errors import Unavailable
from coalition.server.channel import Channel
from coalition.server.encodings import takes_gzip

IN_MEMORY = 1024 * 1024
"""Bytes of a body that are in memory while the rest of it comes; what is longer goes to disk."""

SHORT = 100_000
"""Bytes of a body that is in memory for certain: a plain buffer costs less."""

LEAST = 2048
"""Bytes of the shortest answer that is compressed: that takes 9 us, and saves a packet or more."""

LEVEL = 1
"""How hard to compress: a list of jobs becomes 20 times shorter in 0.15 ms per 64 kB; level 6 takes
twice as long for nothing."""

KINDS = re.compile(rb"text/(?!event-stream)|application/(?!octet-stream|zip)|image/svg")
"""Kinds of content that are compressed. Events are not: each has to be there at once."""

GZIP = zlib.MAX_WBITS | 16
"""What zlib calls the gzip format."""


class LimitedRequest(Request):
    """A request whose body may not be larger than the limit of its address."""

    channel: Channel
    _gzip: Any = None

    def gotLength(self, length: int | None) -> None:
        """Make room for the body, of a length that is known to be within the limit."""
        short = length is not None and length < SHORT
        self.content = cast(
            Any,
            BytesIO() if short else SpooledTemporaryFile(IN_MEMORY),  # noqa: SIM115
        )

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body, unless that makes it too large."""
        assert self.content is not None
        if self.content.tell() + len(data) > self.channel.limit:
            self.channel.refuse(self.channel.too_large())
            return
        try:
            self.content.write(data)
        except OSError as error:
            self.channel.refuse(Unavailable(f"there is no room for the body: {error.strerror}"))

    def parseCookies(self) -> None:
        """Nobody asks for cookies."""

    def getHeader(self, key: Any) -> Any:
        """Give a header field; as a text it is Latin-1, which any bytes are."""
        if isinstance(key, bytes):
            return super().getHeader(key)
        fields = self.requestHeaders.getRawHeaders(key.encode())
        return fields[-1].decode("latin-1") if fields else None

    # --- the answer -------------------------------------------------------------------------

    def compress(self, size: int | None) -> None:
        """Send what follows as gzip, if the client takes that and it is worth it.

        To be called before the first write, once the headers are set. `size` is how many bytes will
        come, None if nobody knows; the length of what is sent is not known then, either.
        """
        if size is not None and size < LEAST:
            return
        headers = self.responseHeaders
        (kind,) = headers.getRawHeaders(b"content-type", (b"",))
        if KINDS.match(kind) is None:
            return
        headers.addRawHeader(b"vary", b"accept-encoding")
        if self.clientproto == b"HTTP/1.0" or not takes_gzip(self.getHeader("accept-encoding")):
            return
        headers.setRawHeaders(b"content-encoding", [b"gzip"])
        headers.removeHeader(b"content-length")
        self._gzip = zlib.compressobj(LEVEL, wbits=GZIP)

    def write(self, data: bytes) -> None:
        """Send something of the answer."""
        super().write(self._gzip.compress(data) if self._gzip and data else data)

    def finish(self) -> None:
        """Send what is left of the answer."""
        if self._gzip is not None and self.method != b"HEAD" and not self._disconnected:
            super().write(self._gzip.flush())
        super().finish()
