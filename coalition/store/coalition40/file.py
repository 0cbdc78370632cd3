"""Taking over a SQLite file: a new one is filled beside it and then takes its place."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from coalition.errors import StoreBusy, StoreError
from coalition.store.coalition40.report import Report
from coalition.store.coalition40.rows import Target, fill
from coalition.store.coalition40.source import Row
from coalition.store.coalition40.values import text, whole
from coalition.store.engine import Store
from coalition.store.sqlite import BUSY_TIMEOUT, SQLite

NEW = ".new"
"""What the name of the file that is being filled ends with."""

BESIDE = ("", "-journal", "-wal", "-shm")
"""What SQLite appends to the name of a database for its files."""

REPLACES_OPEN = sys.platform != "win32"
"""Whether the system lets a file be replaced that somebody has open. Windows does not."""


def take_over(database: SQLite, suffix: str) -> tuple[Report, Path]:
    """Put a new database in the place of one of 4.0; give what was done, and the copy.

    Killed at any moment it leaves the old file or the new one whole, and perhaps a file that the
    next attempt removes.
    """
    path = database.path.resolve()  # what a link points to, or the link would be replaced
    new = path.with_name(path.name + NEW)
    try:
        _refuse_while_open(path)
        _remove(new)
        _refuse_without_room(path)
        with OldFile.locked(path) as old, _copied(old, database, path, suffix) as copy:
            old.read_bytes()
            report = _filled(old, database, new)
            if not REPLACES_OPEN:
                old.connection.close()
            _put_in_place(new, path)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path} cannot be taken over: {error}") from error
    finally:
        with suppress(OSError):
            _remove(new)
    return report, copy


def _remove(new: Path) -> None:
    for ending in BESIDE:
        new.with_name(new.name + ending).unlink(missing_ok=True)


def _refuse_without_room(path: Path) -> None:
    """Raise StoreError if a copy and a new file of about the same size do not fit.

    It may take more than that: then writing fails, which is undone.
    """
    files = [path.with_name(path.name + ending) for ending in BESIDE]
    size = sum(file.stat().st_size for file in files if file.exists())
    free = shutil.disk_usage(path.parent).free
    if free < 2 * size:
        raise StoreError(
            f"{path} has {size} bytes, and a copy and a new file of that size have to go beside "
            f"it: {2 * size} bytes, and {free} are free"
        )


@contextmanager
def _copied(old: OldFile, database: SQLite, path: Path, suffix: str) -> Iterator[Path]:
    """Set a copy aside, which goes again if the old file itself stays: each attempt makes one."""
    before = path.stat()
    copy = database.copy_of(old.connection, suffix)
    try:
        yield copy
    except BaseException:
        with suppress(OSError):
            if os.path.samestat(before, path.stat()):
                copy.unlink()
        raise


def _refuse_while_open(path: Path) -> None:
    """Raise StoreBusy if a program has the file open: what it wrote would be lost.

    4.0's server locks it for moments only. Programs of other users cannot be looked into.
    """
    for process in psutil.process_iter() if REPLACES_OPEN else ():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and _has_open(process, path):
                raise StoreBusy(
                    f"process {process.pid} ({process.name()}) has {path} open; stop Coalition "
                    "4.0's server first"
                )


def _has_open(process: psutil.Process, path: Path) -> bool:
    return any(file.path == str(path) for file in process.open_files())


def _filled(old: OldFile, database: SQLite, new: Path) -> Report:
    store = Store(SQLite(database.url.set(database=str(new))))
    try:
        with store.writing() as connection:
            report = fill(old, Target(connection, SQLite))
    finally:
        store.close()
    return report


def _put_in_place(new: Path, path: Path) -> None:
    if any(new.with_name(new.name + ending).exists() for ending in BESIDE[1:]):
        raise StoreError(f"{new} is not whole; is another program using it?")
    _give_to_owner(new, path)
    with new.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(new, path)
    if sys.platform != "win32":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _give_to_owner(new: Path, path: Path) -> None:
    """Let those who may use the old file use the new one: root may migrate for another user."""
    shutil.copymode(path, new)
    if sys.platform != "win32":
        with suppress(PermissionError):
            os.chown(new, path.stat().st_uid, path.stat().st_gid)


class OldFile:
    """The tables of 4.0 in a file."""

    escaped = True
    ignores_case = False

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read through a connection."""
        self.connection = connection

    @classmethod
    @contextmanager
    def locked(cls, path: Path) -> Iterator[OldFile]:
        """Open a file that nobody else can read or write meanwhile; raises StoreBusy."""
        options: dict[str, Any] = {"timeout": BUSY_TIMEOUT / 1000, "isolation_level": None}
        with closing(sqlite3.connect(path, **options)) as connection:
            try:
                # What is locked stays so after the transaction, which a backup would not go with.
                connection.execute("PRAGMA locking_mode=EXCLUSIVE")
                connection.execute("PRAGMA journal_mode=DELETE")
                connection.execute("BEGIN EXCLUSIVE")
                connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise StoreBusy(
                    f"{path} cannot be locked ({error}); stop Coalition 4.0's server, and whatever "
                    "else uses that file"
                ) from error
            yield cls(connection)

    def read_bytes(self) -> None:
        """Give texts as bytes from now on: not all are UTF-8."""
        self.connection.text_factory = bytes

    def columns(self, table: str) -> frozenset[str]:
        """Give the columns of a table, none if it is missing."""
        rows = self.connection.execute(f"PRAGMA table_info({table})")
        return frozenset(text(row[1]) for row in rows)

    def count(self, table: str) -> int:
        """Give how many rows a table has, 0 if it is missing."""
        return self._number(f"SELECT COUNT(*) FROM {table}") if self.columns(table) else 0

    def rows(self, table: str, columns: Sequence[str], order: str = "") -> Iterator[Row]:
        """Give these columns of all rows; see Source."""
        there = self.columns(table)
        if there:
            wanted = ", ".join(f'"{one}"' if one in there else "NULL" for one in columns)
            ordered = f" ORDER BY {order}" if order else ""
            yield from self.connection.execute(f"SELECT {wanted} FROM {table}{ordered}")

    def highest(self, table: str, column: str) -> int:
        """Give the highest number in a column, 0 if there is none."""
        there = column in self.columns(table)
        return self._number(f"SELECT MAX({column}) FROM {table}") if there else 0

    def highest_id(self, table: str) -> int:
        """Give the highest id that was ever given in a table."""
        given = 0
        if self.columns("sqlite_sequence"):
            given = self._number(f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'")
        return max(given, self.highest(table, "id"))

    def _number(self, question: str) -> int:
        row = self.connection.execute(question).fetchone()
        return max(whole(row[0]), 0) if row else 0
