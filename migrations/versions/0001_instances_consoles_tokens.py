"""Instances, their consoles, the generations of ports, and console tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
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
        "instances",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(255)),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("driver", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_instances"),
        **MARIADB,
    )
    op.create_table(
        "console_ports",
        sa.Column("instance_uuid", sa.String(36), nullable=False),
        sa.Column("console_type", sa.String(32), nullable=False),
        sa.Column("port_index", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint(
            "instance_uuid", "console_type", "port_index", name="pk_console_ports"
        ),
        sa.ForeignKeyConstraint(
            ["instance_uuid"],
            ["instances.uuid"],
            name="fk_console_ports_instance_uuid_instances",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("host", "port", name="uq_console_ports_host_port"),
        **MARIADB,
    )
    op.create_table(
        "port_generations",
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("host", "port", name="pk_port_generations"),
        **MARIADB,
    )
    op.create_table(
        "console_auth_tokens",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("console_type", sa.String(32), nullable=False),
        sa.Column("instance_uuid", sa.String(36), nullable=False),
        sa.Column("console_index", sa.Integer, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("access_url", sa.String(1024), nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("project_id", sa.String(255)),
        sa.Column("user_id", sa.String(255)),
        sa.PrimaryKeyConstraint("id", name="pk_console_auth_tokens"),
        sa.ForeignKeyConstraint(
            ["instance_uuid"],
            ["instances.uuid"],
            name="fk_console_auth_tokens_instance_uuid_instances",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("token_hash", name="uq_console_auth_tokens_token_hash"),
        **MARIADB,
    )
    for columns in (["instance_uuid"], ["token_hash", "instance_uuid"], ["host", "expires"]):
        op.create_index(
            f"ix_console_auth_tokens_{'_'.join(columns)}", "console_auth_tokens", columns
        )
