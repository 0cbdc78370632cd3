"""What is special about MySQL and MariaDB: connecting, the lock, many rows at a time.

PyMySQL sends the rows of an UPDATE one by one and spends most of its time on their values. So the
statements of the journal are written here, a hundred and more rows in each: a third of the
processor time.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from pymysql.converters import escape_string
from sqlalchemy import URL, Connection, Engine, NullPool, Select, Table, create_engine, func, text
from sqlalchemy.exc import DBAPIError

from coalition.errors import StoreBusy, StoreError

Row = tuple[Any, ...]

CONNECT_TIMEOUT = 10
"""Seconds until a server that does not answer counts as away."""

ANSWER_TIMEOUT = 120
"""Seconds that a statement may be silent: longer than any of ours on a full farm."""

IDLE_TIMEOUT = 30 * 24 * 3600
"""Seconds after which the server may end a connection that is not used."""

STATEMENT_SIZE = 256 * 1024
"""Characters of a statement: at most 1 MiB, and every server takes that much."""

ROWS_PER_INSERT = 1000
ROWS_PER_UPDATE = 200
"""More rows in one statement are no faster; an UPDATE makes a table of them first."""

ROWS_PER_FETCH = 1000

LONGEST_LOCK_NAME = 64

NEVER = frozenset(
    {
        1054,  # unknown column
        1136,  # number of columns
        1153,  # packet too large
        1364,  # no default value
        1366,  # incorrect value
    }
)
"""Errors that PyMySQL calls operational although the same statement can never succeed."""


class MySQLLock:
    """A named lock of the database server, held by a connection of its own.

    It is lost with that connection: `check` has to be called now and then.
    """

    def __init__(self, engine: Engine, name: str, database: str) -> None:
        """Take the lock. Raises StoreBusy if another server has it."""
        self._engine = engine
        self._name = name
        self._database = database
        self._guard = threading.Lock()  # the writer's thread checks too
        self._connection = self._take()

    def _take(self) -> Connection:
        connection = self._engine.connect()
        if connection.scalar(text("SELECT GET_LOCK(:name, 0)"), {"name": self._name}) != 1:
            connection.close()
            raise StoreBusy(f"another server uses the database {self._database}")
        return connection

    def check(self) -> None:
        """Take the lock again if it was lost. Raises StoreBusy if another server has it now."""
        with self._guard:
            if not self._holds():
                self._connection.invalidate()
                self._connection.close()
                self._connection = self._take()

    def _holds(self) -> bool:
        question = text("SELECT IS_USED_LOCK(:name) = CONNECTION_ID()")
        try:
            return bool(self._connection.scalar(question, {"name": self._name}))
        except DBAPIError:
            return False

    def release(self) -> None:
        """Let another server have the database."""
        with self._guard:
            self._connection.close()


class MySQL:
    """A database on a MySQL or MariaDB server."""

    def __init__(self, url: URL) -> None:
        """Ask the server which of the two it is. Raises what the driver raises if it is away."""
        if not url.database:
            raise StoreError("the database needs a name")
        self.name = url.database
        self.url = url
        engine = self._engine(poolclass=NullPool)
        with engine.connect():
            is_mariadb = getattr(engine.dialect, "is_mariadb", False)
        # The two have different names for the same collation: schema.py gives both.
        self.url = url.set(drivername="mariadb+pymysql" if is_mariadb else "mysql+pymysql")

    def writer(self) -> Engine:
        """Make the engine of the one session that writes."""
        return self._engine(pool_size=1, max_overflow=0, pool_reset_on_return=None)

    def readers(self) -> Engine:
        """Make the engine of the connections that only read; a transaction sees one moment.

        That is the moment of its first question, however long the connection was there before.
        """
        return self._engine(max_overflow=-1, pool_pre_ping=True, isolation_level="REPEATABLE READ")

    def _engine(self, answer_timeout: float | None = ANSWER_TIMEOUT, **options: Any) -> Engine:
        arguments = {
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": answer_timeout,
            "write_timeout": answer_timeout,
            "sql_mode": "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
            "init_command": f"SET SESSION wait_timeout = {IDLE_TIMEOUT}",
        }
        options.setdefault("isolation_level", "READ COMMITTED")
        return create_engine(self.url, connect_args=arguments, **options)

    def take_lock(self) -> MySQLLock:
        """Take the lock of this database, or raise StoreBusy."""
        engine = self._engine(poolclass=NullPool, isolation_level="AUTOCOMMIT")
        return MySQLLock(engine, self.lock_name, self.name)

    @property
    def lock_name(self) -> str:
        """The name of the lock of this database."""
        name = f"coalition.{self.name}"
        return name if len(name) <= LONGEST_LOCK_NAME else hashlib.sha256(name.encode()).hexdigest()

    @staticmethod
    def is_passing(error: BaseException | None) -> bool:
        """Say whether the same statement may succeed later."""
        passing = (pymysql.OperationalError, pymysql.InterfaceError, pymysql.InternalError)
        return isinstance(error, passing) and not (error.args and error.args[0] in NEVER)

    def copy_aside(self, suffix: str) -> Path | None:
        """Do nothing: a database server has its own backups."""
        return None

    @staticmethod
    def insert(
        connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        """Insert rows; one whose key is there already stands from an earlier try and is kept."""
        if rows:
            key = next(iter(table.primary_key)).name
            statement = _insert(table, columns, f"`{key}` = `{table.name}`.`{key}`")
            _send(connection, statement, rows, ROWS_PER_INSERT)

    @staticmethod
    def put(
        connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        """Insert rows, or replace the values of those whose key, the first column, is there."""
        if rows:
            values = ", ".join(f"`{name}` = VALUES(`{name}`)" for name in columns[1:])
            _send(connection, _insert(table, columns, values), rows, ROWS_PER_INSERT)

    @staticmethod
    def update(
        connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        """Change the rows whose key is the last column; what is not there stays so."""
        if rows:
            _send(connection, _update(table, columns), rows, ROWS_PER_UPDATE)

    @staticmethod
    def fetch(connection: Connection, question: Select[Any]) -> Iterator[Sequence[Any]]:
        """Give the rows as their plain values, reading on as they are asked for.

        Each row comes as one text of JSON: that is a quarter of the time PyMySQL takes to read
        thirty values.
        """
        packed = question.with_only_columns(
            func.json_array(*question.selected_columns), maintain_column_froms=True
        )
        options = {"stream_results": True, "yield_per": ROWS_PER_FETCH}
        for row in connection.execute(packed, execution_options=options):
            yield json.loads(row[0])


@dataclass(frozen=True)
class _Statement:
    """A statement for many rows: what comes before, around, between and after them."""

    head: str
    row: str
    between: str
    tail: str


@functools.cache
def _insert(table: Table, columns: tuple[str, ...], otherwise: str) -> _Statement:
    names = ", ".join(f"`{name}`" for name in columns)
    return _Statement(
        head=f"INSERT INTO `{table.name}` ({names}) VALUES ",
        row="(" + ",".join(["%s"] * len(columns)) + ")",
        between=",",
        tail=f" ON DUPLICATE KEY UPDATE {otherwise}",
    )


@functools.cache
def _update(table: Table, columns: tuple[str, ...]) -> _Statement:
    *names, key = columns
    values = ", ".join(f"`{table.name}`.`{name}` = new.`{name}`" for name in names)
    # The first row gives the columns their names; its key is NULL, so it changes nothing.
    first = ",".join(f"NULL AS `{name}`" for name in columns)
    return _Statement(
        head=f"UPDATE `{table.name}` JOIN (SELECT {first} UNION ALL ",
        row="SELECT " + ",".join(["%s"] * len(columns)),
        between=" UNION ALL ",
        tail=f") AS new ON `{table.name}`.`{key}` = new.`{key}` SET {values}",
    )


def _send(connection: Connection, statement: _Statement, rows: Sequence[Row], most: int) -> None:
    """Send the rows in statements of at most `most` rows and about STATEMENT_SIZE characters."""
    parts: list[str] = []
    size = 0
    for row in rows:
        part = statement.row % tuple([LITERALS[type(value)](value) for value in row])
        if parts and (len(parts) == most or size + len(part) > STATEMENT_SIZE):
            _execute(connection, statement, parts)
            parts, size = [], 0
        parts.append(part)
        size += len(part)
    _execute(connection, statement, parts)


def _execute(connection: Connection, statement: _Statement, parts: list[str]) -> None:
    text = statement.head + statement.between.join(parts) + statement.tail
    if len(text) > STATEMENT_SIZE * 2:
        _check_size(connection, text)
    # Without this the driver would look for parameters at every percent sign.
    connection.exec_driver_sql(text, execution_options={"no_parameters": True})


def _check_size(connection: Connection, text: str) -> None:
    """Raise StoreError if the server would hang up: that could not be told from a lost network."""
    most = connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one()
    size = len(text.encode())
    if size >= most:
        raise StoreError(
            f"a row of {size} bytes is larger than the database takes (max_allowed_packet: {most})"
        )


def _text(value: str) -> str:
    return f"'{escape_string(value)}'"


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise StoreError(f"{value} cannot be stored")
    digits = repr(value)
    # Without an exponent it would be a decimal number, which is rounded differently.
    return digits if "e" in digits else digits + "e0"


LITERALS: dict[type, Callable[[Any], str]] = {
    bool: str,
    float: _float,
    int: str,
    str: _text,
    type(None): lambda _: "NULL",
}
"""How values are written in a statement; other types are a mistake of ours."""
