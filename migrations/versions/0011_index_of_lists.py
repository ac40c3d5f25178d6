"""an index with all that lists ask of every row: on SQLite its columns lie behind specs and results otherwise"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
OLD, NEW = "ix_experiments_created_at_id", "ix_experiments_in_lists"


def upgrade() -> None:
    op.create_index(NEW, "experiments", ["created_at", "id", "archived", "status", "sweep_id"])
    op.drop_index(OLD, table_name="experiments")


def downgrade() -> None:
    op.create_index(OLD, "experiments", ["created_at", "id"])
    op.drop_index(NEW, table_name="experiments")
