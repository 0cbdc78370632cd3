"""Directives that print what the program itself says about its settings, states and errors.

A page that copies such a table is wrong after the next change; these cannot be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from coalition import errors
from coalition.config import Rule, ServerConfig, Setting, WorkerConfig, settings
from coalition.core.states import MOVES
from coalition.server.answers import of_error

KINDS = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "yes or no",
    "int | None": "whole number",
    "tuple[str, ...]": "comma list",
}

Cell = str | nodes.Node


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


def table(titles: Sequence[str], rows: Iterable[Sequence[Cell]]) -> nodes.table:
    """Return a table; texts in its cells become paragraphs."""
    group = nodes.tgroup(cols=len(titles))
    group += [nodes.colspec(colwidth=1) for _ in titles]
    group += nodes.thead("", table_row(titles))
    group += nodes.tbody("", *(table_row(row) for row in rows))
    return nodes.table("", group)


def table_row(cells: Sequence[Cell]) -> nodes.row:
    """Return one row of a table."""
    made = (nodes.paragraph(text=cell) if isinstance(cell, str) else cell for cell in cells)
    return nodes.row("", *(nodes.entry("", cell) for cell in made))


def code(text: str) -> nodes.paragraph:
    """Return a text set as code."""
    return nodes.paragraph("", "", nodes.literal(text=text) if text else nodes.Text(""))


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


class Moves(Directive):
    """`.. moves::` lists the legal moves between the states of a job."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        rows = [
            (move, code(before), code(after))
            for move, pairs in MOVES.items()
            for before, after in pairs.items()
        ]
        return [table(("move", "from", "to"), rows)]


class Errors(Directive):
    """`.. errors::` lists the codes an answer of the REST API may carry."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        kinds = sorted(self.kinds(errors.Refused, errors.Unavailable), key=lambda kind: kind.code)
        rows = [(code(kind.code), str(of_error(kind()).status), str(kind())) for kind in kinds]
        return [table(("code", "status", "meaning"), rows)]

    def kinds(self, *roots: type[errors.CoalitionError]) -> set[type[errors.CoalitionError]]:
        """Return the classes and all that derive from them."""
        below = {kind for root in roots for kind in self.kinds(*root.__subclasses__())}
        return {*roots, *below}


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directives known to Sphinx."""
    app.add_directive("settings", Settings)
    app.add_directive("moves", Moves)
    app.add_directive("errors", Errors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
