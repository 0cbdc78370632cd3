"""Which runs ended last, so that none of them lacks the last line of its log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import LONGTEXT

revision = "0005"
down_revision = "0004"

LongText = sa.Text().with_variant(LONGTEXT, "mysql", "mariadb")


def upgrade() -> None:
    """Add the column, with nothing in it."""
    found = sa.inspect(op.get_bind())
    # MySQL keeps each step: one that was cut short is done again.
    if "ended" not in {column["name"] for column in found.get_columns("Farm")}:
        op.add_column("Farm", sa.Column("ended", LongText))
