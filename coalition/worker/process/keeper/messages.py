"""What worker.py and a keeper say to each other: lists of messages, each a tuple.

All text that goes to the system is bytes: which encoding it has, only worker.py knows.

worker.py says:
  ("environment", variables)   before all else: what commands inherit
  ("start", run, arguments, variables, directory, owner, killer, lease)   variables: what its
        environment has beyond that; owner: None or (uid, gid, groups); killer: None or
        (arguments, variables) of what signals its processes where that takes the runcommand: each
        argument in pieces, between which the text of the command belongs; lease: None or a time of
        `boottime`
  ("drop", run)            take it from the queue, if it is still there
  ("end", run, grace)      the same; if it has begun: SIGTERM, and SIGKILL after `grace` seconds
  ("lease", deadline)      move the deadline of all runs that have one
  ("hold", run), ("go", run)   read no output for a while, so that the command waits
  ("ask", number)          say that you are there

A keeper says:
  ("ready", adopting)      it has started; `adopting`: what its commands orphan comes back to it
  ("began", run, pid)      once the run has lived for a while
  ("output", run, bytes)
  ("ended", run, pid, output, code, seconds, clearing, lapsed, by_order, remarks)   with the last
        of its output; from `code` on it is an `Exit` of coalition.worker.process.watch
  ("failed", run, errno, place, reason)   not started; place: "directory" or "program"
  ("dropped", run)         it was still in the queue
  ("here", number)         the answer to "ask"
"""

from __future__ import annotations

import marshal
import sys
import time

TYPE_CHECKING = False
"""Ours, not that of `typing`, which would make each keeper larger by a third."""

if TYPE_CHECKING:
    from typing import Any

    Message = tuple[Any, ...]


def pack(messages: list[Message]) -> bytes:
    """Return messages as bytes: their length, then what marshal makes of them."""
    data = marshal.dumps(messages)
    return len(data).to_bytes(4, "little") + data


def unpack(heard: bytearray) -> list[Message]:
    """Take the messages that have come completely out of what was heard."""
    messages: list[Message] = []
    while len(heard) >= 4:
        end = 4 + int.from_bytes(heard[:4], "little")
        if len(heard) < end:
            break
        messages += marshal.loads(heard[4:end])
        del heard[:end]
    return messages


def boottime() -> float:
    """Return seconds on a clock that nobody sets and that goes on while the computer sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    else:
        return time.monotonic()
