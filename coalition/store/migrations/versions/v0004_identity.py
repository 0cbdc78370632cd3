"""By what nodes tell this farm from others."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_0900_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}


def upgrade() -> None:
    """Add the table, and the identity that the farm has from now on."""
    identity = sa.Column("identity", sa.String(255), primary_key=True)
    farm = op.create_table("Farm", identity, if_not_exists=True, **OPTIONS)
    # MySQL keeps each step: one that was cut short is done again, and an identity does not change.
    found = op.get_bind()
    if not found.scalar(sa.select(sa.func.count()).select_from(farm)):
        found.execute(farm.insert(), {"identity": uuid4().hex})
