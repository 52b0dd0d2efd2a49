"""Node groups, their templates and members, and the compute hosts that they lead to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
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
    for table in ("node_groups", "node_group_templates"):
        op.create_table(
            table,
            sa.Column("id", sa.String(36), nullable=False),
            sa.Column("name", sa.String(255), nullable=False),
            sa.Column("project_id", sa.String(255)),
            sa.Column("is_proxy", sa.Boolean, nullable=False),
            sa.Column("user_name", sa.String(255)),
            sa.Column("key_file", sa.String(255)),
            sa.Column("private_key", sa.Text),
            sa.Column("passphrase", sa.Text),
            sa.Column("known_hosts", sa.JSON, nullable=False),
            sa.Column("proxy_group_id", sa.String(36)),
            sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
            sa.UniqueConstraint("name", name=f"uq_{table}_name"),
            sa.ForeignKeyConstraint(
                ["proxy_group_id"],
                ["node_groups.id"],
                name=f"fk_{table}_proxy_group_id_node_groups",
            ),
            **MARIADB,
        )
        op.create_index(f"ix_{table}_proxy_group_id", table, ["proxy_group_id"])
    op.create_table(
        "node_group_members",
        sa.Column("group_id", sa.String(36), nullable=False),
        sa.Column("position", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("instance_uuid", sa.String(36)),
        sa.Column("address", sa.String(64)),
        sa.Column("port", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("group_id", "position", name="pk_node_group_members"),
        sa.UniqueConstraint("instance_uuid", name="uq_node_group_members_instance_uuid"),
        _of_group("node_group_members"),
        **MARIADB,
    )
    op.create_table(
        "node_group_hosts",
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("group_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("host", name="pk_node_group_hosts"),
        _of_group("node_group_hosts"),
        **MARIADB,
    )
    op.create_index("ix_node_group_hosts_group_id", "node_group_hosts", ["group_id"])
    op.create_table(
        "node_group_turns",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_node_group_turns"),
        **MARIADB,
    )


def _of_group(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["group_id"],
        ["node_groups.id"],
        name=f"fk_{table}_group_id_node_groups",
        ondelete="CASCADE",
    )
