"""Recordings say which type of console they are of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    with op.batch_alter_table("recordings") as batch:
        batch.add_column(
            sa.Column("console_type", sa.String(32), nullable=False, server_default="serial")
        )
