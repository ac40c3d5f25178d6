"""A worker's row in `workers`, renewed with every heartbeat."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from importlib.metadata import version

import psutil
import torch
from sqlalchemy.exc import SQLAlchemyError

from api.database import workers
from api.database.clock import from_now
from api.database.sessions import writing
from api.database.tables import WorkerRow, now
from api.settings import get_settings
from worker.memory import machine_bytes
from worker.naming import name_of

log = logging.getLogger("ncore.worker")


class Presence(threading.Thread):
    """The heartbeat in the background.

    `kind` is `gpu` or `cpu`, `gpus` how many it trains on, `began` its start on the monotonic clock.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(name="presence", daemon=True)
        self.kind, self.id, self.began = kind, name_of(os.getpid()), time.monotonic()
        self.gpus = torch.cuda.device_count() if kind == "gpu" else 0
        self._ended = threading.Event()
        about = {"kind": kind, "gpus": self.gpus, "device": _device(self.gpus)}
        self._about = {**about, "version": version("ncore"), "started_at": now()}

    def heartbeat(self) -> None:
        total, used = _memory(self.gpus)
        row = WorkerRow(id=self.id, memory_bytes=total, used_bytes=used, **self._about)
        try:
            with writing() as session:
                session.merge(row).seen_at = from_now()  # an expression of SQL
        except SQLAlchemyError as error:
            log.warning("the database does not answer: %s", error)

    def run(self) -> None:
        while not self._ended.wait(get_settings().beat_seconds):
            self.heartbeat()

    def end(self) -> None:
        """Deletes the row, if the database answers."""
        self._ended.set()
        self.join()
        try:
            with writing() as session:
                workers.forget_worker(session, self.id)
        except SQLAlchemyError as error:
            log.warning("the database does not answer: %s", error)


def _device(gpus: int) -> str:
    if gpus:
        return ", ".join(torch.cuda.get_device_name(index) for index in range(gpus))
    return f"{platform.machine()}, {os.cpu_count()} cores"


def _memory(gpus: int) -> tuple[int, int]:
    """Of the devices: how much they have, how much of it is used, both in bytes."""
    if gpus:
        free, total = map(sum, zip(*map(torch.cuda.mem_get_info, range(gpus)), strict=True))
        return total, total - free
    machine = psutil.virtual_memory()
    return machine_bytes(), machine.total - machine.available
