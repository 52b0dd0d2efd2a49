"""Ports of compute hosts: whom they are given to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
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
        "port_allocations",
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("instance_uuid", sa.String(36), nullable=False),
        sa.Column("port_index", sa.Integer, nullable=False),
        sa.Column("named", sa.Boolean, nullable=False),
        sa.Column("since", sa.BigInteger),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("host", "port", name="pk_port_allocations"),
        **MARIADB,
    )
    op.create_index(
        "ix_port_allocations_host_instance_uuid", "port_allocations", ["host", "instance_uuid"]
    )
    op.create_table(
        "port_turns",
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("host", name="pk_port_turns"),
        **MARIADB,
    )
