"""What a journal says, and how it is written down.

A file is a header and frames; a frame is a length, a checksum and a list of entries.
"""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path

import msgspec

from coalition.errors import CoalitionError

NAME = b"coalition outbox "

HEADER = NAME + b"1\n"
"""How a file begins; the number changes when an older program could not read it."""

_FRAME = struct.Struct("<II")
"""Length and CRC-32 of the entries that follow."""

log = logging.getLogger(__name__)


class OutboxUnreadable(CoalitionError):
    """The outbox was written by another version of Coalition."""

    code = "outbox_unreadable"


class Fresh(msgspec.Struct, array_like=True, tag="fresh", gc=False):
    """Nothing of what stands before counts."""


class Ready(msgspec.Struct, array_like=True, tag="ready", gc=False):
    """Everything from the file before this one stands here, too."""


class Begun(msgspec.Struct, array_like=True, tag="begun", gc=False):
    """A run is about to be started; `maxlog` is in bytes."""

    run: int
    job: int
    worker: str
    server: str
    maxlog: int


class Running(msgspec.Struct, array_like=True, tag="running", gc=False):
    """A run has a process."""

    run: int
    pid: int
    started: float


class Output(msgspec.Struct, array_like=True, tag="output", gc=False):
    """A run has written, after what it had written before."""

    run: int
    data: bytes


class Rest(msgspec.Struct, array_like=True, tag="rest", gc=False):
    """A run is over, and its output ends with what the disk had not taken before."""

    run: int
    data: bytes


class Ended(msgspec.Struct, array_like=True, tag="ended", gc=False):
    """A run is over; `size` is that of all of its output."""

    run: int
    code: int
    again: bool
    seconds: float
    ended_at: float
    size: int


class Forgotten(msgspec.Struct, array_like=True, tag="forgotten", gc=False):
    """A run is nothing to us any more."""

    run: int


Entry = Fresh | Ready | Begun | Running | Output | Rest | Ended | Forgotten

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Entry])


def frame(entries: list[Entry]) -> bytes:
    """Return entries as they stand in a file."""
    data = _encoder.encode(entries)
    return _FRAME.pack(len(data), zlib.crc32(data)) + data


def read(path: Path) -> list[Entry] | None:
    """Return the live entries of a file up to where it is damaged; None if it does not count.

    Raises OutboxUnreadable, OSError.
    """
    data = path.read_bytes()
    if not data.startswith(HEADER):
        if data.startswith(NAME) and b"\n" in data[len(NAME) : len(NAME) + 8]:
            raise OutboxUnreadable(f"{path} was written by another version of Coalition")
        return None
    entries: list[Entry] = []
    ready, at = False, len(HEADER)
    while body := _sound(data, at):
        for entry in _decoded(body, path):
            if isinstance(entry, Fresh):
                entries.clear()
            elif isinstance(entry, Ready):
                ready = True
            else:
                entries.append(entry)
        at += _FRAME.size + len(body)
    if at < len(data):
        log.warning("%s ends with %d bytes that are damaged", path, len(data) - at)
    return entries if ready else None


def _sound(data: bytes, at: int) -> bytes:
    """Return what a frame holds, nothing where there is no sound one."""
    if at + _FRAME.size > len(data):
        return b""
    length, checksum = _FRAME.unpack_from(data, at)
    # A power failure may leave zeros: they end it, although the checksum of nothing is zero.
    body = data[at + _FRAME.size : at + _FRAME.size + length]
    return body if len(body) == length and zlib.crc32(body) == checksum else b""


def _decoded(body: bytes, path: Path) -> list[Entry]:
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise OutboxUnreadable(
            f"{path} was written by another version of Coalition: {error}"
        ) from error
