"""`make compose-test`: docker-compose.yml on a real engine, as a user would run it, with and without the CPU file.

Builds the images, then for each file: everything up and healthy; figure 1 and a network through the published port; a
worker container killed in the middle; down and up again; three workers sharing thirty experiments; backup and restore
by the commands of docs/operations.md; Prometheus. It uses a compose project of its own (`ncore-test`), which it removes
with its volumes. COMPOSE_EXTRA names a further override file, for example for a network that the build needs.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from api.service import free_port
from ncore.client import Client, Experiment

ROOT = Path(__file__).parent.parent
CPU_FILES, GPU_FILES = ("docker-compose.yml", "docker-compose.cpu.yml"), ("docker-compose.yml",)
RUNNING = ("database", "broker", "api", "worker")
NETWORK = {"model": {"kind": "mlp", "widths": [64, 64]}, "data": {"name": "digits"}, "optimizer": {"epochs": 3}}
LONG: dict[str, Any] = {"seeds": [0, 1], "optimizer.steps": 6_000_000, "measure.points": 80}
SHARED = {"optimizer.steps": 60_000, "measure.points": 40}
SHARERS, SHARES = 3, 30
PATIENCE_SECONDS = 240.0
IMAGE_SOURCES = (("image", "inspect"), ("pull",))


class Stack:
    """One compose project."""

    def __init__(self, command: list[str], files: tuple[str, ...], gpus: bool) -> None:
        extra = [os.environ["COMPOSE_EXTRA"]] if os.environ.get("COMPOSE_EXTRA") else []
        paths = [str((ROOT / file).resolve()) for file in (*files, *extra)]
        self.command = [*command, "--project-directory", str(ROOT), *(word for path in paths for word in ("-f", path))]
        self.gpus, self.without_gpu_worker = gpus, files == CPU_FILES
        self.port, self.monitoring_port = free_port("127.0.0.1"), free_port("127.0.0.1")
        self.services = (*RUNNING, "gpu-worker") if gpus else RUNNING
        self.env = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": "ncore-test",
            "NCORE_DATABASE_PASSWORD": secrets.token_hex(16),
            "NCORE_BROKER_PASSWORD": secrets.token_hex(16),
            "NCORE_TOKENS": secrets.token_hex(16),
            "NCORE_BIND": "127.0.0.1",
            "NCORE_PORT": str(self.port),
            "NCORE_MONITORING_PORT": str(self.monitoring_port),
        }

    def __call__(self, *arguments: str) -> str:
        return output(*self.command, *arguments, env=self.env)

    def up(self, workers: int = 1) -> float:
        """Starts what is not there; seconds until every service is healthy."""
        began = time.monotonic()
        absent = [] if self.gpus or self.without_gpu_worker else ["--scale", "gpu-worker=0"]
        try:
            self("up", "-d", "--scale", f"worker={workers}", *absent)
        except SystemExit:
            print(self("logs", "--tail", "30"))
            raise
        wait_for("every service to be healthy", lambda: all(map(self.is_healthy, self.services)))
        return time.monotonic() - began

    def containers(self, service: str) -> list[str]:
        return self("ps", "-q", service).split()

    def is_healthy(self, service: str) -> bool:
        found = [inspected(one, "{{.State.Health.Status}}") for one in self.containers(service)]
        if "unhealthy" in found:
            raise SystemExit(f"{service} is unhealthy:\n{self('logs', '--tail', '30', service)}")
        return bool(found) and set(found) == {"healthy"}

    def client(self) -> Client:
        return Client(f"http://127.0.0.1:{self.port}", token=self.env["NCORE_TOKENS"])


def output(*command: str, env: dict[str, str] | None = None, cwd: str | Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
    return done.stdout


def inspected(container: str, field: str) -> str:
    return output("docker", "inspect", "-f", field, container).strip()


def wait_for(what: str, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"waited {PATIENCE_SECONDS:.0f} s for {what}")
        time.sleep(0.5)


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(f"FAILED: {otherwise}")


def compose() -> list[str] | None:
    """`docker compose`, or the older `docker-compose`; None where there is no engine or neither of them."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return None
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    return ["docker", "compose"] if plugin else ["docker-compose"] if shutil.which("docker-compose") else None


