"""Where Alembic begins: it uses the connection that it is given, in the transaction it is in."""

from __future__ import annotations

from alembic import context

from coalition.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
)
with context.begin_transaction():
    context.run_migrations()
