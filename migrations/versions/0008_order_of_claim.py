"""indexes in the order of claim: with many queued experiments the first is found without sorting them"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
OLD = "ix_experiments_status_priority_queued_at"
IN_ORDER, BY_THEMSELVES = "ix_experiments_in_order_of_claim", "ix_experiments_by_themselves"


def upgrade() -> None:
    op.create_index(IN_ORDER, "experiments", ["status", "queue", sa.text("priority DESC"), "queued_at", "id"])
    op.create_index(BY_THEMSELVES, "experiments", ["status", "queue", "priority", "sweep_id", "queued_at"])
    op.drop_index(OLD, table_name="experiments")


def downgrade() -> None:
    op.create_index(OLD, "experiments", ["status", "priority", "queued_at"])
    op.drop_index(BY_THEMSELVES, table_name="experiments")
    op.drop_index(IN_ORDER, table_name="experiments")
