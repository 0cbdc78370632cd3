"""Opening a database: which kind it is, who has it, which version it has, and its failures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, Select, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from coalition.errors import StoreError, StoreUnavailable
from coalition.store import versions
from coalition.store.mysql import MySQL
from coalition.store.sqlite import SQLite


class Lock(Protocol):
    """What keeps a second server from the same database."""

    def check(self) -> None:
        """Make sure that we still have it. Raises StoreBusy if another server has it now."""

    def release(self) -> None:
        """Let another server have the database."""


Database = SQLite | MySQL


class Store:
    """A database: one connection that writes, any number that read.

    Everything raises StoreUnavailable where the same may succeed later, and StoreError where it
    cannot. `writing` is for one thread at a time, `reading` for any number.
    """

    def __init__(self, database: Database) -> None:
        """Make the engines; `open_store` is how others get a store."""
        self.database = database
        self.writer: Engine = database.writer()
        self.readers: Engine = database.readers()
        self.affinities: dict[str, str] = {}  # what stands in WorkerAffinities, as far as known
        self._lock: Lock | None = None

    def lock(self) -> None:
        """Keep other servers from this database until `close`. Raises StoreBusy if one has it."""
        with self.translating():
            self._lock = self.database.take_lock()

    def check_lock(self) -> None:
        """Take the lock again if it was lost. Raises StoreBusy if another server has it now."""
        if self._lock is not None:
            with self.translating():
                self._lock.check()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a transaction that is durable when the block is left, or has not happened."""
        with self.translating(), self.writer.connect() as connection:
            # A new session may follow a cut in which the lock, too, was lost.
            if "checked" not in connection.info:
                self.check_lock()
                connection.info["checked"] = True
            with connection.begin():
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection to read with."""
        with self.translating(), self.readers.connect() as connection:
            yield connection

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Turn the errors of the database into ours."""
        try:
            yield
        except (SQLAlchemyError, UnicodeError, OverflowError) as error:
            raise translate(self.database, error) from error

    # --- versions ------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the database ready for a server: set an empty one up, refuse what does not fit.

        Raises StoreError if it has another version or is not Coalition's.
        """
        # Writing would already change how a file is written, and 4.0's is to stay as it is.
        with self.reading() as connection:
            versions.refuse_40(connection)
        with self.writing() as connection:
            if versions.is_unmade(connection):
                versions.create(connection)
                return
            versions.check_known(connection)
            if not versions.is_current(connection):
                raise StoreError("the database has an older version; run server.py --migrate")

    def init(self) -> None:
        """Set up a database that holds nothing. Raises StoreError if it holds something."""
        with self.writing() as connection:
            if versions.has_rows(connection):
                raise StoreError(f"the database {self.database.name} is not empty")
            versions.create(connection)

    def migrate(self, now: float) -> Path | None:
        """Bring the tables up to date; give the path of the copy that was set aside first.

        There is no copy if nothing had to be done or the database is not a file. Raises StoreError
        if the database is not one of an older version.
        """
        with self.writing() as connection:
            versions.check_known(connection)
            if versions.is_current(connection):
                return None
            stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
            copy = self.database.copy_aside(f"{versions.revision(connection)}-{stamp}")
            versions.upgrade(connection)
        return copy

    def reset(self) -> None:
        """Forget everything: make all tables anew, with job ids that start again.

        Run numbers go on: nodes that still run know the old ones, and that numbers only grow. So it
        is the same farm. Raises StoreError if the database is not Coalition's.
        """
        with self.writing() as connection:
            if not versions.is_unmade(connection):
                versions.check_known(connection)
            highest, identity = versions.highest_run(connection), versions.identity(connection)
            versions.create(connection, highest, identity)
            self.affinities.clear()

    def close(self) -> None:
        """Close all connections and let the lock go."""
        self.writer.dispose()
        self.readers.dispose()
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def translate(database: type[Database] | Database, error: Exception) -> StoreError:
    """Give our error for one of the driver's or of SQLAlchemy's."""
    if isinstance(error, DBAPIError):
        # Its own text would show the whole statement, with thousands of rows.
        sentence = str(error.orig)
        if error.connection_invalidated or database.is_passing(error.orig):
            return StoreUnavailable(sentence)
        return StoreError(sentence)
    if isinstance(error, PoolTimeout):
        return StoreUnavailable(str(error))
    return StoreError(str(error))


def fetch(connection: Connection, question: Select[Any]) -> Iterator[Sequence[Any]]:
    """Give the rows of a SELECT of columns as their plain values, fast, reading as they are used.

    What a type of ours would make of a value is left to the caller.
    """
    kind: type[Database] = SQLite if connection.dialect.name == "sqlite" else MySQL
    return kind.fetch(connection, question)


def open_store(url: str) -> Store:
    """Open the database at an SQLAlchemy URL: sqlite:///FILE or mysql+pymysql://USER@HOST/NAME.

    Raises StoreUnavailable if it does not answer.
    """
    parsed = make_url(url)
    kind: type[Database] = SQLite if parsed.get_backend_name() == "sqlite" else MySQL
    try:
        return Store(kind(parsed))
    except SQLAlchemyError as error:
        raise translate(kind, error) from error
