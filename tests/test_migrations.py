"""Migrations up and down on both databases, and the same tables by migrations as by the models."""

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from conftest import DATABASES, fresh_database, ncore_process
from sqlalchemy import MetaData, func, inspect, select, text
from sqlalchemy.orm import Session

from api.database.migrating import alembic_config
from api.database.sessions import make_engine
from api.database.tables import Experiment, MeasurementRow, Table
from api.service import environment
from api.settings import Settings

FIRST_RELEASE = """
INSERT INTO experiments (id, name, kind, tags, status, spec, created_at, queued_at, step, total, attempt, crashes,
    cancel_requested, last_seq)
VALUES ('old', 'n', 'ufm', '[]', 'queued', '{}', :at, :at, 0, 9, 3, 2, :no, 2)
"""

A_VALUE = {str: "old", int: 7, float: 0.5, bool: False, datetime: datetime.fromisoformat("2026-01-01"), dict: {}}


@pytest.fixture(params=DATABASES)
def database(request):
    return request.param


@pytest.fixture
def url(request, tmp_path, database):
    return Settings(home=tmp_path, database_url=fresh_database(database, tmp_path, request)).database


def is_of(engine):
    """Leaves out indexes that the models have for another database; alembic itself does not look at that."""

    def include(made, name, kind, reflected, other):
        condition = getattr(made, "_ddl_if", None)
        return condition is None or condition.dialect == engine.dialect.name

    return include


def test_up_gives_the_tables_of_the_models_and_down_takes_them_away(url):
    config, engine = alembic_config(url), make_engine(url)
    command.upgrade(config, "head")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": is_of(engine)})
        assert compare_metadata(context, Table.metadata) == []
        assert {"experiments", "measurements"} <= set(inspect(connection).get_table_names())
    command.downgrade(config, "base")
    with engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
    command.upgrade(config, "head")
    engine.dispose()


def test_what_the_first_release_has_stored_is_there_after_the_upgrade_and_after_the_way_back(url):
    config, engine = alembic_config(url), make_engine(url)
    command.upgrade(config, "0001")
    moment = "2026-01-01 00:00:00+00:00"
    with engine.begin() as connection:
        connection.execute(text(FIRST_RELEASE), {"at": datetime.fromisoformat(moment), "no": False})
        for step in (0, 9):
            values = {"id": "old", "step": step, "at": datetime.fromisoformat(moment)}
            connection.execute(
                text("INSERT INTO measurements VALUES (:id, 0, :step, 1, :at, '{\"nc1 h1\": 0.5}')"), values
            )
    for version in ("head", "0001", "head"):
        (command.upgrade if version == "head" else command.downgrade)(config, version)
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM measurements")) == 2
    with Session(engine) as session:
        row = session.get(Experiment, "old")
        assert (row.priority, row.queue, row.total, row.status) == (0, "cpu", 9, "queued")
        assert (row.crashes, row.lost_workers, row.kept_step) == (2, 2, -1)
        assert session.get(MeasurementRow, ("old", 0, 9)).values == {"nc1 h1": 0.5}
    engine.dispose()


def test_no_migration_loses_rows_that_refer_to_others(url):
    """A table that is dropped and made anew takes along what refers to it: every step up and down, with full tables."""
    config, engine = alembic_config(url), make_engine(url)
    revisions = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()][::-1]
    command.upgrade(config, revisions[0])
    with engine.begin() as connection:
        connection.execute(text(FIRST_RELEASE), {"at": datetime.fromisoformat("2026-01-01"), "no": False})
        rows = "INSERT INTO measurements VALUES ('old', 0, 0, 1, '2026-01-01', '{}')"
        connection.execute(text(rows))
    full = counts(engine)
    for revision in revisions[1:]:
        command.upgrade(config, revision)
        left = counts(engine)
        assert {table: left[table] for table in full} == full, revision
        fill_what_refers(engine)
        full = counts(engine)
    assert {table for table, count in full.items() if count} >= {"experiments", "measurements", "log_lines"}
    for revision in revisions[-2::-1]:
        command.downgrade(config, revision)
        left = counts(engine)
        assert left == {table: full[table] for table in left}, revision
    for revision in revisions[1:]:
        command.upgrade(config, revision)
        assert counts(engine)["measurements"] == full["measurements"]
    engine.dispose()
    for path in Path(config.get_main_option("script_location")).rglob("*.py"):
        assert "as_batch" not in path.read_text(), path
        assert "batch_alter" not in path.read_text(), path


def fill_what_refers(engine):
    """A row in each table that refers to an experiment, and has none of it yet."""
    with engine.begin() as connection:
        tables = MetaData()
        tables.reflect(connection)
        for table in tables.tables.values():
            if table.foreign_keys and connection.scalar(select(func.count()).select_from(table)) == 0:
                row = {c.name: A_VALUE[c.type.python_type] for c in table.columns if not c.nullable}
                connection.execute(table.insert().values(row))


def counts(engine) -> dict[str, int]:
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        return {name: connection.scalar(text(f"SELECT count(*) FROM {name}")) for name in names}


def test_processes_that_migrate_at_once_wait_for_each_other(request, tmp_path, database):
    settings = Settings(home=tmp_path, database_url=fresh_database(database, tmp_path, request))
    command = [sys.executable, "-c", "from api.database.migrating import migrate; migrate()"]
    processes = [subprocess.Popen(command, env={**os.environ, **environment(settings)}) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    engine = make_engine(settings.database)
    assert {"experiments", "measurements"} <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_a_url_gets_the_driver_that_is_installed(tmp_path):
    for given in ("postgres://u:p@h/d", "postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"):
        assert Settings(home=tmp_path, database_url=given).database == "postgresql+psycopg://u:p@h/d"
    assert Settings(home=tmp_path).database == f"sqlite:///{tmp_path / 'ncore.db'}"


def test_tables_of_a_server_are_made_where_no_home_can_be(request, tmp_path):
    """As in a container of its own, which has no folder to write in."""
    at = {"NCORE_DATABASE_URL": fresh_database("postgresql", tmp_path, request), "NCORE_HOME": "/proc/ncore"}
    done = ncore_process("migrate", env=at)
    assert (done.returncode, "has the tables" in done.stdout) == (0, True), done.stderr
    at["NCORE_DATABASE_URL"] = "sqlite:////proc/ncore/ncore.db"
    assert "NCORE_HOME: must be a folder that can be written" in ncore_process("migrate", env=at).stderr
