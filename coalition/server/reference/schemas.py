"""JSON Schema of the types that requests and answers are made of, with their descriptions."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec

from coalition import wire

PLACE = "#/components/schemas/"
TEMPLATE = PLACE + "{name}"

Schema = dict[str, Any]

LIKE: dict[str, tuple[type, ...]] = {
    "JobEdit": (wire.NewJob,),
    "Job": (wire.NewJob,),
    "JobWithDependencies": (wire.Job, wire.NewJob),
}
"""Types that share fields with others, which describe them."""

WHOLE = {"type": "string", "pattern": "^[+-]?[0-9]{1,15}$"}
NUMBER = {"type": "string", "pattern": r"^[+-]?[0-9]{1,15}(\.[0-9]{1,15})?$"}
TRUTH = {"enum": [0, 1, "0", "1", "true", "false"]}
"""What a request may also write for an integer, a number and a boolean, as 4.0's clients do."""


class Schemas:
    """The schemas of some types, and those that they have in common."""

    def __init__(self, sent: Iterable[Any], answered: Iterable[Any]) -> None:
        """Make those of the types that clients send, and of those that they get."""
        self._known: dict[Any, Schema] = {}
        self.components: dict[str, Schema] = {}
        for kinds, lax in ((sent, True), (answered, False)):
            kinds = list(dict.fromkeys(kinds))
            schemas, components = msgspec.json.schema_components(kinds, ref_template=TEMPLATE)
            for name, schema in components.items():
                _describe(name, schema)
                self.components[name] = _lax(schema) if lax else schema
            for kind, schema in zip(kinds, schemas, strict=True):
                self._known[kind] = _lax(schema) if lax else schema

    def of(self, kind: Any) -> Schema:
        """Give the schema of one of the types."""
        return self._known[kind]


def _lax(schema: Any) -> Any:
    """Allow for numbers and booleans the texts that are read as such."""
    if isinstance(schema, list):
        return [_lax(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: value if name == "default" else _lax(value) for name, value in schema.items()}
    other = {"integer": WHOLE, "number": NUMBER, "boolean": TRUTH}.get(str(made.get("type")))
    if other is None:
        return made
    kept = {name: made.pop(name) for name in ("description", "default") if name in made}
    return {"anyOf": [made, other], **kept}


def _describe(name: str, schema: Schema) -> None:
    """Add to the schema of a type of wire what is said about its fields."""
    kind = getattr(wire, name)
    texts: dict[str, str] = {}
    for one in (*LIKE.get(name, ()), kind):
        texts |= field_texts(one)
    for field, shown in schema.get("properties", {}).items():
        if field in texts:
            shown["description"] = texts[field]


@cache
def field_texts(kind: type) -> dict[str, str]:
    """Give the text that stands below each field of a class in its source."""
    (found,) = (
        node
        for node in ast.parse(inspect.getsource(inspect.getmodule(kind) or kind)).body
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    return dict(_texts(found.body))


def _texts(body: Collection[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, text in pairwise(body):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(said))),
            ):
                yield name, inspect.cleandoc(said).replace("\n", " ")
