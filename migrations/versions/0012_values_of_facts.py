"""on PostgreSQL an index with the values of facts, which lie far apart there; on SQLite the table itself is in order"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
NAME, COLUMNS = "ix_facts_values", ["name", "number", "text", "experiment_id"]


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.create_index(NAME, "facts", COLUMNS)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index(NAME, table_name="facts")
