"""The tables of the database, by the names of 4.0. Times are seconds since the epoch.

Ids of jobs and runs are given by the program and never by the database, and are never used twice:
`Counters` keeps the highest ones. Columns that change with every run, such as `state`, stand in no
index: keeping one in order would cost more than the rest of the write.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.mysql import LONGTEXT

LONGEST_NAME = 255
"""Characters of a worker's or a node's name: MySQL can index no text without a limit."""

Number = BigInteger().with_variant(Integer, "sqlite")  # SQLite's own row id is only called INTEGER
LongText = Text().with_variant(LONGTEXT, "mysql", "mariadb")
Name = String(LONGEST_NAME)
State = String(16)


# Names and titles are compared byte by byte, trailing spaces included.
OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_0900_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_name)s",
        "fk": "%(table_name)s_%(column_0_name)s_fk",
    }
)


def _column(name: str, type_: Any, **options: Any) -> Column[Any]:
    return Column(name, type_, nullable=False, **options)


def _added(name: str, type_: Any, default: str) -> Column[Any]:
    """Describe a column that a later version added: rows of before have the default."""
    return _column(name, type_, server_default=text(default))


jobs = Table(
    "Jobs",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    _column("parent", Number, index=True),
    _column("title", LongText),
    _column("command", LongText),
    _column("dir", LongText),
    _column("environment", LongText),
    _column("state", State),
    _column("paused", SmallInteger),
    _column("worker", Name),
    _column("start_time", Double),
    _column("duration", Double),
    _column("run_done", Number),
    _column("retry", Number),
    _column("timeout", Double),
    _column("priority", LongText),  # the digits: no number type of both is without limits
    _column("affinity", LongText),
    _column("user", LongText),
    _column("finished", Integer),
    _column("errors", Integer),
    _column("working", Integer),
    _column("total", Integer),
    _column("total_finished", Integer),
    _column("total_errors", Integer),
    _column("total_working", Integer),
    _column("url", LongText),
    Column("progress", Double),
    Column("local_progress", Double),
    _column("progress_pattern", LongText),
    _column("globalprogress", LongText),
    _column("is_group", SmallInteger),
    _added("exclusive", SmallInteger, "0"),
    _added("scratch", SmallInteger, "0"),
    **OPTIONS,
)

dependencies = Table(
    "Dependencies",
    metadata,
    Column("job_id", Number, primary_key=True, autoincrement=False),
    Column("dependency", Number, primary_key=True, autoincrement=False, index=True),
    sqlite_with_rowid=False,
    **OPTIONS,
)

workers = Table(
    "Workers",
    metadata,
    Column("name", Name, primary_key=True),
    _column("node", Name),
    _column("start_time", Double),
    _column("ip", Name),
    _column("state", State),
    _column("finished", Number),
    _column("error", Number),
    _column("last_job", Number),
    _column("current_event", Number),
    _column("active", SmallInteger),
    _added("host", Name, "''"),
    _added("os", Name, "''"),
    _added("cores", Number, "0"),
    _added("memory", Number, "0"),
    _added("version", Name, "''"),
    _added("draining", SmallInteger, "0"),
    _added("session", Name, "''"),
    **OPTIONS,
)

worker_affinities = Table(
    "WorkerAffinities",
    metadata,
    Column("id", Number, primary_key=True),
    Column(
        "worker_name",
        ForeignKey("Workers.name", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    _column("affinity", LongText),
    _column("ordering", Integer),
    **OPTIONS,
)

runs = Table(
    "Events",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    _column("worker", Name, index=True),
    _column("job_id", Number, index=True),
    _column("job_title", LongText),
    _column("state", State),
    _column("start", Double, index=True),  # 0 while it is RESERVED: so those are found
    _column("duration", Double),
    Column("code", Number),
    **OPTIONS,
)

endings = Table(
    "Endings",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    _column("job_id", Number),
    _column("worker", Name),
    _column("node", Name),
    **OPTIONS,
)
"""Runs that were taken from their workers, which have not said yet that nothing is left of them;
and those that were handed ahead and are void, or whose workers were deleted, with the node that has
them."""

affinities = Table(
    "Affinities",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    _column("name", LongText),
    **OPTIONS,
)

submissions = Table(
    "Submissions",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    _column("first_job", Number),
    _column("last_job", Number),
    **OPTIONS,
)
"""Ranges of jobs that are still being written; what stands here at a start was cut short."""

counters = Table(
    "Counters",
    metadata,
    Column("name", State, primary_key=True),
    _column("value", Number),
    **OPTIONS,
)
"""The highest id ever given to a job ("jobs") and to a run ("runs"), and the
longest "timeout" in ms that a node may count with."""

farm = Table(
    "Farm",
    metadata,
    Column("identity", Name, primary_key=True),
    Column("ended", LongText),
    Column("fresh", LongText),
    **OPTIONS,
)
"""One row: the random text by which nodes tell this farm from others, at whatever address it is;
and numbers of runs, "1,2": those whose logs may lack their last line, and those that began after
their jobs' logs were cleared, which may still be there, should the server be killed."""


def beside(prefix: str) -> MetaData:
    """Describe the same tables under names that begin with `prefix`.

    Keys and indexes are called as those of the real ones, which such a table can be renamed to.
    """
    made = MetaData()
    for table in metadata.sorted_tables:
        columns = [
            Column(
                column.name,
                column.type,
                primary_key=column.primary_key,
                nullable=column.nullable,
                autoincrement=column.autoincrement,
                server_default=column.server_default,
            )
            for column in table.columns
        ]
        keys = [_key_beside(key, prefix) for key in table.foreign_key_constraints]
        copy = Table(prefix + table.name, made, *columns, *keys, **table.kwargs)
        for index in table.indexes:
            Index(index.name, *[copy.c[column.name] for column in index.columns])
    return made


def _key_beside(key: ForeignKeyConstraint, prefix: str) -> ForeignKeyConstraint:
    targets = [prefix + element.target_fullname for element in key.elements]
    return ForeignKeyConstraint(key.column_keys, targets, key.name, ondelete=key.ondelete)
