"""What is special about SQLite: connecting, the lock beside the file, many rows at a time."""

from __future__ import annotations

import errno
import functools
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from sqlalchemy import URL, Connection, Engine, Select, Table, create_engine, event

from coalition.errors import StoreBusy, StoreError
from coalition.store.listing import lowered

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

Row = tuple[Any, ...]

BUSY_TIMEOUT = 10_000
"""Milliseconds to wait for another program, such as a backup, to let go of the file."""

CACHE = 64 * 1024
"""KiB of pages that the writer keeps: rows of many jobs, so that a change reads nothing."""

TAKEN = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK, errno.EWOULDBLOCK})
"""What the systems say when somebody else has a lock."""

ROWS_PER_FETCH = 1000

PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""Primary result codes of failures that somebody can end without touching this program."""


class SQLiteLock:
    """A lock on a file beside the database, which the system lets go when the process dies."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises StoreBusy if another server has it."""
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise StoreError(f"the lock file cannot be opened: {error}") from error
        try:
            _lock_file(self._file)
        except OSError as error:
            self._file.close()
            if error.errno not in TAKEN:
                raise StoreError(f"{path} cannot be locked: {error}") from error
            raise StoreBusy(f"another server uses this database: it has locked {path}") from error

    def check(self) -> None:
        """Do nothing: this lock is only lost with the process."""

    def release(self) -> None:
        """Let another server have the database."""
        self._file.close()


def _lock_file(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class SQLite:
    """A database in a file."""

    def __init__(self, url: URL) -> None:
        """Name the file; nothing is opened yet."""
        if not url.database or url.database == ":memory:":
            raise StoreError("the database needs a file")
        self.url = url
        # Through a link it is the same database, with the same lock.
        self.path = Path(url.database).resolve()
        self.name = str(self.path)

    def writer(self) -> Engine:
        """Make the engine of the one connection that writes."""
        engine = self._engine(pool_size=1, max_overflow=0)

        @event.listens_for(engine, "connect")
        def connect(connection: sqlite3.Connection, record: object) -> None:
            # A commit is on the disk when it returns: others are told of it right after.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute(f"PRAGMA cache_size=-{CACHE}")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine

    def readers(self) -> Engine:
        """Make the engine of the connections that only read; a transaction sees one moment."""
        engine = self._engine(max_overflow=-1)

        @event.listens_for(engine, "connect")
        def connect(connection: sqlite3.Connection, record: object) -> None:
            connection.execute("PRAGMA query_only=ON")
            # Its own knows no letters but those of ASCII.
            connection.create_function("lower", 1, lowered, deterministic=True)

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        return engine

    def _engine(self, **options: Any) -> Engine:
        # Threads take turns with a connection. Left to itself the driver begins a transaction
        # only before the first change, which leaves reads and schema changes outside of it.
        arguments = {
            "check_same_thread": False,
            "timeout": BUSY_TIMEOUT / 1000,
            "isolation_level": None,
        }
        return create_engine(self.url, connect_args=arguments, **options)

    def take_lock(self) -> SQLiteLock:
        """Take the lock of this database, or raise StoreBusy."""
        return SQLiteLock(self.path.with_name(self.path.name + ".lock"))

    @staticmethod
    def is_passing(error: BaseException | None) -> bool:
        """Say whether the same statement may succeed later."""
        code = getattr(error, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in PASSING

    def copy_aside(self, suffix: str) -> Path:
        """Copy the whole database, what is still in the write-ahead log included."""
        with closing(sqlite3.connect(self.path)) as source:
            return self.copy_of(source, suffix)

    def copy_of(self, source: sqlite3.Connection, suffix: str) -> Path:
        """Copy what a connection sees to a file beside the database."""
        path = self.path.with_name(f"{self.path.name}.{suffix}.bak")
        if path.exists():
            raise StoreError(f"{path} exists already")
        # One that is cut short is not to be taken for a whole one.
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(part)) as target:
                source.backup(target)
            part.rename(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return path

    @staticmethod
    def insert(
        connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        """Insert rows; one whose key is there already stands from an earlier try and is kept."""
        if rows:
            connection.exec_driver_sql(_insert(table, columns, "NOTHING"), list(rows))

    @staticmethod
    def put(
        connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        """Insert rows, or replace the values of those whose key, the first column, is there."""
        if rows:
            values = ", ".join(f'"{name}" = excluded."{name}"' for name in columns[1:])
            connection.exec_driver_sql(_insert(table, columns, f"UPDATE SET {values}"), list(rows))

    @staticmethod
    def update(
        connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]
    ) -> None:
        """Change the rows whose key is the last column; what is not there stays so."""
        if rows:
            connection.exec_driver_sql(_update(table, columns), list(rows))

    @staticmethod
    def fetch(connection: Connection, question: Select[Any]) -> Iterator[Sequence[Any]]:
        """Give the rows as their plain values, reading on as they are asked for."""
        with connection.execute(question) as result:
            while rows := result.cursor.fetchmany(ROWS_PER_FETCH):
                yield from rows


@functools.cache
def _insert(table: Table, columns: tuple[str, ...], otherwise: str) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    marks = ", ".join("?" * len(columns))
    key = ", ".join(f'"{column.name}"' for column in table.primary_key)
    return (
        f'INSERT INTO "{table.name}" ({names}) VALUES ({marks}) ON CONFLICT ({key}) DO {otherwise}'
    )


@functools.cache
def _update(table: Table, columns: tuple[str, ...]) -> str:
    values = ", ".join(f'"{name}" = ?' for name in columns[:-1])
    return f'UPDATE "{table.name}" SET {values} WHERE "{columns[-1]}" = ?'
