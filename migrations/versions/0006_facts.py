"""facts that queries ask for, of old experiments too; notes, archive"""

import sqlalchemy as sa
from alembic import op

from api.database import facts
from api.database.tables import Moment

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
ENDED = ("succeeded", "failed", "cancelled")
ROWS = 200
"""Experiments that are filled in at once."""


def upgrade() -> None:
    op.add_column("experiments", sa.Column("notes", sa.Text(), server_default="", nullable=False))
    op.add_column("experiments", sa.Column("archived", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("experiments", sa.Column("updated_at", Moment(timezone=True), nullable=True))
    table = op.create_table(
        "facts",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column(
            "experiment_id", sa.String(32), sa.ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("number", sa.Float(), nullable=True),
        sa.Column("text", sa.String(200), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_facts_experiment_id", "facts", ["experiment_id"])
    _fill(op.get_bind(), table)


def _fill(connection: sa.Connection, table: sa.Table) -> None:
    columns = (sa.column("id"), sa.column("status"), *(sa.column(name, sa.JSON) for name in ("spec", "result")))
    experiments, last = sa.table("experiments", *columns), ""
    while True:
        query = sa.select(experiments).where(experiments.c.id > last)
        rows = connection.execute(query.order_by(experiments.c.id).limit(ROWS)).all()
        if not rows:
            return
        found = [facts.as_row(row.id, fact) for row in rows for fact in _facts(connection, row)]
        connection.execute(table.insert(), found)
        last = rows[-1].id


def _facts(connection: sa.Connection, row: sa.Row) -> list[facts.Values]:
    """A result has the last measurements; of a run that has none they are looked up."""
    if row.result:
        last = [
            {f"{one['metric']} {one['layer'] or ''}".strip(): one["value"] for one in seed["metrics"]}
            for seed in row.result["final"]
        ]
    else:
        last = _last_values(connection, row.id) if row.status in ENDED else []
    return [*facts.of_spec(row.spec), *facts.of_end(last, (row.result or {}).get("verdict", []))]


def _last_values(connection: sa.Connection, experiment_id: str) -> list[dict[str, float | None]]:
    columns = (sa.column("experiment_id"), sa.column("seed"), sa.column("step"), sa.column("values", sa.JSON))
    measurements = sa.table("measurements", *columns)
    own = measurements.c.experiment_id == experiment_id
    ends = sa.select(measurements.c.seed, sa.func.max(measurements.c.step).label("step")).where(own)
    ends = ends.group_by(measurements.c.seed).subquery()
    at_end = (measurements.c.seed == ends.c.seed) & (measurements.c.step == ends.c.step)
    return list(connection.scalars(sa.select(measurements.c["values"]).where(own).join(ends, at_end)))


def downgrade() -> None:
    op.drop_table("facts")
    for name in ("updated_at", "archived", "notes"):
        op.drop_column("experiments", name)
