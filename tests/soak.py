"""Everything is killed or harmed at random while experiments run: `make soak` is long, `test_soak.py` short.

Every experiment must end `succeeded` with the numbers of an undisturbed run, none missing and none twice: the very
numbers of a network, those of a UFM but for the rounding of a batch, whose members change with every loss.
"""

import argparse
import math
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import redis
from conftest import fill, kill_tree, mounted, open_folder, quick_settings, started_postgresql

from api.service import Service, running
from ncore.client import Client, Experiment

TARGETS = ("worker-1", "worker-2", "child", "broker", "api", "postgresql", "flush", "socket", "checkpoint", "disk")
Series = dict[tuple[str, str | None, int], tuple[list[int], list[float | None]]]
UFM = {"measure.points": 60, "device": "cpu"}
NETWORK = {
    "model": {"kind": "mlp", "widths": [32, 16]},
    "data": {"name": "digits", "image_size": 8, "samples_per_class": 50},
    "optimizer": {"learning_rate": 0.02, "batch_size": 32},
    "device": "cpu",
}


def bodies(length: float) -> list[dict]:
    """Four kinds of experiments; `length` 1 takes each about a second of one core."""
    steps = {"optimizer.steps": int(60_000 * length)}
    epochs = int(40 * length)
    network = {**NETWORK, "optimizer": {**NETWORK["optimizer"], "epochs": epochs}, "measure": {"every_epochs": 4}}
    return [
        {"preset": "fig1", "set": {**UFM, **steps, "seeds": [0, 1]}},
        {"preset": "fig4", "set": {**UFM, "optimizer.steps": int(12_000 * length)}},
        {"preset": "fig2", "set": {**UFM, "optimizer.steps": int(8_000 * length), "loss": "cross_entropy"}},
        network,
    ]


@dataclass
class Soak:
    """A service under fire. `done` counts what was killed."""

    service: Service
    client: Client
    database: object
    dice: random.Random
    disk: Path | None
    """Where the artifacts are, if that is a small disk of its own."""
    done: Counter = field(default_factory=Counter)
    deck: list[str] = field(default_factory=list)

    def strike(self) -> None:
        """One kill, of one part; what is started again is waited for only where we start it ourselves."""
        if not self.deck:  # each as often, in any order
            targets = [name for name in TARGETS if name != "disk" or self.disk is not None]
            self.deck = self.dice.sample(targets, len(targets))
        name = self.deck.pop()
        getattr(self, f"_{name.partition('-')[0]}")(name)
        self.done[name.partition("-")[0]] += 1

    def _worker(self, name: str) -> None:
        kill_tree(self.service.children[name].process.pid)

    _broker = _api = _worker

    def _child(self, _: str) -> None:
        """Only the process that trains, as the kernel does when memory runs out."""
        with psycopg.connect(self.database.get_uri()) as connection:
            found = connection.execute("SELECT worker FROM experiments WHERE status = 'running' LIMIT 1").fetchone()
        if found:
            try:
                os.kill(int(found[0].partition(":")[2]), signal.SIGKILL)
            except ProcessLookupError:
                return  # it was killed before and its lease has not expired

    def _postgresql(self, _: str) -> None:
        kill_tree(self.database.get_pid())
        time.sleep(self.dice.uniform(0.2, 1.5))
        # where the killed process is not reaped, its number still stands for a running server
        for left in (*self.database.pgdata.glob("postmaster.pid"), *self.database.pgdata.glob(".s.PGSQL.*")):
            left.unlink()
        self.database.ensure_postgres_running()

    def _flush(self, _: str) -> None:
        try:
            redis.Redis.from_url(self.service.settings.broker.replace("redis+socket://", "unix://")).flushall()
        except redis.ConnectionError:
            return  # the broker is being started

    def _socket(self, _: str) -> None:
        """Removed, or taken over by another server, as by a second service."""
        path = self.service.settings.broker_socket
        path.unlink(missing_ok=True)
        if self.dice.random() < 0.5:
            with socket.socket(socket.AF_UNIX) as other, suppress(OSError):  # the broker may have been faster
                other.bind(str(path))

    def _checkpoint(self, _: str) -> None:
        """Of what runs now the last checkpoint is cut off or has a bit flipped; then its worker is killed."""
        found = list(Path(self.service.settings.artifacts).glob("*/checkpoint.pt"))
        if found:
            path = self.dice.choice(found)
            with suppress(FileNotFoundError):  # succeeded meanwhile
                data = bytearray(path.read_bytes())
                data[self.dice.randrange(len(data))] ^= 8
                path.write_bytes(data if self.dice.random() < 0.5 else data[: self.dice.randrange(len(data))])
        self._child("")

    def _disk(self, _: str) -> None:
        """The artifacts' disk is full for some seconds."""
        assert self.disk is not None
        filler = fill(self.disk)
        time.sleep(self.dice.uniform(0.5, 4.0))
        filler.unlink()


