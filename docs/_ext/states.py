"""Directives about the states of jobs, runs and workers, from the table of legal moves."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import ClassVar, get_args

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from tables import code, table

from coalition.core.states import MOVES, STATES, RunState, State, WorkerState

PLACES: dict[str, tuple[int, int]] = {
    "PENDING": (90, 40),
    "WAITING": (90, 150),
    "WORKING": (340, 150),
    "FINISHED": (590, 90),
    "ERROR": (590, 210),
}
"""The middle of each state in the picture."""

WIDTH, HEIGHT = 120, 36
"""Of the box of a state."""

BEND = 26
"""How far an arrow leaves the straight line, so that two ways between two states are two."""


class States(SphinxDirective):
    """`.. states:: worker` holds a definition list of the states, and checks that all are there."""

    required_arguments = 1
    has_content = True
    kinds: ClassVar = {"job": State, "run": RunState, "worker": WorkerState}

    def run(self) -> list[nodes.Node]:
        """Return the list, or fail."""
        found = self.parse_content_to_nodes()
        told = {term.astext() for node in found for term in node.findall(nodes.term)}
        known = set(get_args(self.kinds[self.arguments[0]]))
        if told != known:
            wrong = ", ".join(sorted(told ^ known))
            raise self.error(f"states that are missing here or do not exist: {wrong}")
        return found


class Moves(SphinxDirective):
    """`.. moves::` shows the legal moves between the states of a job, as picture and table."""

    def run(self) -> list[nodes.Node]:
        """Return picture, sentence and table."""
        always = {move: pairs for move, pairs in MOVES.items() if set(pairs) == set(STATES)}
        ways = [
            (move, before, after)
            for move, pairs in MOVES.items()
            for before, after in pairs.items()
        ]
        rows = [
            (move, code(before), code(after)) for move, before, after in ways if move not in always
        ]
        for move, pairs in always.items():
            (after,) = set(pairs.values())
            rows.append((move, nodes.paragraph(text="any state"), code(after)))
        shown = picture([way for way in ways if way[0] not in always])
        return [nodes.raw("", shown, format="html"), table(("move", "from", "to"), rows)]


def picture(ways: list[tuple[str, str, str]]) -> str:
    """Draw states and moves; the colours come from states.css."""
    parts = [
        '<svg class="moves" viewBox="0 0 680 250" role="img"'
        ' aria-label="The states of a job and the moves between them">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8"'
        ' markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>',
    ]
    for state, (x, y) in PLACES.items():
        parts.append(
            f'<rect class="{state.lower()}" x="{x - WIDTH / 2}" y="{y - HEIGHT / 2}"'
            f' width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
            f'<text x="{x}" y="{y}">{state}</text>'
        )
    for move, before, after in ways:
        parts += arrow(move, before, after)
    return "".join([*parts, "</svg>"])


def arrow(move: str, before: str, after: str) -> Iterator[str]:
    """Draw a move as an arc to the left of its direction, with its name at the top of it."""
    (x1, y1), (x2, y2) = PLACES[before], PLACES[after]
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
    left_x, left_y = (y2 - y1) / length, -(x2 - x1) / length
    begin = edge(x1, y1, x2, y2, left_x, left_y)
    end = edge(x2, y2, x1, y1, left_x, left_y)
    middle = [(one + other) / 2 for one, other in zip(begin, end, strict=True)]
    top_x, top_y = middle[0] + left_x * BEND, middle[1] + left_y * BEND
    yield (
        f'<path d="M{begin[0]:.0f} {begin[1]:.0f}Q{top_x:.0f} {top_y:.0f}'
        f' {end[0]:.0f} {end[1]:.0f}" marker-end="url(#head)"/>'
    )
    # The arc reaches half way to its control point; the name stands just outside of it.
    name_x, name_y = middle[0] + left_x * BEND * 0.95, middle[1] + left_y * BEND * 0.95
    side = "" if abs(left_x) < 0.5 else ' class="right"' if left_x > 0 else ' class="left"'
    yield f'<text{side} x="{name_x:.0f}" y="{name_y:.0f}">{escape(move)}</text>'


def edge(
    x: float, y: float, to_x: float, to_y: float, left_x: float, left_y: float
) -> tuple[float, float]:
    """Give where an arrow meets the box of a state: on the side that faces the other state."""
    aside = 9
    if abs(to_x - x) >= abs(to_y - y):
        return x + (WIDTH / 2 if to_x > x else -WIDTH / 2), y + left_y * aside
    return x + left_x * aside * 2, y + (HEIGHT / 2 if to_y > y else -HEIGHT / 2)


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directives known to Sphinx."""
    app.add_directive("states", States)
    app.add_directive("moves", Moves)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
