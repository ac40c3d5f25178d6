"""MLflow's tracking server on SQLite, in a virtual environment of the benchmark's own (`.bench/`, git-ignored)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from api.service import free_port

HOME = Path(__file__).parent.parent / ".bench" / "mlflow"
WANTED = "mlflow>=3,<4"
MOST_METRICS = 1000
"""Of one log-batch: MLflow's own limit."""
START_SECONDS = 120.0


class NotThere(RuntimeError):  # noqa: N818 (says what is the case)
    """MLflow could not be installed or started; the message says why."""


class Tracking:
    """One run of a tracking server; the calls are those of its REST interface."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        experiment = self._post("experiments/create", {"name": "benchmark"})["experiment_id"]
        self._run = self._post("runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._http.post(f"/api/2.0/mlflow/{path}", json=body).raise_for_status().json()

    def log(self, points: Sequence[tuple[str, int, float]]) -> None:
        """Points (metric, step, value) by log-batch, as many at a time as it takes."""
        for start in range(0, len(points), MOST_METRICS):
            part = points[start : start + MOST_METRICS]
            metrics = [{"key": key, "step": step, "value": value, "timestamp": step} for key, step, value in part]
            self._post("runs/log-batch", {"run_id": self._run, "metrics": metrics})

    def history(self, metric: str) -> bytes:
        """The answer of metrics/get-history."""
        params = {"run_id": self._run, "metric_key": metric}
        return self._http.get("/api/2.0/mlflow/metrics/get-history", params=params).raise_for_status().content


@contextmanager
def tracking_server() -> Iterator[Tracking]:
    """Installs it at the first call. Raises NotThere."""
    command = [str(_installed()), "server", "--host", "127.0.0.1"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        port = free_port("127.0.0.1")
        command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **quiet}, stdout=log, stderr=log)
        try:
            headers = {"Accept-Encoding": "identity"}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, headers=headers) as http:
                _await(http, process, Path(folder) / "log")
                yield Tracking(http)
        finally:
            process.terminate()
            process.wait()


def _installed() -> Path:
    binary = HOME / "bin" / "mlflow"
    if not binary.exists():
        print(f"installing MLflow into {HOME} ...", flush=True)
        steps = ([sys.executable, "-m", "venv", HOME], [HOME / "bin" / "pip", "install", "--quiet", WANTED])
        for step in steps:
            done = subprocess.run([*map(str, step)], capture_output=True, text=True, check=False)
            if done.returncode:
                raise NotThere(f"MLflow cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return binary


def _await(http: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if http.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise NotThere(f"MLflow's server did not start: {log.read_text(errors='replace')[-300:]}")
