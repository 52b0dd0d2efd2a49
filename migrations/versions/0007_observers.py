"""Who watches a console, so that lists and disconnects in other replicas know of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
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
CONSOLE = ("instance_uuid", "console_type", "port_index")


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    op.create_table(
        "console_observers",
        sa.Column("instance_uuid", sa.String(36), nullable=False),
        sa.Column("console_type", sa.String(32), nullable=False),
        sa.Column("port_index", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.String(255)),
        sa.Column("project_id", sa.String(255)),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("lingers", sa.Boolean, nullable=False),
        sa.Column("wanted", sa.String(255)),
        sa.Column("wanted_by", sa.String(255)),
        sa.PrimaryKeyConstraint(*CONSOLE, "session_id", name="pk_console_observers"),
        sa.ForeignKeyConstraint(
            CONSOLE,
            [f"console_ports.{name}" for name in CONSOLE],
            name="fk_console_observers_console_ports",
            ondelete="CASCADE",
        ),
        **MARIADB,
    )
    op.create_index("ix_console_observers_session_id", "console_observers", ["session_id"])
