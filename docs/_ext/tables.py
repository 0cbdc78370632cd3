"""Tables and words of code, as nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from docutils import nodes

Cell = str | nodes.Node


def table(
    titles: Sequence[str], rows: Iterable[Sequence[Cell]], widths: Sequence[int] = ()
) -> nodes.table:
    """Return a table; texts in its cells become paragraphs."""
    group = nodes.tgroup(cols=len(titles))
    group += [nodes.colspec(colwidth=width) for width in widths or [1] * len(titles)]
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
