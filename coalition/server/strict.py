"""JSON as strictly as we want it: no name twice in an object, and errors that say what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from coalition.errors import BadRequest

STEP = 500
"""Tokens between two yields: about a fifth of a millisecond."""

MOST_KEYS = 200_000
"""Keys of an object and of those that it stands in. More fit into no edit; and while they are
compared they take twenty times the memory of their text."""

_TOKEN = re.compile(
    rb"""[{}] | "((?:[^"\\]++|\\.)*+)"?  # a brace, or a text: a key if a colon follows,
    (?:\s*+(:)\s*+(?:"(?:[^"\\]++|\\.)*+"? | [^"{}]*+))?  # with its value if that is plain
    """,
    re.DOTALL | re.VERBOSE,
)
"""What decides which keys an object has. Every text is matched to its end, also one that has none:
so no text of any length makes it go back, nor takes a brace in a text for one."""

FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises about a body."""

LONGEST_SHOWN = 100
"""Characters of a name that somebody made up, which an error shows."""

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def check(body: bytes) -> Iterator[None]:
    """See what msgspec does not in what it has decoded, yielding at times. Raises BadRequest."""
    check_texts(body)
    yield from check_keys(body)


def check_keys(body: bytes) -> Iterator[None]:
    """See that in what has been decoded no object has a key twice, yielding now and then.

    msgspec takes the last one, and others the first. Raises BadRequest.
    """
    objects: list[set[bytes]] = []
    keys = 0
    for number, token in enumerate(_TOKEN.finditer(body), 1):
        key = token[1]
        if key is not None:
            if token[2] is not None:
                _add(objects[-1], key)
                keys += 1
                if keys > MOST_KEYS:
                    raise BadRequest(f"an object has more than {MOST_KEYS} keys")
        elif token[0] == b"{":
            objects.append(set())
        else:
            keys -= len(objects.pop())
        if number % STEP == 0:
            yield


def _add(keys: set[bytes], key: bytes) -> None:
    if b"\\" in key:
        key = _plain(key)
    if key in keys:
        name = key.decode(errors="replace")
        short = name if len(name) <= 100 else name[:100] + "..."
        raise BadRequest(f"the key {short!r} stands twice in one object", field=short)
    keys.add(key)


def _plain(key: bytes) -> bytes:
    """Give a key without escapes: "a" is the same one as a."""
    try:
        return msgspec.json.decode(b'"' + key + b'"', type=str).encode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return key


def fault(error: Exception, body: bytes, path: str = "$") -> BadRequest:
    """Say what is wrong with a body, or what stands at `path` of one, that msgspec refused."""
    if isinstance(error, msgspec.ValidationError):
        return malformed(error, path)
    if isinstance(error, RecursionError):
        return BadRequest("the body is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return BadRequest(f"the body is not UTF-8: {error.reason}")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return BadRequest("the body begins with a byte order mark; it must be plain UTF-8")
    return BadRequest(f"the body is not JSON: {_reason(error, body)}")


def malformed(error: msgspec.ValidationError, path: str = "$") -> BadRequest:
    """Make the error for a value of the wrong type; msgspec's message ends with its path."""
    said, _, place = str(error).partition(" - at `")
    place = path + place.removeprefix("key in ").removeprefix("$").removesuffix("`")
    name = re.search("unknown field `(.*)`", said, re.DOTALL)
    if name is not None:
        short = name[1] if len(name[1]) <= LONGEST_SHOWN else name[1][:LONGEST_SHOWN] + "..."
        said, place = f"there is no field {short!r}", f"{place}.{short}"
    field = place.removeprefix("$").removeprefix(".")
    return BadRequest(f"{said} - at `{place}`", **{"field": field} if field else {})


def fault_of_value(error: Exception, body: bytes, kind: Any) -> BadRequest:
    """Say the same where the body is an object of values of a type: also which value it is."""
    if isinstance(error, msgspec.ValidationError) and body.lstrip()[:1] == b"{":
        values = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        decoder = msgspec.json.Decoder(kind, strict=False)
        for key, value in values.items():
            try:
                decoder.decode(value)
            except msgspec.ValidationError as inner:
                return malformed(inner, f"$.{key}" if len(key) <= LONGEST_SHOWN else "$.")
    return fault(error, body)


def check_texts(body: bytes) -> None:
    """Refuse what has been decoded if a text in it has a NUL: no command, no path can have one."""
    # A plain search goes through many MB in a millisecond; the expression would take a second.
    if b"\\u0000" in body and _NUL.search(body) is not None:
        path = _find_nul(msgspec.json.decode(body), "$")
        raise BadRequest(f"a text with a NUL - at `{path}`", field=path.removeprefix("$."))


def _find_nul(value: object, path: str) -> str:
    """Give where a text with a NUL is, or nothing."""
    if isinstance(value, str):
        return path if "\0" in value else ""
    if isinstance(value, dict):
        places = ((one, f"{path}.{key}") for key, one in value.items())
        if any("\0" in key for key in value):
            return path
    elif isinstance(value, list):
        places = ((one, f"{path}[{number}]") for number, one in enumerate(value))
    else:
        return ""
    return next(filter(None, (_find_nul(one, place) for one, place in places)), "")


def _reason(error: Exception, body: bytes) -> str:
    place = re.search(r"\(byte (\d+)\)", str(error))
    word = (
        re.match(rb"NaN|-?Infinity|-?inf", body[int(place[1]) - 1 :].lstrip(b" :,["))
        if place
        else None
    )
    if word is not None:
        return f"{word[0].decode()} is no number there"
    if ("truncated" in str(error) or "surrogate" in str(error)) and _HALF.search(body):
        return "an escaped character is half of a pair of surrogates"
    return str(error)
