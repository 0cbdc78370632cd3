"""The OpenAPI 3.1 document of the API, made of the signatures of its routes.

Format: https://spec.openapis.org/oas/v3.1.0. The workers' own routes are no part of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from types import GenericAlias
from typing import Any, get_args, get_origin

import msgspec

from coalition import wire
from coalition.errors import CoalitionError
from coalition.server.answers import status_of
from coalition.server.lists import NUMBER, Listing
from coalition.server.reference.examples import EXAMPLES, Example
from coalition.server.reference.schemas import Schemas, field_texts
from coalition.server.routes import Route

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

INTRODUCTION = """\
Requests and answers are JSON. An answer with a status below 400 means that the change is in the
database; one of 400 or more means that nothing has changed, but for the code `not_durable`: then
the database does not take the change at the moment, and it is written as soon as that can be.
Times are seconds since 1970, durations and time limits seconds. A number or truth value may be
sent as a text. What 4.0 answered at /api/webfrontend/ is there as well.
"""

TAGS = {
    "jobs": "Jobs and groups of jobs: create, look at, change and order them.",
    "workers": "Workers, the runs that they had, and the list of affinity words.",
    "state": "The server itself.",
    "legacy": "How jobs were added before 4.0.",
    "documents": "This reference.",
}

WHOLE = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}
PAGE = {"limit": "At most so many rows.", "offset": "Without the first so many."}


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """Make the document of these routes, as plain values."""
    shown = [route for route in routes if not route.path.startswith("/workers/")]
    sent = (kind for route in shown for kind in (route.body, *_fields(route.query)))
    answered = (_rows(route.hints["return"]) for route in shown)
    schemas = Schemas(filter(None, sent), [wire.ErrorAnswer, wire.Changed, *filter(None, answered)])
    paths: dict[str, dict[str, Any]] = {}
    for route in shown:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    tags = [{"name": name, "description": text} for name, text in TAGS.items()]
    used = {operation["tags"][0] for path in paths.values() for operation in path.values()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Coalition", "version": version, "description": INTRODUCTION},
        "tags": [tag for tag in tags if tag["name"] in used],
        "paths": paths,
        "components": {"schemas": schemas.components},
    }


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    text = inspect.cleandoc(route.handler.__doc__ or "")
    summary, _, more = text.partition("\n")
    place = route.path.strip("/").replace("/", "_").replace("{", "").replace("}", "")
    example = EXAMPLES.get((route.method, route.path), Example())
    made: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{place}",
        "tags": [route.handler.__module__.rpartition(".")[2]],
        "summary": summary.rstrip("."),
        "parameters": [
            *([_path_id(example)] if "{id}" in route.path else []),
            *_query(route, schemas),
            *_list_parameters(route),
            *_headers(route),
        ],
        "responses": dict(_responses(route, schemas, example)),
    }
    if more.strip():
        made["description"] = more.strip()
    if route.body is not None:
        content = {"schema": schemas.of(route.body), "example": example.body}
        made["requestBody"] = {"required": route.sends is not None, "content": {JSON: content}}
    return made


def _path_id(example: Example) -> dict[str, Any]:
    return {
        "name": "id", "in": "path", "required": True, "description": "The id of a job.",
        "schema": WHOLE, "example": example.id,
    }  # fmt: skip


def _fields(query: type[msgspec.Struct] | None) -> Iterator[Any]:
    for field in msgspec.structs.fields(query) if query is not None else ():
        yield field.type


def _query(route: Route, schemas: Schemas) -> Iterator[dict[str, Any]]:
    """Give the parameters that are none of a list's; an empty one is as one that is missing."""
    if route.query is None:
        return
    texts = field_texts(route.query)
    for field in msgspec.structs.fields(route.query):
        text = texts.get(field.name, "")
        schema = {"anyOf": [schemas.of(field.type), {"const": ""}], "default": field.default}
        yield {"name": field.name, "in": "query", "description": text, "schema": schema}


def _headers(route: Route) -> Iterator[dict[str, Any]]:
    for name, text in route.headers.items():
        yield {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}


def _list_parameters(route: Route) -> Iterator[dict[str, Any]]:
    columns = route.columns
    if columns is None:
        return
    own = () if route.query is None else route.query.__struct_fields__
    for name, kind, bound in columns.parameters():
        if name in own:
            continue
        text = "Rows that have one of these values."
        schema: dict[str, Any] = {"type": "string"}
        if bound:
            column = name.removesuffix(bound)
            text = f"Rows with a {column} of {'at least' if bound == '_min' else 'at most'} this."
            schema = NUMBER
        elif kind == "text":
            text = "Rows that contain this; the case of letters does not matter."
        else:
            schema = {"type": "array", "minItems": 1, "items": columns.values(name)}
        yield _parameter(name, text, schema)
    for name, text in PAGE.items():
        yield _parameter(name, text, WHOLE)
    names = [sign + name for name in columns.kinds for sign in ("", "-")]
    sort: dict[str, Any] = {"type": "array", "minItems": 1, "items": {"enum": names}}
    yield _parameter("sort", "By these columns, each once, downwards those with a minus.", sort)


def _parameter(name: str, text: str, schema: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "in": "query", "description": text, "schema": schema}
    if schema["type"] == "array":
        made |= {"style": "form", "explode": False}
    return made


def _rows(kind: Any) -> Any:
    """Give the type of a JSON answer, None for others: of a part of a list that of a whole one."""
    if kind is type(None) or hasattr(kind, "media"):
        return None
    if get_origin(kind) is not Listing:
        return kind
    return GenericAlias(list, get_args(kind))


def _responses(
    route: Route, schemas: Schemas, example: Example
) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = route.hints["return"]
    media = getattr(kind, "media", None)
    if media is not None:
        shown = {"schema": {"type": "string"}, **_example(example)}
        yield "200", {"description": "Done.", "content": {media: shown}}
    elif kind is not type(None):
        content = {"schema": schemas.of(_rows(kind)), **_example(example)}
        good: dict[str, Any] = {"description": "Done.", "content": {JSON: content}}
        if route.columns is not None:
            good["headers"] = {"X-Total-Count": TOTAL}
        yield "200", good
    for status, text in route.also.items():
        body = {TEXT: {"schema": {"type": "string"}}}
        if media is None:
            body = {JSON: {"schema": schemas.of(_rows(kind))}}
        yield str(status), {"description": text, "content": body}
    codes: dict[int, list[type[CoalitionError]]] = {}
    for error in route.errors:
        if status_of(error) not in route.also:
            codes.setdefault(status_of(error), []).append(error)
    for status, kinds in sorted(codes.items()):
        text = " ".join(f"`{one.code}`: {one.__doc__}" for one in dict.fromkeys(kinds))
        content = {"schema": schemas.of(wire.ErrorAnswer)}
        if status == example.status:
            content |= _example(example)
        yield str(status), {"description": text, "content": {JSON: content}}


def _example(example: Example) -> dict[str, Any]:
    return {} if example.answer is None else {"example": example.answer}


TOTAL = {
    "description": "How many rows there are without limit and offset.",
    "schema": {"type": "integer", "minimum": 0},
}
