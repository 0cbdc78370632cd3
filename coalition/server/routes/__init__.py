"""The routes: each parses a request, calls one method of the service, and gives its answer."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from coalition.errors import BadRequest, UnknownRoute, WrongMethod
from coalition.server.auth import NOBODY, Who
from coalition.server.service import Service
from coalition.server.submitting import is_id

T = TypeVar("T")


@dataclass
class Call:
    """A request, as far as a route may see it."""

    service: Service
    method: str
    body: bytes = b""
    args: dict[str, str] = field(default_factory=dict)  # query, and the body of a form
    id: int = 0  # the number in the path
    ip: str = ""
    range: str = ""  # the Range header
    who: Who = NOBODY
    hung_up: Callable[[], None] | None = None  # to be called if the client goes away

    def json(self, kind: type[T]) -> T:
        """Give the body as a type; raises BadRequest with the path of what is wrong."""
        try:
            decoded: T = _decoder(cast(Any, kind)).decode(self.body or b"{}")
            return decoded
        except msgspec.ValidationError as error:
            raise BadRequest(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"the body is not JSON: {error}") from None
        except RecursionError:
            raise BadRequest("the body is nested too deeply") from None

    def number(self, name: str, default: int) -> int:
        """Give a parameter as a whole number."""
        text = self.args.get(name, "")
        if not text:
            return default
        if re.fullmatch(r"[+-]?[0-9]{1,15}", text.strip(), re.ASCII) is None:
            short = reprlib.repr(text)
            raise BadRequest(f"{name} must be a whole number, not {short}", field=name)
        return int(text)


@lru_cache(maxsize=100)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, strict=False)


Handler = Callable[[Call], Awaitable[object]]

_routes: dict[tuple[str, ...], dict[str, Handler]] = {}


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Serve a method of a path; a segment `*` of the path is a job's id."""

    def register(handler: Handler) -> Handler:
        _routes.setdefault(tuple(path.strip("/").split("/")), {})[method] = handler
        return handler

    return register


def find(method: str, segments: tuple[str, ...]) -> tuple[Handler, int]:
    """Find the handler of a path, and the id in it; raises UnknownRoute or WrongMethod."""
    id = 0
    methods = _routes.get(segments)
    if methods is None:
        for place, segment in enumerate(segments):
            if is_id(segment):
                methods = _routes.get((*segments[:place], "*", *segments[place + 1 :]))
                id = int(segment)
                break
    path = "/" + "/".join(segments)
    if methods is None:
        raise UnknownRoute(f"there is no {path} on this server", path=path)
    handler = methods.get("GET" if method == "HEAD" else method)
    if handler is None:
        takes = ", ".join(sorted(methods))
        raise WrongMethod(f"{path} takes {takes}, not {method}", path=path, takes=sorted(methods))
    return handler, id
