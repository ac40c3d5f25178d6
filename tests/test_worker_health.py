"""`python -m worker.health`, which the containers' health is judged by."""

import os
import subprocess
import sys

from conftest import quick_settings, wait_for

from api.service import environment, free_port
from api.settings import Settings
from worker.health import fault


def health(settings: Settings) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "worker.health"]
    env = {**os.environ, **environment(settings)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_a_host_is_healthy_while_its_worker_has_a_heartbeat(service):
    wait_for("the worker", lambda: health(service.settings).returncode == 0)


def test_a_host_without_a_worker_is_not_healthy_and_says_why(tables):
    assert "heard of within a lease" in fault()


def test_a_host_without_a_database_is_not_healthy_and_says_why(tmp_path):
    away = health(quick_settings(tmp_path, f"postgresql://ncore@127.0.0.1:{free_port('127.0.0.1')}/ncore"))
    assert away.returncode == 1
    assert "the database does not answer" in away.stderr
