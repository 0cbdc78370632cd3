"""How far a run is, read from its log by the patterns of its job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from coalition.errors import BadRequest

DEFAULT: Final = "PROGRESS:%percent"
"""Understood for every job that has no pattern of its own, as in 4.0."""

NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"

CARRY = 1024
"""Bytes of the log kept to find a match that two chunks share."""


class Match(Protocol):
    """What a regular expression found."""

    def end(self) -> int:
        """Give where the match ends."""
        ...

    def group(self, group: bytes, /) -> bytes | None:
        """Give what a named group matched."""
        ...


class Regex(Protocol):
    """A compiled regular expression over bytes."""

    def finditer(self, data: bytes, /) -> Iterator[Match]:
        """Give the matches from left to right."""
        ...


Compile = Callable[[bytes], Regex]
"""Compiles an expression whose matching takes linear time, or raises an error that says why not."""


def translate(pattern: str) -> bytes:
    """Turn a pattern into a regular expression with a group `percent` (0-100) or `one` (0-1).

    Raises BadRequest where neither %percent nor %one stands in it.
    """
    for name in ("percent", "one"):
        before, found, rest = pattern.partition("%" + name)
        if found:
            text = f"{before}(?P<{name}>{NUMBER}){rest}"
            for other in ("%percent", "%one"):
                text = text.replace(other, f"(?:{NUMBER})")
            return text.encode()
    raise BadRequest(f"the progress pattern {pattern!r} has neither %percent nor %one")


class Gauge:
    """Reads one pattern's value from a log that comes in chunks; the last match wins."""

    __slots__ = ("_carry", "_name", "_regex", "_scale")

    def __init__(self, pattern: str, compile: Compile) -> None:
        """Compile the pattern; raises what `compile` and translate() raise."""
        text = translate(pattern)
        self._regex = compile(text)
        self._name, self._scale = (b"percent", 0.01) if b"(?P<percent>" in text else (b"one", 1.0)
        self._carry = b""

    def feed(self, data: bytes) -> float | None:
        """Take the next bytes of the log; give the newest value, 0..1, if they hold one."""
        known = len(self._carry)
        text = self._carry + data
        value = None
        for match in self._regex.finditer(text):
            if match.end() > known:
                number = match.group(self._name)
                value = number or value
        self._carry = text[-CARRY:]
        return None if value is None else min(1.0, float(value) * self._scale)


class Meter:
    """The progress of a run, and the local progress inside its current step."""

    __slots__ = ("_local", "_whole")

    def __init__(self, local_pattern: str, global_pattern: str, compile: Compile) -> None:
        """Take a job's two patterns; with only a local one, that is the progress too."""
        self._local = Gauge(local_pattern, compile) if local_pattern else None
        self._whole: Gauge | None = None
        if global_pattern or not local_pattern:
            self._whole = Gauge(global_pattern or DEFAULT, compile)

    def feed(self, data: bytes) -> tuple[float | None, float | None]:
        """Take the next bytes of the log; give progress and local progress where they are told."""
        local = self._local.feed(data) if self._local is not None else None
        if self._whole is None:
            return local, local
        return self._whole.feed(data), local
