"""The first tables.

A migration says what the tables were, so it spells them out and does not use `schema`, which says
what they are.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import LONGTEXT

revision = "0001"
down_revision = None

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
LongText = sa.Text().with_variant(LONGTEXT, "mysql", "mariadb")
Name = sa.String(255)
State = sa.String(16)

OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_0900_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}


def upgrade() -> None:
    """Make all tables."""
    _create_jobs()
    _create_workers()
    _create_runs()
    _create_the_rest()


def _column(name: str, type_: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=False)


def _key(name: str, type_: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, primary_key=True, autoincrement=False)


def _create_jobs() -> None:
    op.create_table(
        "Jobs",
        _key("id", Number),
        _column("parent", Number),
        *(_column(name, LongText) for name in ("title", "command", "dir", "environment")),
        _column("state", State),
        _column("paused", sa.SmallInteger),
        _column("worker", Name),
        _column("start_time", sa.Double),
        _column("duration", sa.Double),
        _column("run_done", Number),
        _column("retry", Number),
        _column("timeout", sa.Double),
        *(_column(name, LongText) for name in ("priority", "affinity", "user")),
        *(_column(name, sa.Integer) for name in ("finished", "errors", "working")),
        *(_column(f"total{name}", sa.Integer) for name in ("", "_finished", "_errors", "_working")),
        _column("url", LongText),
        sa.Column("progress", sa.Double),
        sa.Column("local_progress", sa.Double),
        _column("progress_pattern", LongText),
        _column("globalprogress", LongText),
        _column("is_group", sa.SmallInteger),
        **OPTIONS,
    )
    op.create_index("Jobs_parent", "Jobs", ["parent"])
    op.create_table(
        "Dependencies",
        _key("job_id", Number),
        _key("dependency", Number),
        sqlite_with_rowid=False,
        **OPTIONS,
    )
    op.create_index("Dependencies_dependency", "Dependencies", ["dependency"])


def _create_workers() -> None:
    op.create_table(
        "Workers",
        _key("name", Name),
        _column("node", Name),
        _column("start_time", sa.Double),
        _column("ip", Name),
        _column("state", State),
        *(_column(name, Number) for name in ("finished", "error", "last_job", "current_event")),
        _column("active", sa.SmallInteger),
        **OPTIONS,
    )
    op.create_table(
        "WorkerAffinities",
        sa.Column("id", Number, primary_key=True),
        _column("worker_name", Name),
        _column("affinity", LongText),
        _column("ordering", sa.Integer),
        sa.ForeignKeyConstraint(
            ["worker_name"],
            ["Workers.name"],
            name="WorkerAffinities_worker_name_fk",
            ondelete="CASCADE",
        ),
        **OPTIONS,
    )
    op.create_index("WorkerAffinities_worker_name", "WorkerAffinities", ["worker_name"])


def _create_runs() -> None:
    op.create_table(
        "Events",
        _key("id", Number),
        _column("worker", Name),
        _column("job_id", Number),
        _column("job_title", LongText),
        _column("state", State),
        _column("start", sa.Double),
        _column("duration", sa.Double),
        sa.Column("code", Number),
        **OPTIONS,
    )
    for column in ("worker", "job_id", "start"):
        op.create_index(f"Events_{column}", "Events", [column])


def _create_the_rest() -> None:
    op.create_table("Affinities", _key("id", Number), _column("name", LongText), **OPTIONS)
    op.create_table(
        "Submissions",
        _key("id", Number),
        _column("first_job", Number),
        _column("last_job", Number),
        **OPTIONS,
    )
    counters = op.create_table("Counters", _key("name", State), _column("value", Number), **OPTIONS)
    op.bulk_insert(counters, [{"name": name, "value": 0} for name in ("jobs", "runs")])
