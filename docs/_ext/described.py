"""Directives that print what the program itself says about its settings, errors and layers.

A page that copies such a table is wrong after the next change; these cannot be.
"""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx
from tables import code, table

from coalition import errors, wire
from coalition.config import Rule, ServerConfig, Setting, WorkerConfig, settings
from coalition.server.answers import status_of
from coalition.server.reference.schemas import field_texts

ROOT = Path(__file__).parents[2]

KINDS = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "yes or no",
    "int | None": "whole number",
    "tuple[str, ...]": "comma list",
}


def default_text(default: object) -> str:
    """Return a default as it would be written in coalition.ini."""
    if default is None or default == ():
        return ""
    return str(int(default)) if isinstance(default, bool) else str(default)


def bounds(rule: Rule) -> str:
    """Say in words between what a number must be, or which words there are."""
    if rule.choices:
        return "one of " + ", ".join(rule.choices)
    low = f"at least {rule.lowest:g}" if rule.lowest > -math.inf else ""
    high = f"at most {rule.highest:g}" if rule.highest < math.inf else ""
    return ", ".join(filter(None, (low, high)))


def setting_entry(one: Setting) -> nodes.definition_list_item:
    """Return what there is to say about a setting."""
    facts = [KINDS[one.kind]]
    if limits := bounds(one.rule):
        facts.append(limits)
    default = default_text(one.default)
    line = nodes.paragraph(text=f"{'; '.join(facts)}; default ")
    line += nodes.literal(text=default) if default else nodes.emphasis(text="empty")
    line += nodes.Text("; in the environment ")
    line += nodes.literal(text=one.variable)
    term = nodes.term("", "", nodes.literal(text=one.key))
    body = nodes.definition("", nodes.paragraph(text=f"{one.rule.help}."), line)
    return nodes.definition_list_item("", term, body)


class Settings(Directive):
    """`.. settings:: server` lists the settings of a section of coalition.ini."""

    required_arguments = 1
    configs: ClassVar[dict[str, type[ServerConfig] | type[WorkerConfig]]] = {
        "server": ServerConfig,
        "worker": WorkerConfig,
    }

    def run(self) -> list[nodes.Node]:
        """Return the list."""
        described = settings(self.configs[self.arguments[0]])
        entries = [setting_entry(one) for one in described if one.rule.in_file]
        return [nodes.definition_list("", *entries)]


class Attributes(Directive):
    """`.. attributes:: Job` lists the fields of a type of the REST API that have a text."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        kind = getattr(wire, self.arguments[0])
        texts = field_texts(kind)
        fields = [one for one in msgspec.structs.fields(kind) if one.name in texts]
        rows = [(code(one.name), json_default(one), prose(texts[one.name])) for one in fields]
        if kind is wire.Job:
            return [table(("field", "meaning"), [(name, text) for name, _, text in rows], (22, 78))]
        return [table(("field", "default", "meaning"), rows, (22, 14, 64))]


def json_default(field: Any) -> nodes.paragraph:
    """Return what a field is when a request does not name it; nothing for empty ones."""
    default = None if field.required else field.default
    return code("" if default in (None, "") else json.dumps(default))


def prose(text: str) -> nodes.paragraph:
    """Return a text with its `code` marked."""
    pieces = text.split("`")
    made = [nodes.literal(text=one) if at % 2 else nodes.Text(one) for at, one in enumerate(pieces)]
    return nodes.paragraph("", "", *made)


class Errors(Directive):
    """`.. errors::` lists the codes an answer of the REST API may carry."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        kinds = sorted(self.kinds(errors.Refused, errors.Unavailable), key=lambda kind: kind.code)
        rows = [
            (code(kind.code), str(status_of(kind)), code(kind.__name__), str(kind()))
            for kind in kinds
        ]
        return [table(("code", "status", "in Python", "meaning"), rows, (22, 8, 22, 48))]

    def kinds(self, *roots: type[errors.CoalitionError]) -> set[type[errors.CoalitionError]]:
        """Return the classes and all that derive from them."""
        below = {kind for root in roots for kind in self.kinds(*root.__subclasses__())}
        return {*roots, *below}


class Contracts(Directive):
    """`.. contracts::` lists who may not import whom, as the checks hold it."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
        rows = [
            (one["name"], self.names(one["source_modules"]), self.names(one["forbidden_modules"]))
            for one in settings["tool"]["importlinter"]["contracts"]
        ]
        return [table(("rule", "these", "do not import"), rows, (28, 27, 45))]

    def names(self, modules: list[str]) -> nodes.paragraph:
        """Return the names of modules, ours without the package before them."""
        made: list[Any] = []
        for module in modules:
            made += [nodes.Text(" "), nodes.literal(text=module.removeprefix("coalition."))]
        return nodes.paragraph("", "", *made[1:])


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directives known to Sphinx."""
    app.add_directive("settings", Settings)
    app.add_directive("attributes", Attributes)
    app.add_directive("errors", Errors)
    app.add_directive("contracts", Contracts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
