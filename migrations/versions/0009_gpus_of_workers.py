"""how many GPUs each worker has: an experiment may ask for several"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("gpus", sa.Integer(), server_default="0", nullable=False))
    op.execute("UPDATE workers SET gpus = 1 WHERE kind = 'gpu'")


def downgrade() -> None:
    op.drop_column("workers", "gpus")
