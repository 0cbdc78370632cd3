"""Which runs began after their jobs' logs were cleared, so that nothing of these comes back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import LONGTEXT

revision = "0006"
down_revision = "0005"

LongText = sa.Text().with_variant(LONGTEXT, "mysql", "mariadb")


def upgrade() -> None:
    """Add the column, with nothing in it."""
    found = sa.inspect(op.get_bind())
    # MySQL keeps each step: one that was cut short is done again.
    if "fresh" not in {column["name"] for column in found.get_columns("Farm")}:
        op.add_column("Farm", sa.Column("fresh", LongText))