def refuses_without_passwords(stack: Stack) -> None:
    for name in ("NCORE_DATABASE_PASSWORD", "NCORE_BROKER_PASSWORD"):
        env = {**stack.env, name: ""}
        done = subprocess.run([*stack.command, "config"], env=env, capture_output=True, text=True, check=False)
        require(done.returncode != 0 and f"set {name} in .env" in done.stderr, f"it starts without {name}")
    print("  without a password: refused", flush=True)


def runs_figure_1_and_a_network(client: Client) -> None:
    for experiment in (client.submit("fig1"), client.submit(NETWORK)):
        experiment.wait(progress=False, timeout_seconds=PATIENCE_SECONDS)
        print(f"  {experiment.data['name'] or 'network on digits'}: {experiment.status}", flush=True)


def survives_the_death_of_a_worker(stack: Stack, client: Client) -> None:
    """The same spec twice, once undisturbed: the series are equal to the last digit."""
    calm = client.submit("fig1", {**LONG, "name": "calm"}).wait(progress=False, timeout_seconds=PATIENCE_SECONDS)
    killed = client.submit("fig1", {**LONG, "name": "killed"})
    wait_for("progress", lambda: killed.refresh().data["progress"]["step"] > LONG["optimizer.steps"] / 4)
    for service in {"worker", stack.services[-1]}:
        for container in stack.containers(service):
            kill(container)
    killed.wait(progress=False, timeout_seconds=PATIENCE_SECONDS)
    require(
        killed.data["attempt"] > 1, f"it was not running when its worker was killed: attempt {killed.data['attempt']}"
    )
    require(series_of(killed) == series_of(calm), "the series after a kill are not those of an undisturbed run")
    print(f"  kill -9 of the worker: {killed.status} at attempt {killed.data['attempt']}, the same numbers", flush=True)


def kill(container: str) -> None:
    """SIGKILL from outside, as the kernel does when memory runs out, so that the restart policy is tried as well."""
    try:
        os.kill(int(inspected(container, "{{.State.Pid}}")), signal.SIGKILL)
    except (
        PermissionError
    ):  # not root, or the engine is elsewhere; the engine itself does not restart what it has killed
        output("docker", "kill", container)
        output("docker", "start", container)


def series_of(experiment: Experiment) -> dict[str, Any]:
    found = {f"{s['metric']} {s['layer']} {s['seed']}": (s["steps"], s["values"]) for s in experiment.series()}
    for name, (steps, _) in found.items():
        require(len(set(steps)) == len(steps), f"{experiment.id}: {name} has a step twice")
    return found


def kept(stack: Stack) -> list[tuple[dict[str, Any], dict[str, Any], list[bytes]]]:
    with stack.client() as client:
        return [(one.data, series_of(one), artifacts(client, one)) for one in client.experiments()]


def keeps_everything(stack: Stack) -> None:
    before = kept(stack)
    stack("down")
    seconds = stack.up()
    require(kept(stack) == before, "experiments, series or artifacts are not what they were before down and up")
    print(f"  down and up: {len(before)} experiments with series and files are as before; {seconds:.1f} s", flush=True)


def artifacts(client: Client, experiment: Experiment) -> list[bytes]:
    path = f"/experiments/{experiment.id}/artifacts"
    names = re.findall(r'"name":\s*"([^"]+)"', client.request("GET", path).text)
    require(bool(names), f"{experiment.id} has no artifact")
    return [client.request("GET", f"{path}/{name}").content for name in sorted(names)]


def shares(stack: Stack) -> None:
    stack.up(workers=SHARERS)
    with stack.client() as client:
        made = [client.submit("fig1", {**SHARED, "seeds": [i], "name": f"share {i}"}) for i in range(SHARES)]
        for one in made:
            one.wait(progress=False, timeout_seconds=PATIENCE_SECONDS)
        lengths = {len(steps) for one in made for steps, _ in series_of(one).values()}
    workers = Counter(one.data["worker"].split(":")[0] for one in made)
    require(len(workers) >= SHARERS, f"{SHARES} experiments went to {len(workers)} workers only: {workers}")
    require(len(lengths) == 1, f"series of equal specs have different lengths: {lengths}")
    require({one.data["attempt"] for one in made} == {1}, "an experiment was started more than once")
    print(f"  {SHARES} experiments on {SHARERS} workers: {sorted(workers.values())}", flush=True)


def is_restored_from_a_backup(stack: Stack) -> None:
    before = kept(stack)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "backup").mkdir()
        as_documented(stack, "backup", folder)
        stack("down", "--volumes")
        as_documented(stack, "restore", folder)
    wait_for("every service to be healthy", lambda: all(map(stack.is_healthy, stack.services)))
    require(kept(stack) == before, "experiments, series or artifacts are not what they were before the backup")
    print(f"  backup, empty volumes, restore: {len(before)} experiments are as before", flush=True)


