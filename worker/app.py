"""The Celery application of the workers. The parent only waits; each child trains one experiment at a time.

The parent imports no torch and never touches a GPU; children are spawned, import torch once and stay warm.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import Any

from billiard import active_children
from billiard.process import current_process
from celery.signals import setup_logging, worker_process_init, worker_process_shutdown, worker_shutting_down

from api.broker import TASK, get_celery
from api.children import die_with_parent
from api.database.journal import log_to_stderr
from api.settings import get_settings
from worker import gpus
from worker.lease import stop_asked

app = get_celery()
_here: dict[str, Any] = {}
"""The `presence` of this child, set once it is warm."""


@app.task(name=TASK, Request="worker.lost:ObservedRequest")
def run(experiment_id: str) -> None:  # noqa: ARG001 (a wake-up call: the rows decide what is run)
    from worker.job import run_next

    presence = _here["presence"]
    gpu_grace_over = time.monotonic() - presence.began > get_settings().gpu_wait_seconds
    run_next(presence.id, presence.kind, gpu_grace_over, presence.gpus)


@setup_logging.connect
def log_as_json(**_: Any) -> None:
    log_to_stderr()


@worker_process_init.connect
def warm_up(**_: Any) -> None:
    """Imports everything slow before the first experiment; SIGUSR2 asks for a stop at the next step boundary
    (SIGUSR1 is the pool's own, for time limits)."""
    die_with_parent()
    signal.signal(signal.SIGUSR2, lambda *_: stop_asked.set())
    log_to_stderr()
    settings = get_settings()
    kind = gpus.settle(gpus.listed(settings.gpus), current_process().index)  # type: ignore[attr-defined]
    import torch

    import worker.job  # noqa: F401
    from worker import memory
    from worker.presence import Presence

    torch.set_num_threads(settings.worker_threads)
    if kind == "cpu":
        memory.limit(settings.worker_memory)
    _here["presence"] = Presence(kind)
    _here["presence"].heartbeat()  # before the first experiment is claimed
    _here["presence"].start()
    logging.getLogger("ncore.worker").info("ready", extra={"fields": {"worker": _here["presence"].id, "kind": kind}})


@worker_process_shutdown.connect
def leave(**_: Any) -> None:
    if "presence" in _here:
        _here["presence"].end()


@worker_shutting_down.connect
def pass_on(**_: Any) -> None:
    for child in active_children():
        if child.pid is not None:
            os.kill(child.pid, signal.SIGUSR2)
