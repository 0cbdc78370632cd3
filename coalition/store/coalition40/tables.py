"""Taking over tables on a MySQL server: new ones are filled beside them, then all change names.

Each statement about tables is durable by itself there. So 4.0's tables are not touched before the
last one, which gives new names to all at once; they stay as the copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, inspect

from coalition.errors import StoreBusy, StoreError
from coalition.store import schema, versions
from coalition.store.coalition40.report import Report
from coalition.store.coalition40.rows import Target, fill
from coalition.store.coalition40.source import TABLES, Row
from coalition.store.coalition40.values import whole
from coalition.store.engine import Store
from coalition.store.mysql import ROWS_PER_FETCH, MySQL

NEW = "Coalition5_"
"""Begins the names of tables that are being filled."""

OLD = "Coalition40_"
"""Begins the names of 4.0's tables afterwards."""

PATIENCE = 60
"""Seconds to wait for somebody who reads the tables; less than the connection waits for an answer,
or the names would change after it was said that they could not be."""


def take_over(store: Store, database: MySQL) -> Report:
    """Put new tables in the place of those of 4.0, which get other names; give what was done.

    Killed at any moment it leaves the old ones as they were, or all is done.
    """
    with store.translating():
        store.readers.dispose()
        with store.readers.connect() as reader, store.writer.connect() as writer:
            _refuse_earlier_copies(reader)
            _refuse_while_used(database, reader, writer)
            report = fill(OldTables(reader), Target(writer, MySQL, NEW))
            writer.commit()
            _refuse_while_used(database, reader, writer)
            reader.rollback()  # tables that a transaction has read keep their names until it ends
            _change_names(writer)
    return report


def _refuse_earlier_copies(connection: Connection) -> None:
    there = versions.names_there(connection, [OLD + table for table in TABLES])
    if there:
        raise StoreError(
            f"{min(there)} is there from an earlier migration; drop or rename the {OLD} tables"
        )


def _refuse_while_used(database: MySQL, *own: Connection) -> None:
    """Raise StoreBusy if others are connected to the database: 4.0's server always is."""
    mine = [one.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one() for one in own]
    question = (
        "SELECT USER, HOST FROM information_schema.PROCESSLIST WHERE DB = DATABASE()"
        " AND ID <> COALESCE(IS_USED_LOCK(%s), 0)"  # that one is ours, too
        f" AND ID NOT IN ({', '.join(map(str, mine))})"
    )
    for user, host in own[0].exec_driver_sql(question, (database.lock_name,)):
        raise StoreBusy(
            f"{user} is connected to the database from {host}; stop Coalition 4.0's server, and "
            "whatever else uses it, first"
        )


def _change_names(connection: Connection) -> None:
    there = versions.names_there(connection, TABLES)
    pairs = [(there[table], OLD + table) for table in there]
    names = [*schema.metadata.tables, versions.VERSION_TABLE]
    pairs += [(NEW + name, name) for name in names]
    renamed = ", ".join(f"`{before}` TO `{after}`" for before, after in pairs)
    connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {PATIENCE}")
    connection.exec_driver_sql(f"RENAME TABLE {renamed}")


class OldTables:
    """The tables of 4.0 on a server."""

    escaped = False
    ignores_case = True

    def __init__(self, connection: Connection) -> None:
        """Read through a connection."""
        self._connection = connection
        self._names = versions.names_there(connection, TABLES)
        about = inspect(connection)
        self._columns = {
            table: frozenset(column["name"] for column in about.get_columns(name))
            for table, name in self._names.items()
        }

    def columns(self, table: str) -> frozenset[str]:
        """Give the columns of a table, none if it is missing."""
        return self._columns.get(table, frozenset())

    def count(self, table: str) -> int:
        """Give how many rows a table has, 0 if it is missing."""
        if table not in self._names:
            return 0
        return self._number(f"SELECT COUNT(*) FROM `{self._names[table]}`")

    def rows(self, table: str, columns: Sequence[str], order: str = "") -> Iterator[Row]:
        """Give these columns of all rows; see Source."""
        if table in self._names:
            wanted = ", ".join(self._wanted(table, column) for column in columns)
            ordered = f" ORDER BY {order}" if order else ""
            options = {"stream_results": True, "yield_per": ROWS_PER_FETCH}
            yield from self._connection.exec_driver_sql(
                f"SELECT {wanted} FROM `{self._names[table]}`{ordered}", execution_options=options
            )

    def _wanted(self, table: str, column: str) -> str:
        if column not in self._columns[table]:
            return "NULL"
        # A TIMESTAMP is shown in the time zone of whoever asks.
        is_time = (table, column) == ("Workers", "start_time")
        return f"UNIX_TIMESTAMP(`{column}`)" if is_time else f"`{column}`"

    def highest(self, table: str, column: str) -> int:
        """Give the highest number in a column, 0 if there is none."""
        if column not in self.columns(table):
            return 0
        return self._number(f"SELECT MAX(`{column}`) FROM `{self._names[table]}`")

    def highest_id(self, table: str) -> int:
        """Give the highest id that was ever given in a table, as far as the server knows it."""
        if table not in self._names:
            return 0
        # Other places tell what it was some hours ago.
        question = f"SHOW CREATE TABLE `{self._names[table]}`"
        made = self._connection.exec_driver_sql(question).one()[1]
        next_id = re.search(r" AUTO_INCREMENT=(\d+)", made)
        given = int(next_id[1]) - 1 if next_id else 0
        return max(given, self.highest(table, "id"))

    def _number(self, question: str) -> int:
        return max(whole(self._connection.exec_driver_sql(question).scalar()), 0)
