"""Directives that print the interfaces for programs: the REST API and the Python API."""

from __future__ import annotations

import inspect

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import coalition
import coalition.server.site  # it registers the routes
from coalition.server.reference.document import document
from coalition.server.reference.page import contents, reference
from coalition.server.routes import routes


class RestReference(SphinxDirective):
    """`.. restreference::` is the page that a server shows at /api/docs."""

    def run(self) -> list[nodes.Node]:
        """Return it as HTML, which Sphinx searches, too."""
        made = document(routes(), coalition.__version__)
        shown = (
            f'<div class="rest"><nav class="rest-contents">{contents(made)}</nav>'
            f"{reference(made)}</div>"
        )
        return [nodes.raw("", shown, format="html")]


class PythonReference(SphinxDirective):
    """`.. pythonreference::` describes what the package coalition gives to scripts."""

    def run(self) -> list[nodes.Node]:
        """Return the descriptions, in the order of `__all__`, errors last."""
        names = [name for name in coalition.__all__ if not name.startswith("_")]
        kinds = {name: getattr(coalition, name) for name in names}
        failures = [name for name, kind in kinds.items() if is_error(kind)]
        lines: list[str] = []
        for name in [*(name for name in names if name not in failures), *failures]:
            lines += described(name, kinds[name])
        return self.parse_text_to_nodes("\n".join(lines))


def is_error(kind: object) -> bool:
    """Say whether this is something to raise."""
    return inspect.isclass(kind) and issubclass(kind, Exception)


def described(name: str, kind: object) -> list[str]:
    """Give the lines of reStructuredText that have autodoc describe a name."""
    if is_error(kind):
        return [f".. autoexception:: coalition.{name}", "   :show-inheritance:", ""]
    if not inspect.isclass(kind):
        return [f".. autodata:: coalition.{name}", ""]
    # What comes from our own classes above it is part of it, what comes from others is not.
    foreign = [one.__name__ for one in kind.__mro__ if not one.__module__.startswith("coalition")]
    inherited = f"   :inherited-members: {', '.join(foreign)}"
    return [f".. autoclass:: coalition.{name}", "   :members:", inherited, ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directives known to Sphinx."""
    app.add_directive("restreference", RestReference)
    app.add_directive("pythonreference", PythonReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
