"""queues, priorities, logs and workers"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("experiments", sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
    op.add_column("experiments", sa.Column("queue", sa.String(length=8), server_default="cpu", nullable=False))
    op.drop_index("ix_experiments_status_queued_at", table_name="experiments")
    op.create_index("ix_experiments_status_priority_queued_at", "experiments", ["status", "priority", "queued_at"])

    op.create_table(
        "log_lines",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("experiment_id", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_log_lines_experiment_id_id", "log_lines", ["experiment_id", "id"])

    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("device", sa.String(length=200), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("used_bytes", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_workers_kind_seen_at", "workers", ["kind", "seen_at"])


def downgrade() -> None:
    op.drop_table("workers")
    op.drop_table("log_lines")
    op.drop_index("ix_experiments_status_priority_queued_at", table_name="experiments")
    op.create_index("ix_experiments_status_queued_at", "experiments", ["status", "queued_at"])
    op.drop_column("experiments", "queue")
    op.drop_column("experiments", "priority")
