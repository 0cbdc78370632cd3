"""What `server.py --migrate` calls for a database of Coalition 4.0."""

from __future__ import annotations

import time

from coalition.store import versions
from coalition.store.coalition40 import file, tables
from coalition.store.coalition40.report import Tell
from coalition.store.engine import Store
from coalition.store.sqlite import SQLite


def is_needed(store: Store) -> bool:
    """Say whether the database is one of Coalition 4.0."""
    with store.reading() as connection:
        return versions.is_40(connection)


def take_over(store: Store, now: float, tell: Tell) -> None:
    """Make a database of 4.0 one of this program, and say what became of it.

    Raises StoreError if that cannot be done, StoreBusy if others use the database; it is then as it
    was.
    """
    database = store.database
    if isinstance(database, SQLite):
        store.readers.dispose()  # the file is to be locked
        suffix = time.strftime("4.0-%Y%m%d-%H%M%S", time.localtime(now))
        report, copy = file.take_over(database, suffix)
        kept = f"in {copy}"
    else:
        report = tables.take_over(store, database)
        kept = f"in tables whose names begin with {tables.OLD}"
    report.tell(tell)
    tell(f"The database of Coalition 4.0 as it was is kept {kept}.")
