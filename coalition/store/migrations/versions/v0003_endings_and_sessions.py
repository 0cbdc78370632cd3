"""Runs that are being ended, and which life of a node speaks for a worker."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Name = sa.String(255)

OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_0900_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}


def upgrade() -> None:
    """Add the table and the column; the rows that are there get the default."""
    found = sa.inspect(op.get_bind())
    # MySQL keeps each step: one that was cut short is done again.
    if "session" not in {column["name"] for column in found.get_columns("Workers")}:
        session = sa.Column("session", Name, nullable=False, server_default=sa.text("''"))
        op.add_column("Workers", session)
    op.create_table(
        "Endings",
        sa.Column("id", Number, primary_key=True, autoincrement=False),
        sa.Column("job_id", Number, nullable=False),
        sa.Column("worker", Name, nullable=False),
        sa.Column("node", Name, nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )
