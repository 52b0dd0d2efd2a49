"""Leases of consoles, and the replicas that hold them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
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

CONSOLE = ["instance_uuid", "console_type", "port_index"]


def upgrade() -> None:
    """Forward only: there is no downgrade."""
    op.create_table(
        "console_leases",
        sa.Column("instance_uuid", sa.String(36), nullable=False),
        sa.Column("console_type", sa.String(32), nullable=False),
        sa.Column("port_index", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("replica_id", sa.String(36)),
        sa.Column("session_id", sa.String(36)),
        sa.Column("user_id", sa.String(255)),
        sa.Column("project_id", sa.String(255)),
        sa.Column("since", sa.BigInteger),
        sa.Column("wanted", sa.String(255)),
        sa.Column("wanted_by", sa.String(255)),
        sa.PrimaryKeyConstraint(*CONSOLE, name="pk_console_leases"),
        sa.ForeignKeyConstraint(
            CONSOLE,
            [f"console_ports.{column}" for column in CONSOLE],
            name="fk_console_leases_console_ports",
            ondelete="CASCADE",
        ),
        **MARIADB,
    )
    for column in ("replica_id", "session_id"):
        op.create_index(f"ix_console_leases_{column}", "console_leases", [column])
    op.create_table(
        "replicas",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("cell", sa.String(255), nullable=False),
        sa.Column("url", sa.String(1024), nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("dead", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_replicas"),
        **MARIADB,
    )
    # Each console that is there already gets the row that new ones are made with.
    key = [sa.column(name) for name in CONSOLE]
    leases = sa.table("console_leases", *(sa.column(name) for name in (*CONSOLE, "epoch")))
    ports = sa.select(*key, sa.literal_column("0")).select_from(sa.table("console_ports", *key))
    op.execute(sa.insert(leases).from_select([*CONSOLE, "epoch"], ports))
