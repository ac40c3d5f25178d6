"""Brings a database to the tables of this version, one process at a time."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from api import home
from api.database.sessions import get_engine
from api.settings import Settings, get_settings

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATION_LOCK = 720_001
"""Key of PostgreSQL's advisory lock under which one process migrates and the others wait."""
_in_process = threading.Lock()
migrated = threading.Event()
"""Set once this process has seen the database at this version; until then only /healthz answers."""


def alembic_config(url: str) -> Config:
    from alembic.config import Config

    config = Config()
    folder = str(Path(__file__).parents[2] / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))  # alembic's own syntax in values
    config.attributes["url"] = url
    return config


def prepare_home(settings: Settings) -> None:
    """The home, where a file of SQLite is in it; who keeps all in a server needs none. Raises SettingsError."""
    if settings.database.startswith("sqlite"):
        home.prepare(settings.home)


def migrate() -> None:
    """Brings the database to this version's tables; several processes may call it at once."""
    from alembic import command

    settings = get_settings()
    prepare_home(settings)
    engine = get_engine()
    config = alembic_config(settings.database)
    if engine.dialect.name == "sqlite":
        with _in_process, (settings.home / "migrate.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            command.upgrade(config, "head")
        migrated.set()
        return
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        try:
            command.upgrade(config, "head")
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
    migrated.set()
