"""Lists of which somebody wants a part: which rows, in which order, from where to where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Select,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    not_,
    or_,
    select,
)

Number = int | float


@dataclass(frozen=True)
class Condition:
    """What the values of a column must be.

    One of `values`, at least or at most the only one of them, or texts that contain it, where
    the case of letters does not matter.
    """

    column: str
    test: Literal["in", "min", "max", "contains"]
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Asked:
    """A part of a list: where all of these hold; columns to order by, and whether downwards."""

    where: tuple[Condition, ...] = ()
    order: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None
    offset: int = 0


ALL = Asked()


def lowered(text: str) -> str:
    """Give a text in small letters, one for each, whatever stands beside it.

    So that any part of a text is a part of it still: Python alone makes two of İ, and another Σ at
    the end of a word.
    """
    return text.replace("Σ", "\N{GREEK SMALL LETTER SIGMA}").replace("İ", "i").lower()


class Plain:
    """A column as the database has it, or any expression."""

    def __init__(self, expression: ColumnElement[Any]) -> None:
        """Stand for an expression."""
        self.expression = expression

    def satisfies(self, condition: Condition) -> ColumnElement[bool]:
        """Give the condition as SQL."""
        first = condition.values[0] if condition.values else None
        match condition.test:
            case "in":
                return self.expression.in_(condition.values) if condition.values else false()
            case "min":
                return self.expression >= first
            case "max":
                return self.expression <= first
        # The database lowers both, as it does not know all letters; LIKE ends at a NUL in SQLite.
        return func.instr(func.lower(self.expression), func.lower(literal(first))) > 0

    def order(self, *, down: bool) -> Sequence[ColumnElement[Any]]:
        """Give what sorts by it."""
        return [self.expression.desc() if down else self.expression.asc()]


class Digits(Plain):
    """A whole number without limits, that is kept as its digits."""

    def satisfies(self, condition: Condition) -> ColumnElement[bool]:
        """Give the condition as SQL."""
        if condition.test == "in":
            whole = [str(int(one)) for one in condition.values if float(one).is_integer()]
            return self.expression.in_(whole) if whole else false()
        bound = condition.values[0]
        if condition.test == "min":
            whole_bound = -int(-bound // 1) if isinstance(bound, float) else bound
            return not_(self._below(whole_bound))
        return self._below((int(bound // 1) if isinstance(bound, float) else bound) + 1)

    def _below(self, bound: int) -> ColumnElement[bool]:
        text, length = str(bound), func.length(self.expression)
        negative = self.expression.startswith("-")
        if bound >= 0:
            digits = literal(len(text))
            shorter = or_(length < digits, and_(length == digits, self.expression < text))
            return or_(negative, shorter)
        digits = literal(len(text))
        longer = or_(length > digits, and_(length == digits, self.expression > text))
        return and_(negative, longer)

    def order(self, *, down: bool) -> Sequence[ColumnElement[Any]]:
        """Give what sorts by it: roughly as a number first, then exactly."""
        rough = cast(self.expression, Double)
        negative = self.expression.startswith("-")
        length = func.length(self.expression) * case((negative, -1), else_=1)
        above = case((not_(negative), self.expression))
        below = case((negative, self.expression))
        if down:
            return [rough.desc(), length.desc(), above.desc(), below.asc()]
        return [rough.asc(), length.asc(), above.asc(), below.desc()]


def page(
    connection: Connection,
    rows: Select[Any],
    columns: Mapping[str, Plain],
    asked: Asked,
    last: ColumnElement[Any],
) -> tuple[int, Select[Any]]:
    """Give how many rows satisfy the conditions, and the question for those of the page.

    Among rows that are equal otherwise `last` decides, so that pages fit together.
    """
    for condition in asked.where:
        rows = rows.where(columns[condition.column].satisfies(condition))
    total = connection.scalar(select(func.count()).select_from(rows.order_by(None).subquery())) or 0
    for name, down in asked.order:
        rows = rows.order_by(*columns[name].order(down=down))
    rows = rows.order_by(last)
    if asked.limit is not None:
        rows = rows.limit(asked.limit)
    if asked.offset:
        # MySQL knows no offset without a limit.
        rows = rows.limit(asked.limit if asked.limit is not None else 2**62).offset(asked.offset)
    return total, rows
