"""Runs the migrations on the connection that consoled.db.schema hands over.

Logging stays as the daemon or consolectl has set it up.
"""

from __future__ import annotations

from alembic import context
from alembic.util import CommandError

from consoled.db.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise CommandError("migrations run through: consolectl --config FILE db upgrade")
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
