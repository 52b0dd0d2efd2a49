"""Who asks for a console and waits is on it as well."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    with op.batch_alter_table("console_observers") as batch:
        batch.add_column(
            sa.Column("role", sa.String(16), nullable=False, server_default="observer")
        )
