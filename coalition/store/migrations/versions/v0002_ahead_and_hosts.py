"""What a job asks of its node, and what is known of the computers.

Runs that are handed ahead need no column: such a row has state RESERVED and start 0.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Name = sa.String(255)


def upgrade() -> None:
    """Add the columns; the rows that are there get the defaults."""
    for name in ("exclusive", "scratch"):
        _add("Jobs", name, sa.SmallInteger, "0")
    for name in ("host", "os", "version"):
        _add("Workers", name, Name, "''")
    for name in ("cores", "memory"):
        _add("Workers", name, Number, "0")
    _add("Workers", "draining", sa.SmallInteger, "0")


def _add(table: str, name: str, type_: Any, default: str) -> None:
    # MySQL keeps each step: one that was cut short is done again.
    if name not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(
            table, sa.Column(name, type_, nullable=False, server_default=sa.text(default))
        )