def series_of(experiment: Experiment) -> Series:
    return {(s["metric"], s["layer"], s["seed"]): (s["steps"], s["values"]) for s in experiment.series()}


def soak(database, home: Path, experiments: int, kills: int, length: float, seed: int, pause: float = 2.5) -> Counter:
    """Runs it; returns what was done how often. Raises AssertionError naming what is not as it should."""
    with mounted(home.parent / "artifacts", megabytes=64) as disk:
        return _soak(database, home, disk, experiments, kills, length, seed, pause)


def _soak(
    database, home: Path, disk: Path | None, experiments: int, kills: int, length: float, seed: int, pause: float
) -> Counter:
    changes = {"workers": 2, "max_attempts": 10_000, "artifacts": str(home.parent / "artifacts")}
    dice, settings = random.Random(seed), quick_settings(home, database.get_uri(), **changes)
    with running(settings) as service, Client(service.url, patience_seconds=90) as client:
        kinds = bodies(length)
        began = time.monotonic()
        reference = [series_of(client.submit(body).wait(progress=False, timeout_seconds=600)) for body in kinds]
        print(f"four undisturbed runs: {time.monotonic() - began:.0f} s")
        made = [client.submit(kinds[i % 4], {}, None) for i in range(experiments)]
        fire = Soak(service, client, database, dice, disk)
        for number in range(kills):
            time.sleep(dice.uniform(0.3, pause))
            fire.strike()
            if number % 10 == 9:
                left = sum(one.refresh().status != "succeeded" for one in made)
                print(f"{number + 1} kills, {left} of {experiments} experiments left, {time.monotonic() - began:.0f} s")
        for i, one in enumerate(made):
            one.wait(progress=False, timeout_seconds=900)
            assert_equal(one, series_of(one), reference[i % 4])
        attempts = [one.refresh().data["attempt"] for one in made]
        print(
            f"{experiments} experiments succeeded in {sum(attempts)} attempts (most: {max(attempts)}),"
            f" {time.monotonic() - began:.0f} s; killed: {dict(fire.done)}"
        )
        fire.done["attempts"] = sum(attempts)
        return fire.done


def assert_equal(experiment: Experiment, found: Series, expected: Series) -> None:
    assert found.keys() == expected.keys(), f"{experiment.id}: other series"
    is_batched = experiment.data["spec"]["model"]["kind"] == "ufm"
    for key, (steps, values) in expected.items():
        assert found[key][0] == steps, f"{experiment.id} {key}: steps missing or twice"
        pairs = list(zip(found[key][1], values, strict=True))
        other = [pair for pair in pairs if pair[0] != pair[1] and not (is_batched and are_close(*pair))]
        assert not other, f"{experiment.id} {key}: other values, {other[:3]}"


def are_close(found: float | None, expected: float | None) -> bool:
    """Whether they differ by rounding only, which is all of NC1 at the end."""
    if found is None or expected is None:
        return found is expected
    return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=40)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--length", type=float, default=14.0, help="of an experiment, about seconds of one core")
    parser.add_argument("--pause", type=float, default=5.0, help="longest time between two kills, seconds")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # progress is seen in a file, too
    with open_folder() as folder, started_postgresql(folder) as database:
        soak(database, folder / "home", asked.experiments, asked.kills, asked.length, asked.seed, asked.pause)


if __name__ == "__main__":
    sys.exit(main())
