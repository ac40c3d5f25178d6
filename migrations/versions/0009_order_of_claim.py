"""an index in the order of claim: with many queued experiments the first is found without sorting them"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0005"
branch_labels = None
depends_on = None
OLD, NEW = "ix_experiments_status_priority_queued_at", "ix_experiments_in_order_of_claim"


def upgrade() -> None:
    op.create_index(NEW, "experiments", ["status", "queue", sa.text("priority DESC"), "queued_at", "id"])
    op.drop_index(OLD, table_name="experiments")


def downgrade() -> None:
    op.create_index(OLD, "experiments", ["status", "priority", "queued_at"])
    op.drop_index(NEW, table_name="experiments")
