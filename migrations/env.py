"""Alembic's environment: the URL comes from `alembic_config` in `api.database.migrating`, the tables from `tables`."""

from alembic import context

from api.database.sessions import make_engine
from api.database.tables import Table
from api.settings import get_settings

engine = make_engine(context.config.attributes.get("url") or get_settings().database)
with engine.connect() as connection:
    # never in batch mode: on SQLite it would drop the old table, and with it what refers to its rows
    context.configure(connection=connection, target_metadata=Table.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
