"""What is read of a database of 4.0, whichever kind it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from coalition.errors import StoreError
from coalition.store.coalition40.values import text, whole

Row = Sequence[Any]

TABLES = (
    "Jobs", "Dependencies", "Workers", "WorkerAffinities", "Events", "Affinities", "Migrations",
)  # fmt: skip

NEEDED = frozenset({"id", "parent", "command", "state"})
"""Columns of Jobs without which nothing can be made of a job."""

NEWEST = 1
"""The last version that 4.0's databases had."""


class Source(Protocol):
    """The tables of 4.0, read only. Column names are its own."""

    escaped: bool
    """Whether texts have still the escapes that 4.0 sent them with."""

    ignores_case: bool
    """Whether the database took names for the same that differ only in case."""

    def columns(self, table: str) -> frozenset[str]:
        """Give the columns of a table, none if it is missing."""

    def count(self, table: str) -> int:
        """Give how many rows a table has, 0 if it is missing."""

    def rows(self, table: str, columns: Sequence[str], order: str = "") -> Iterator[Row]:
        """Give these columns of all rows, in the order of others: None for what is missing.

        Reads as the rows are used, and no other ones meanwhile.
        """

    def highest(self, table: str, column: str) -> int:
        """Give the highest number in a column, 0 if there is none."""

    def highest_id(self, table: str) -> int:
        """Give the highest id that the database ever gave in a table, deleted rows included."""


def check(source: Source) -> None:
    """Raise StoreError unless the tables are those of a version of 4.0 that is known."""
    missing = NEEDED - source.columns("Jobs")
    if missing:
        raise StoreError(f"this is no database of Coalition 4.0: Jobs has no {min(missing)}")
    for (version,) in source.rows("Migrations", ["database_version"]):
        if whole(version or 0, NEWEST + 1) > NEWEST:
            raise StoreError(
                f"the database has version {text(version)} of Coalition 4.0's, not 0 or 1"
            )
