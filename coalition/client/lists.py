"""Long lists, asked for page by page while they are read."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from coalition.client.http import Http
from coalition.errors import CoalitionError

PAGE = 500
"""Rows that are asked for at once, unless the caller wants otherwise."""

Values = str | float | Iterable[str | float]
Filters = dict[str, str]

BOUNDS = ("_min", "_max")


def filters(
    exact: Mapping[str, Values | None],
    contained: Mapping[str, str | None],
    numbers: Mapping[str, float],
    columns: Collection[str],
) -> Filters | None:
    """Return the parameters that ask for these values; None if nothing can have them.

    Raises TypeError for a number that is neither one of the columns nor a bound of one.
    """
    asked: Filters = {}
    for name, values in exact.items():
        if values is None:
            continue
        texts = [escaped(str(one)) for one in several(values)]
        if not texts:
            return None
        asked[name] = ",".join(texts)
    asked.update((name, text) for name, text in contained.items() if text is not None)
    for name, value in numbers.items():
        if name not in columns and not (name.endswith(BOUNDS) and name[:-4] in columns):
            raise TypeError(f"there is no filter {name!r}")
        asked[name] = str(value)
    return asked


def several(values: Values) -> Iterable[str | float]:
    """Return many values as they are and one as many."""
    return [values] if isinstance(values, (str, float, int)) else values


def escaped(text: str) -> str:
    r"""Return a value as one of many: with `\,` for a comma in it and `\\` for a backslash."""
    return text.replace("\\", "\\\\").replace(",", "\\,")


def rows(
    http: Http, path: str, asked: Filters | None, page: int, sort: str, key: str = "id"
) -> Iterator[Any]:
    """Give the rows of a list that are asked for; `key` is the field that tells them apart."""
    if asked is None:
        return iter(())
    if sort:
        return _by_offset(http, path, asked, page, sort, key)
    return _by_id(http, path, asked, page)


def _by_id(http: Http, path: str, asked: Filters, page: int) -> Iterator[dict[str, Any]]:
    """Give what a list has, lowest ids first: each page begins behind the id before.

    So what comes or goes meanwhile moves nothing else out of sight, and the list ends.
    """
    first = math.ceil(float(asked.get("id_min", 1)))
    while True:
        page_of = {**asked, "sort": "id", "limit": str(page), "id_min": str(first)}
        rows = _page(http, path, page_of)
        fresh = [row for row in rows if row["id"] >= first]
        yield from fresh
        if not fresh or len(rows) < page:
            return
        first = fresh[-1]["id"] + 1


def _by_offset(
    http: Http, path: str, asked: Filters, page: int, sort: str, key: str
) -> Iterator[dict[str, Any]]:
    """Give what a list has in an order of the caller's, none twice; see ``Connection.jobs``."""
    seen: set[Any] = set()
    offset = 0
    while True:
        page_of = {**asked, "sort": sort, "limit": str(page), "offset": str(offset)}
        rows = _page(http, path, page_of)
        for row in rows:
            if row[key] not in seen:
                seen.add(row[key])
                yield row
        offset += len(rows)
        if not rows or len(rows) < page:
            return


def _page(http: Http, path: str, asked: Filters) -> list[dict[str, Any]]:
    rows, total = http.page(path, asked)
    if total is None:
        # It took no notice of the filters either: whoever deletes what is found would delete all.
        raise CoalitionError(f"the server at {http.url} is too old to search its lists")
    return rows
