"""The routes: each parses a request, calls one method of the service, and gives its answer.

The signature of a route says what it takes and gives, and nothing else does: from it the request
is checked, and the API's document is made. A parameter `body` is read as JSON, `query` and `asked`
from the address, and those in the address of a POST may as well come as a form.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

import msgspec

from coalition import errors
from coalition.errors import BadRequest, CoalitionError, UnknownRoute, WrongMethod
from coalition.server import strict
from coalition.server.auth import NOBODY, Who
from coalition.server.lists import Columns
from coalition.server.service import Service
from coalition.server.submitting import is_id
from coalition.wire import NODE_PATH

Kinds = tuple[type[CoalitionError], ...]


@dataclass
class Call:
    """A request, as far as a route may see it."""

    service: Service
    method: str
    body: bytes = b""
    args: dict[str, str] = field(default_factory=dict)  # query, and the body if that is a form
    is_form: bool = False
    query: str = ""  # the query as it was sent
    id: int = 0  # the number in the path
    ip: str = ""
    range: str = ""  # the Range header
    last_event: str = ""  # the Last-Event-ID header
    who: Who = NOBODY
    status: int = 200  # of an answer that is a value
    hung_up: Callable[[], None] | None = None  # to be called if the client goes away


Handler = Callable[..., Awaitable[object]]


@dataclass(frozen=True)
class Route:
    """A method of a path, and what serves it; `{id}` in the path is a job's id."""

    method: str
    path: str
    handler: Handler
    raises: Kinds
    """Errors that it may answer beside those that any route may."""
    columns: Columns | None
    """Those of the list that it gives."""
    sends: Any
    """The type of a body that the handler reads for itself."""
    also: Mapping[int, str]
    """Other statuses that are no errors, and what each means."""
    headers: Mapping[str, str]
    """Header fields of the request that it reads, and what each means."""

    @cached_property
    def hints(self) -> dict[str, Any]:
        """The types of the handler's parameters, and of its answer as `return`."""
        return get_type_hints(self.handler, include_extras=True)

    @property
    def body(self) -> Any:
        """The type of the body, None without one."""
        return self.sends or self.hints.get("body")

    @property
    def query(self) -> type[msgspec.Struct] | None:
        """The type of the parameters in the address, None if there are none but a list's."""
        return self.hints.get("query")

    @property
    def errors(self) -> Kinds:
        """All errors that it may answer."""
        common: list[type[CoalitionError]] = [errors.BadRequest, errors.Unavailable]
        if self.changes:
            common.append(errors.NotDurable)
        if self.body is not None:
            common.append(errors.TooLarge)
        return (*common, *self.raises)

    @property
    def changes(self) -> bool:
        """Whether it does something, rather than only look."""
        twin = _routes[segments_of(self.path)].get("POST")
        return self.method != "GET" or (twin is not None and twin.handler is self.handler)

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any]:
        return msgspec.json.Decoder(self.hints["body"], strict=False)

    @cached_property
    def _parameters(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.handler).parameters)

    async def answer(self, call: Call) -> object:
        """Check what was sent, and carry it out."""
        given: dict[str, Any] = {}
        if "body" in self._parameters:
            given["body"] = self._read_body(call.body)
        if self.query is not None:
            given["query"] = self._read_query(self.query, call)
        if self.columns is not None:
            given["asked"] = self.columns.read(self._list_parameters(call.query))
        return await self.handler(call, **given)

    def _read_body(self, body: bytes) -> Any:
        try:
            decoded = self._decoder.decode(body or b"{}")
        except strict.FAULTS as error:
            raise self._fault(error, body) from None
        if self.path != NODE_PATH:  # a node says no key twice, and says much
            for _ in strict.check(body):
                pass  # a body that is no submission is short enough to be read in one turn
        return decoded

    def _fault(self, error: Exception, body: bytes) -> BadRequest:
        kind = self.hints["body"]
        if get_origin(kind) is dict:
            return strict.fault_of_value(error, body, get_args(kind)[1])
        return strict.fault(error, body)

    def _read_query(self, kind: type[msgspec.Struct], call: Call) -> msgspec.Struct:
        """Read the parameters that are none of a list's; an empty one is as one that is missing."""
        if self.method == "POST" and call.body and not call.is_form:
            raise BadRequest("the body is no form (application/x-www-form-urlencoded)")
        names = kind.__struct_encode_fields__
        given = {name: text for name, text in call.args.items() if text and name in names}
        try:
            return msgspec.convert(given, kind, strict=False)
        except msgspec.ValidationError as error:
            raise strict.malformed(error) from None

    def _list_parameters(self, query: str) -> Iterator[tuple[str, str]]:
        own = () if self.query is None else self.query.__struct_encode_fields__
        for name, text in parse_qsl(query, keep_blank_values=True):
            if name not in own:
                yield name, text


_routes: dict[tuple[str, ...], dict[str, Route]] = {}


def route(
    method: str,
    path: str,
    *,
    raises: Kinds = (),
    columns: Columns | None = None,
    sends: Any = None,
    also: Mapping[int, str] = MappingProxyType({}),
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[Handler], Handler]:
    """Serve a method of a path; see Route."""

    def register(handler: Handler) -> Handler:
        one = Route(method, path, handler, raises, columns, sends, also, headers)
        _routes.setdefault(segments_of(path), {})[method] = one
        return handler

    return register


def routes() -> Iterator[Route]:
    """Give all routes that were registered, by path."""
    for methods in _routes.values():
        yield from methods.values()


def find(method: str, segments: tuple[str, ...]) -> tuple[Route, int]:
    """Find the route of a path, and the id in it; raises UnknownRoute or WrongMethod."""
    id = 0
    methods = _routes.get(segments)
    if methods is None:
        for place, segment in enumerate(segments):
            if is_id(segment):
                methods = _routes.get((*segments[:place], "{id}", *segments[place + 1 :]))
                id = int(segment)
                break
    path = "/" + "/".join(segments)
    if methods is None:
        raise UnknownRoute(f"there is no {path} on this server", path=path)
    found = methods.get(method)
    if found is None:
        looks = methods.get("GET")
        only_looks = looks is not None and not looks.changes
        if method == "HEAD" and looks is not None and only_looks:
            return looks, id
        takes = sorted([*methods, "HEAD"] if only_looks else methods)
        text = f"{path} takes {', '.join(takes)}, not {method}"
        raise WrongMethod(text, path=path, takes=takes)
    return found, id


def segments_of(path: str) -> tuple[str, ...]:
    """Split a path at its slashes."""
    return tuple(path.strip("/").split("/"))
