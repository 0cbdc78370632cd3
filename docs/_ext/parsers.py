"""Directives that print the command lines of the programs, from the parsers that read them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from importlib import import_module
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from tables import code, table

from coalition.cli import control, crew


class Options(SphinxDirective):
    """`.. options:: control` describes the options of a program in coalition.cli.

    `:windows:` makes it those that the program has on Windows.
    """

    required_arguments = 1
    option_spec: ClassVar = {"windows": directives.flag}

    def run(self) -> list[nodes.Node]:
        """Return a description for each, to which other pages can link."""
        parser = import_module(f"coalition.cli.{self.arguments[0]}").parser
        made = parser(windows=True) if "windows" in self.options else parser()
        lines = [f".. program:: {made.prog}", ""]
        for group in made._action_groups:
            # Those of argparse itself have titles that say nothing here.
            if group.title not in ("positional arguments", "options"):
                lines += [f".. rubric:: {group.title}", ""]
            for action in group._group_actions:
                lines += described(made, action)
        return self.parse_text_to_nodes("\n".join(lines))


def described(parser: argparse.ArgumentParser, action: argparse.Action) -> Iterator[str]:
    """Give the lines of reStructuredText for an option, none for a word."""
    if not action.option_strings or action.dest == "help":
        return
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    names = ", ".join(f"{name}{value}" for name in action.option_strings)
    text = parser._get_formatter()._expand_help(action)
    sentence = re.sub(r"([\\*`_|])", r"\\\1", text[0].upper() + text[1:])
    yield from (f".. option:: {names}", "", f"   {sentence}.", "")


class Actions(SphinxDirective):
    """`.. actions::` lists the actions of control.py."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        rows = [
            (code(f"{name}{ids(action)}"), action.help) for name, action in control.ACTIONS.items()
        ]
        return [table(("action", "what it does"), rows, (30, 70))]


def ids(action: control.Action) -> str:
    """Say which ids of jobs an action takes."""
    if action.most == 0:
        return ""
    some = "ID" if action.most == 1 else "ID ..."
    return f" {some}" if action.least else f" [{some}]"


class Orders(SphinxDirective):
    """`.. orders::` holds a definition list of the orders to workers, and checks it for gaps."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the list, or fail."""
        found = self.parse_content_to_nodes()
        told = {term.astext() for node in found for term in node.findall(nodes.term)}
        if told != set(crew.ORDERS):
            raise self.error(f"the orders are {', '.join(crew.ORDERS)}")
        return found


class ExitCodes(SphinxDirective):
    """`.. exitcodes::` lists the exit codes of control.py."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        rows = [line.split(None, 1) for line in control.EXIT_CODES.splitlines()]
        return [table(("code", "meaning"), [(code(one), text) for one, text in rows], (10, 90))]


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directives known to Sphinx."""
    app.add_directive("options", Options)
    app.add_directive("actions", Actions)
    app.add_directive("orders", Orders)
    app.add_directive("exitcodes", ExitCodes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
