"""What becomes of recordings on their way to the archive."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

MARIADB = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    op.create_table(
        "recording_archives",
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("folder_id", sa.String(36), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("image_id", sa.String(36)),
        sa.Column("reason", sa.String(1024), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_recording_archives"),
        **MARIADB,
    )
    op.create_index(
        "ix_recording_archives_folder_id_state", "recording_archives", ["folder_id", "state"]
    )
