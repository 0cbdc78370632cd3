"""How far a run is, read from its log by the patterns of its job."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, Protocol

from coalition.errors import BadRequest

DEFAULT: Final = "PROGRESS:%percent"
"""Understood for every job that has no pattern of its own, as in 4.0."""

LONGEST = 500
"""Characters of a pattern: matching costs the length of the log times the size of the pattern."""

NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"

CARRY = 1024
"""Bytes of the log kept to find a match that two chunks share; a longer match is not found."""

_LITERAL = re.compile(r"[A-Za-z0-9 :=_-]*(?![*?{])")
"""Letters that stand for themselves, the last of them not one that may be missing."""

WINDOW = 4096
"""Bytes looked at in one step, from the end back: only the last match counts."""


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

    def search(self, data: bytes, /) -> object | None:
        """Give the first match, if there is one."""
        ...

    def finditer(self, data: bytes, /) -> Iterator[Match]:
        """Give the matches from left to right."""
        ...


Compile = Callable[[bytes], Regex]
"""Compiles an expression whose matching takes linear time, or raises an error that says why not."""


def translate(pattern: str) -> tuple[bytes, str]:
    """Turn a pattern into a regular expression and the name of the group that has the number.

    The name is `percent` (0-100) or `one` (0-1). Raises BadRequest where neither %percent nor %one
    stands in the pattern, or it is too long.
    """
    if len(pattern) > LONGEST:
        raise BadRequest(f"a progress pattern is longer than {LONGEST} characters")
    for name in ("percent", "one"):
        before, found, rest = pattern.partition("%" + name)
        if found:
            text = f"{before}(?P<{name}>{NUMBER}){rest}"
            for other in ("%percent", "%one"):
                text = text.replace(other, f"(?:{NUMBER})")
            return text.encode(), name
    raise BadRequest(f"the progress pattern {pattern!r} has neither %percent nor %one")


@lru_cache(maxsize=1000)
def _compiled(pattern: str, compile: Compile) -> tuple[Regex, bytes, bytes, float]:
    """Compile a pattern.

    Gives its expression, bytes that stand in all that it matches, the name of the group that has
    the number, and what that is multiplied by.
    """
    text, name = translate(pattern)
    regex = compile(text)
    if regex.search(b"") is not None:
        raise BadRequest(f"the progress pattern {pattern!r} matches where nothing stands")
    return regex, _literal(pattern), name.encode(), 0.01 if name == "percent" else 1.0


def _literal(pattern: str) -> bytes:
    """Give the letters that a pattern begins with: most logs have none of them."""
    found = None if "|" in pattern else _LITERAL.match(pattern)
    return found[0].encode() if found else b""


class Gauge:
    """Reads one pattern's value from a log that comes in chunks; the last match wins."""

    __slots__ = ("_carry", "_literal", "_name", "_regex", "_scale")

    def __init__(self, pattern: str, compile: Compile) -> None:
        """Compile the pattern; raises what `compile` and translate() raise."""
        self._regex, self._literal, self._name, self._scale = _compiled(pattern, compile)
        self._carry = b""

    def feed(self, data: bytes) -> float | None:
        """Take the next bytes of the log; give the newest value, 0..1, if they hold one."""
        known = len(self._carry)
        text = self._carry + data
        self._carry = text[-CARRY:]
        end = len(text) if self._literal in text else 0
        while end > known:
            begin = max(known, end - WINDOW)
            value = self._last_in(text[max(0, begin - CARRY) : end], min(begin, CARRY))
            if value is not None:
                return min(1.0, float(value) * self._scale)
            end = begin
        return None

    def _last_in(self, text: bytes, known: int) -> bytes | None:
        """Give the number of the last match that ends behind the first `known` bytes."""
        value = None
        for match in self._regex.finditer(text):
            if match.end() > known:
                value = match.group(self._name) or value
        return value


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
