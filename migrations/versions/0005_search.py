"""names as search compares them"""

import sqlalchemy as sa
from alembic import op

from api.database.names import folded

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
ROWS = 1000


def upgrade() -> None:
    op.add_column("experiments", sa.Column("search", sa.Text(), server_default="", nullable=False))
    experiments = sa.table("experiments", sa.column("id"), sa.column("name"), sa.column("search"))
    connection, last = op.get_bind(), ""
    while True:
        query = sa.select(experiments.c.id, experiments.c.name).where(experiments.c.id > last)
        rows = connection.execute(query.order_by(experiments.c.id).limit(ROWS)).all()
        if not rows:
            return
        for row in rows:
            change = experiments.update().where(experiments.c.id == row.id)
            connection.execute(change.values(search=folded(row.name)))
        last = rows[-1].id


def downgrade() -> None:
    op.drop_column("experiments", "search")
