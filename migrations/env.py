"""Alembic's environment: the URL comes from `api.db.alembic_config`, the tables from `api.tables`."""

from alembic import context

from api.db import make_engine
from api.settings import get_settings
from api.tables import Table

engine = make_engine(context.config.attributes.get("url") or get_settings().database)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Table.metadata, render_as_batch=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
