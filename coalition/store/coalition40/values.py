"""Values as they stand in databases of 4.0, made into ours.

4.0 sent texts to the database as Python 2 writes them in a program: a backslash as two, a newline
as backslash and n. MySQL reads that as it was meant; SQLite keeps it as it comes.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

from coalition.store.schema import LONGEST_NAME

MOST = 2**53
"""The highest count that is kept: every program reads it without rounding."""

_ESCAPE = re.compile(r"(?:\\x[0-9a-f]{2})+|\\[\\'\"nrt]")

_MEANT = {"n": "\n", "r": "\r", "t": "\t"}


def text(value: Any) -> str:
    """Read a text; bytes that are not UTF-8 count as Latin-1, which has a letter for each."""
    if value is None:
        return ""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def is_utf8(value: Any) -> bool:
    """Say whether a text can be read as UTF-8."""
    if isinstance(value, bytes):
        try:
            value.decode()
        except UnicodeDecodeError:
            return False
    return True


def unescape(value: str) -> str:
    """Undo the escapes of Python 2's texts; a backslash that begins none stays."""
    return _ESCAPE.sub(_meant, value) if "\\" in value else value


def _meant(escape: re.Match[str]) -> str:
    sign = escape[0][1]
    if sign == "x":
        return text(bytes.fromhex(escape[0].replace("\\x", "")))
    return _MEANT.get(sign, sign)


def name(value: Any) -> str:
    """Read the name of a worker, of which only so much fits."""
    return text(value)[:LONGEST_NAME]


def seconds(value: Any) -> float:
    """Read a time or a duration; 0 if it is none."""
    number = _number(value)
    return 0.0 if number is None or number < 0 else number


def whole(value: Any, default: int = 0) -> int:
    """Read a whole number, of any size and spelling."""
    if isinstance(value, int):
        return int(value)
    number = _number(value)
    return default if number is None else int(number)


def count(value: Any) -> int:
    """Read how often something happened, or an id."""
    return min(max(whole(value), 0), MOST)


def last_job(value: Any) -> int:
    """Read the id of a worker's last job, -1 if it had none."""
    return count(value) or -1


def flag(value: Any) -> bool:
    """Read yes or no."""
    return text(value).strip().lower() not in ("", "0", "0.0", "false")


def part(value: Any) -> float | None:
    """Read a progress: 0 to 1, or nothing."""
    number = _number(value)
    return None if number is None else min(max(number, 0.0), 1.0)


def moment(value: Any) -> float:
    """Read a time: seconds since the epoch, or date and time of day in UTC; 0 if it is none."""
    if _number(value) is None:
        try:
            return datetime.fromisoformat(text(value)).replace(tzinfo=UTC).timestamp()
        except (ValueError, OverflowError):
            return 0.0
    return seconds(value)


def _number(value: Any) -> float | None:
    try:
        number = float(value if isinstance(value, int | float) else text(value))
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
