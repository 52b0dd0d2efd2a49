"""Tokens of consoles without a port; a displaced console's generation is nobody's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    with op.batch_alter_table("console_auth_tokens") as batch:
        batch.alter_column("port", existing_type=sa.Integer, nullable=True)
    op.execute("UPDATE console_ports SET generation = 0 WHERE port IS NULL")
