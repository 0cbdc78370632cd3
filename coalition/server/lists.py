"""What can be asked of a list: its columns, made of the type of its rows, and reading a question.

`state=ERROR,WORKING` wants one of several values, with a backslash before a comma that is part of
one; `title=shot` wants texts that contain it; numbers also know `priority_min` and `priority_max`;
`sort=-priority,id`, `limit` and `offset` choose the page.
"""

from __future__ import annotations

import operator
import re
import reprlib
import types
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from coalition import wire
from coalition.errors import BadRequest
from coalition.store.listing import Asked as Asked
from coalition.store.listing import Condition, lowered

Row = TypeVar("Row")

Kind = Literal["number", "flag", "word", "text"]

PAGE = ("limit", "offset", "sort")

LARGEST = 10**18 - 1
"""A list is asked for no number beyond: there is no such id, and databases take no larger ones."""

BOUNDS: dict[str, Literal["min", "max"]] = {"_min": "min", "_max": "max"}

NUMBER = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}

TRUTHS = {"0": 0, "1": 1, "false": 0, "true": 1}


@dataclass
class Listing(Generic[Row]):
    """A part of a list, as JSON, and how many rows there are without limit and offset."""

    total: int
    rows: msgspec.Raw


class Columns:
    """The columns of a list, by how they are asked for."""

    def __init__(
        self, row: type[msgspec.Struct], words: Collection[str], without: Collection[str] = ()
    ) -> None:
        """Take those of a type; of the texts, `words` are asked for as a whole."""
        self.row = row
        self.kinds: dict[str, Kind] = {
            field.name: _kind(field, words)
            for field in msgspec.structs.fields(row)
            if field.name not in without
        }
        self._words = {
            field.name: get_args(field.type)
            for field in msgspec.structs.fields(row)
            if self.kinds.get(field.name) == "word" and get_origin(field.type) is Literal
        }

    def parameters(self) -> Iterator[tuple[str, Kind, str]]:
        """Give the parameters of columns: name, kind, and the column with "", "_min" or "_max"."""
        for name, kind in self.kinds.items():
            yield name, kind, ""
            if kind == "number":
                for bound in BOUNDS:
                    yield name + bound, kind, bound

    def values(self, name: str) -> dict[str, Any]:
        """Give the JSON Schema of a value that a column is asked for."""
        match self.kinds[name]:
            case "number":
                return NUMBER
            case "flag":
                return {"enum": [0, 1]}
        return {"enum": list(self._words[name])} if name in self._words else {"type": "string"}

    def read(self, args: Iterable[tuple[str, str]]) -> Asked:
        """Read the parameters of a request. Raises BadRequest, which names the wrong one."""
        where: list[Condition] = []
        page: dict[str, str] = {}
        seen: set[str] = set()
        for name, text in args:
            # Several lists of values become one, but a database takes no thousand conditions.
            if name in seen and self.kinds.get(name, "text") == "text":
                raise BadRequest(f"{name} stands there twice", field=name)
            seen.add(name)
            if name in PAGE:
                page[name] = text
            else:
                where.append(self._condition(name, text))
        return Asked(
            tuple(_merged(where)),
            tuple(self._order(page.get("sort", ""))),
            _whole("limit", page["limit"]) if "limit" in page else None,
            _whole("offset", page.get("offset", "0")),
        )

    def _condition(self, name: str, text: str) -> Condition:
        if name in self.kinds:
            kind = self.kinds[name]
            if kind == "text":
                return Condition(name, "contains", (text,))
            values = tuple(self._value(name, kind, one) for one in split(text))
            return Condition(name, "in", values)
        column, bound = name[:-4], BOUNDS.get(name[-4:])
        if bound is None or self.kinds.get(column) != "number":
            short = reprlib.repr(name)
            raise BadRequest(f"this list cannot be asked by {short}", field=name[:100])
        return Condition(column, bound, (_number(name, text),))

    def _value(self, name: str, kind: Kind, text: str) -> Any:
        if kind == "number":
            return _number(name, text)
        if kind == "flag":
            return _flag(name, text)
        words = self._words.get(name, (text,))
        if text not in words:
            raise _wrong(name, f"one of {', '.join(words)}", text)
        return text

    def _order(self, text: str) -> Iterator[tuple[str, bool]]:
        seen = set()
        for part in text.split(",") if text else ():
            column = part.removeprefix("-")
            if column not in self.kinds:
                short = reprlib.repr(part)
                raise BadRequest(f"this list cannot be sorted by {short}", field="sort")
            if column in seen:
                raise BadRequest(f"sort names {column} twice", field="sort")
            seen.add(column)
            yield column, part != column

    def part(self, rows: Iterable[Row], asked: Asked, last: str) -> tuple[int, list[Row]]:
        """Give of rows in memory what is asked: how many satisfy the conditions, and the page."""
        found = list(rows)
        for condition in asked.where:
            found = list(filter(_test(condition), found))
        for name, down in [*asked.order, (last, False)][::-1]:
            found.sort(key=lambda row: _key(getattr(row, name)), reverse=down)
        end = None if asked.limit is None else asked.offset + asked.limit
        return len(found), found[asked.offset : end]