def is_pruned(stack: Stack) -> None:
    """What is documented deletes nothing that is as young as all is here; with no days it deletes all."""
    before = kept(stack)
    as_documented(stack, "prune", str(ROOT))
    require(kept(stack) == before, "experiments of today are gone")
    as_documented(stack, "prune", str(ROOT), {"--days 90": "--days 0"})
    require(not kept(stack), "experiments are still there")
    print(f"  prune: {len(before)} experiments are gone when asked for, and not before", flush=True)


def as_documented(stack: Stack, name: str, folder: str, changes: Mapping[str, str] = MappingProxyType({})) -> None:
    """Runs a block of docs/operations.md."""
    text = (ROOT / "docs" / "operations.md").read_text()
    blocks = re.findall(rf"<!-- compose-test: {name} -->\n```\n(.*?)```", text, re.S)
    require(len(blocks) == 1, f"docs/operations.md has {len(blocks)} blocks for {name}")
    commands = blocks[0]
    for old, new in {"docker compose": shlex.join(stack.command), **changes}.items():
        require(old in commands, f"the block {name} of docs/operations.md has no {old!r}")
        commands = commands.replace(old, new)
    output("bash", "-euo", "pipefail", "-c", commands, env=stack.env, cwd=folder)


def is_monitored(stack: Stack) -> None:
    image = re.findall(r"image: (prom/\S+)", (ROOT / GPU_FILES[0]).read_text())[0]
    if all(
        subprocess.run(["docker", *how, image], capture_output=True, check=False).returncode for how in IMAGE_SOURCES
    ):
        print(f"  monitoring: SKIPPED, {image} is not here and cannot be pulled", flush=True)
        return
    stack("--profile", "monitoring", "up", "-d", "--no-recreate", "monitoring")
    url = f"http://127.0.0.1:{stack.monitoring_port}/api/v1/query"

    def scraped() -> bool:
        try:
            found = httpx.get(url, params={"query": 'ncore_experiments{status="succeeded"}'}).json()["data"]["result"]
        except httpx.TransportError:
            return False
        return bool(found) and float(found[0]["value"][1]) > 0

    wait_for("Prometheus to have counted the experiments", scraped)
    print("  monitoring: Prometheus has counted the experiments", flush=True)


def report_memory(stack: Stack) -> None:
    time.sleep(5)
    for service in stack.services:
        stats = json.loads(
            output("docker", "stats", "--no-stream", "--format", "{{json .}}", stack.containers(service)[0])
        )
        print(f"  at rest: {service:12} {stats['MemUsage'].split('/')[0]}", flush=True)


def try_out(stack: Stack) -> None:
    stack("down", "--volumes")
    try:
        refuses_without_passwords(stack)
        print(f"  cold start to all healthy: {stack.up():.1f} s", flush=True)
        report_memory(stack)
        with stack.client() as client:
            runs_figure_1_and_a_network(client)
            survives_the_death_of_a_worker(stack, client)
        keeps_everything(stack)
        shares(stack)
        if stack.without_gpu_worker:  # once is enough, and `up` as documented starts all there is
            is_restored_from_a_backup(stack)
            is_monitored(stack)
            is_pruned(stack)
    finally:
        stack("--profile", "monitoring", "down", "--volumes", "--remove-orphans")


def main() -> int:
    command = compose()
    if command is None:
        print("compose-test: SKIPPED, nothing was tried: no Docker engine with compose is reached from here")
        return 0
    gpus = "nvidia" in output("docker", "info", "--format", "{{json .Runtimes}}")
    began = time.monotonic()
    Stack(command, GPU_FILES, gpus)("build")
    print(f"images built in {time.monotonic() - began:.0f} s")
    for image in ("ncore-api", "ncore-worker"):
        print(f"  {image}: {int(inspected(f'{image}:latest', '{{.Size}}')) / 1e9:.2f} GB", flush=True)
    for files, with_gpus in ((GPU_FILES, gpus), (CPU_FILES, False)):
        note = "" if with_gpus or files == CPU_FILES else " (the engine has no nvidia runtime: without gpu-worker)"
        print(f"{' + '.join(files)}{note}", flush=True)
        try_out(Stack(command, files, with_gpus))
    print("compose-test: all passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
