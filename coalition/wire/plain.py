"""The plain types that fields are made of, with their limits, and numbers that both sides know."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

PORT = 19211
"""TCP port of the API and UDP port of discovery, as in 4.0."""

DISCOVERY_ANSWER = b"roxor"
"""What a server answers to any datagram, as in 4.0."""

DISCOVERY_QUESTION = b"coalition"

MAXLOG = 256 * 1024 * 1024
"""Bytes of a run's log that are kept as they are, unless the server is told otherwise."""

PRIORITY = 1000
"""That of a job of which nothing else is said, as in 4.0."""

FOLDER = "."
"""The same for the folder that it runs in: the one that worker.py was started in."""

LONGEST_TEXT = 100_000
"""Characters of any text of a job: Linux takes no longer command, and a row must fit into one
packet of a MySQL server."""

Text = Annotated[str, Meta(max_length=LONGEST_TEXT)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
ExitCode = Annotated[int, Meta(ge=-(2**31), le=2**32)]
"""Negative for a signal; Windows has codes up to 2**32."""

Seconds = Annotated[float, Meta(ge=0, le=1e9)]
LONGEST_NAME = 255
Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
ShortText = Annotated[str, Meta(max_length=LONGEST_NAME)]
IDENTITY = "[0-9a-f]{32}"
"""What a farm is told from others by, wherever its server is: a pattern."""

Identity = Annotated[str, Meta(pattern=rf"^({IDENTITY})?\Z")]
"""That of a farm; empty where it is not known."""

Flag = Literal[0, 1]
"""A truth value as 4.0 answers it."""

Done = Annotated[Literal[1], Meta(description="It is done, and safe.")]
"""The answer to an order, as in 4.0."""
