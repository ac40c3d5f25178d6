"""`python -m worker.health`, which the containers' health is judged by."""

import os
import subprocess
import sys

from conftest import settings_for, wait_for

from api.service import environment, free_port
from api.settings import Settings


def health(settings: Settings) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "worker.health"]
    env = {**os.environ, **environment(settings)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_a_host_is_healthy_while_its_worker_tells_of_itself(service):
    wait_for("the worker", lambda: health(service.settings).returncode == 0)


def test_a_host_without_a_worker_or_a_database_is_not_healthy_and_says_why(request, tmp_path):
    settings = settings_for("sqlite", tmp_path, request)
    migrated = subprocess.run(
        [sys.executable, "-m", "api", "migrate"], env={**os.environ, **environment(settings)}, check=False
    )
    assert migrated.returncode == 0
    none = health(settings)
    assert none.returncode == 1
    assert "heard of within a lease" in none.stderr
    url = f"postgresql://ncore@127.0.0.1:{free_port('127.0.0.1')}/ncore"
    away = health(settings.model_copy(update={"database_url": url}))
    assert away.returncode == 1
    assert "the database does not answer" in away.stderr
