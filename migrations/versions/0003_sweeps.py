"""sweeps"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("base", sa.JSON(), nullable=False),
        sa.Column("axes", sa.JSON(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("body_hash", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("idempotency_key"),
    )
    op.create_index("ix_sweeps_created_at_id", "sweeps", ["created_at", "id"])
    op.add_column("experiments", sa.Column("sweep_id", sa.String(length=32), nullable=True))
    op.add_column("experiments", sa.Column("sweep_index", sa.Integer(), nullable=True))
    op.create_index("ix_experiments_sweep_id_sweep_index", "experiments", ["sweep_id", "sweep_index"])


def downgrade() -> None:
    op.drop_index("ix_experiments_sweep_id_sweep_index", table_name="experiments")
    op.drop_column("experiments", "sweep_index")
    op.drop_column("experiments", "sweep_id")
    op.drop_table("sweeps")
