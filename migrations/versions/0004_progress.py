"""crashes without progress between, and workers lost in all"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("experiments", sa.Column("lost_workers", sa.Integer(), server_default="0", nullable=False))
    op.add_column("experiments", sa.Column("kept_step", sa.Integer(), server_default="-1", nullable=False))
    op.execute("UPDATE experiments SET lost_workers = crashes")


def downgrade() -> None:
    op.drop_column("experiments", "kept_step")
    op.drop_column("experiments", "lost_workers")
