"""Lists of which somebody wants a part: which rows, in which order, from where to where."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Table,
    and_,
    case,
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


class Whole(Plain):
    """A whole number; databases differ in what they make of a fraction beside one."""

    def satisfies(self, condition: Condition) -> ColumnElement[bool]:
        """Give the condition as SQL."""
        return super().satisfies(_of_whole_numbers(condition))


class Digits(Plain):
    """A whole number without limits, that is kept as its digits."""

    def __init__(self, expression: ColumnElement[Any]) -> None:
        """Stand for an expression."""
        super().__init__(expression)
        self._negative = expression < "0"  # a minus comes before all digits

    def satisfies(self, condition: Condition) -> ColumnElement[bool]:
        """Give the condition as SQL."""
        condition = _of_whole_numbers(condition)
        if condition.test == "in":
            digits = tuple(map(str, condition.values))
            return super().satisfies(replace(condition, values=digits))
        (bound,) = condition.values
        return not_(self._below(bound)) if condition.test == "min" else self._below(bound + 1)

    def _below(self, bound: int) -> ColumnElement[bool]:
        text, length = str(bound), func.length(self.expression)
        digits = literal(len(text))
        if bound >= 0:
            shorter = or_(length < digits, and_(length == digits, self.expression < text))
            return or_(self._negative, shorter)
        longer = or_(length > digits, and_(length == digits, self.expression > text))
        return and_(self._negative, longer)

    def order(self, *, down: bool) -> Sequence[ColumnElement[Any]]:
        """Give what sorts by it: those with more digits are further from 0."""
        length = func.length(self.expression) * case((self._negative, -1), else_=1)
        above = case((not_(self._negative), self.expression))
        below = case((self._negative, self.expression))
        if down:
            return [length.desc(), above.desc(), below.asc()]
        return [length.asc(), above.asc(), below.desc()]


def _of_whole_numbers(condition: Condition) -> Condition:
    """Give what a condition means for whole numbers."""
    match condition.test:
        case "in":
            values = tuple(int(one) for one in condition.values if float(one).is_integer())
        case "min":
            values = tuple(map(math.ceil, condition.values))
        case _:
            values = tuple(map(math.floor, condition.values))
    return replace(condition, values=values)


def columns_of(table: Table) -> dict[str, Plain]:
    """Give the columns of a table by their names."""
    return {
        column.name: Whole(column) if isinstance(column.type, Integer) else Plain(column)
        for column in table.c
    }


def page(
    connection: Connection,
    rows: Select[Any],
    columns: Mapping[str, Plain],
    asked: Asked,
    last: ColumnElement[Any],
) -> tuple[int, Select[Any]]:
    """Give how many rows satisfy the conditions, and the question for those of the page.

    Among rows that are equal otherwise `last`, which tells them apart, decides: pages fit together.
    """
    for condition in asked.where:
        rows = rows.where(columns[condition.column].satisfies(condition))
    total = connection.scalar(select(func.count()).select_from(rows.order_by(None).subquery())) or 0
    order = [by for name, down in asked.order for by in columns[name].order(down=down)]
    order.append(last.asc())
    if asked.offset:
        rows = _far(rows, order, asked, last)
    elif asked.limit is not None:
        rows = rows.limit(asked.limit)
    return total, rows.order_by(*order)


def _far(
    rows: Select[Any], order: Sequence[ColumnElement[Any]], asked: Asked, last: ColumnElement[Any]
) -> Select[Any]:
    """Give the rows of a page far behind: those before it are sorted without their other columns.

    With them SQLite takes three times as long.
    """
    # MySQL knows no offset without a limit.
    limit = asked.limit if asked.limit is not None else 2**62
    numbers = rows.with_only_columns(last).order_by(*order).limit(limit).offset(asked.offset)
    page = numbers.subquery()
    (number,) = page.columns
    return select(*rows.selected_columns).join(page, last == number)
