"""sweeps as they were asked for, the values of each combination, and what is kept of its end"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("experiments", sa.Column("point", sa.JSON(), nullable=True))
    op.add_column("experiments", sa.Column("summary", sa.JSON(), nullable=True))
    op.add_column("sweeps", sa.Column("request", sa.JSON(), nullable=True))
    op.add_column("sweeps", sa.Column("refining", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("sweeps", sa.Column("round", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    for name in ("round", "refining", "request"):
        op.drop_column("sweeps", name)
    for name in ("summary", "point"):
        op.drop_column("experiments", name)