def _kind(field: Any, words: Collection[str]) -> Kind:
    kinds = {type(None)}
    for part in _parts(field.type):
        kinds.add(part)
    if kinds & {int, float}:
        return "number"
    if kinds & {0, 1}:
        return "flag"
    return "word" if field.name in words else "text"


def _parts(kind: Any) -> Iterator[Any]:
    if get_origin(kind) in (Union, types.UnionType, Literal):
        for one in get_args(kind):
            yield from _parts(one)
    else:
        yield kind


def narrowed(asked: Asked, column: str, values: Iterable[object]) -> Asked:
    """Give a question that also wants one of these values of a column."""
    return replace(asked, where=(*asked.where, Condition(column, "in", tuple(values))))


def split(text: str) -> list[str]:
    r"""Split at commas, where `\,` is one of a value and `\\` a backslash."""
    parts = re.findall(r"((?:[^\\,]|\\.|\\$)*)(,|$)", text, re.DOTALL)
    values = [re.sub(r"\\([\\,])", r"\1", part) for part, _ in parts]
    return values[: 1 + sum(comma == "," for _, comma in parts)]


def _merged(conditions: list[Condition]) -> Iterator[Condition]:
    """Make one condition of those that want one of several values of the same column."""
    wanted: dict[str, tuple[Any, ...]] = {}
    for one in conditions:
        if one.test == "in":
            wanted[one.column] = (*wanted.get(one.column, ()), *one.values)
        else:
            yield one
    for column, values in wanted.items():
        yield Condition(column, "in", values)


def _flag(name: str, text: str) -> int:
    if text.lower() not in TRUTHS:
        raise _wrong(name, "0 or 1", text)
    return TRUTHS[text.lower()]


def _number(name: str, text: str) -> int | float:
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII):
        return int(text)
    if re.fullmatch(r"[+-]?([0-9]{1,18}|[0-9]{0,18}\.[0-9]{1,18})([eE][+-]?[0-9]{1,2})?", text):
        value = float(text)
        if abs(value) <= LARGEST:
            return value
    raise _wrong(name, f"a number of at most {LARGEST}", text)


def _whole(name: str, text: str) -> int:
    if re.fullmatch(r"[0-9]{1,15}", text, re.ASCII) is None:
        raise _wrong(name, "a whole number, 0 or more", text)
    return int(text)


def _wrong(name: str, kind: str, text: str) -> BadRequest:
    return BadRequest(f"{name} must be {kind}, not {reprlib.repr(text)}", field=name)


def _test(condition: Condition) -> Callable[[object], bool]:
    get = operator.attrgetter(condition.column)
    if condition.test == "in":
        values = frozenset(condition.values)  # there may be thousands
        return lambda row: get(row) in values
    (wanted,) = condition.values
    if condition.test == "contains":
        part = lowered(wanted)
        return lambda row: part in lowered(get(row))
    holds = operator.ge if condition.test == "min" else operator.le
    return lambda row: get(row) is not None and holds(get(row), wanted)


def _key(value: Any) -> tuple[bool, Any]:
    """Give what sorts by a value; nothing comes before everything."""
    return value is not None, value


JOBS = Columns(wire.Job, words=("state", "worker", "user"), without=("ping_time",))
WORKERS = Columns(wire.Worker, words=("name", "node", "ip", "state", "host"))
EVENTS = Columns(wire.Event, words=("worker", "state"))
DEPENDENCIES = Columns(wire.Dependency, words=())
USERS = Columns(wire.UserOfJobs, words=("user",))
STATES = Columns(wire.StateOfJobs, words=("state",))
WORKERS_OF_JOBS = Columns(wire.WorkerOfJobs, words=("worker",))
PRIORITIES = Columns(wire.PriorityOfJobs, words=())
AFFINITIES = Columns(wire.AffinityOfJobs, words=("affinity",))
