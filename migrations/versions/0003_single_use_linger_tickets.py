"""Tokens that open once, sessions that wait for their viewer, tickets between replicas."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
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
    for table, column in (("console_auth_tokens", "used"), ("console_leases", "lingers")):
        op.add_column(
            table, sa.Column(column, sa.Boolean, nullable=False, server_default=sa.false())
        )
    op.create_table(
        "replica_tickets",
        sa.Column("ticket_hash", sa.String(64), nullable=False),
        sa.Column("replica_id", sa.String(36), nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("ticket_hash", name="pk_replica_tickets"),
        **MARIADB,
    )
    op.create_index("ix_replica_tickets_expires", "replica_tickets", ["expires"])
