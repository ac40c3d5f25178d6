"""The worker process: `celery -A worker.app worker`. The parent only waits; each child trains one experiment at a time.

The parent imports no torch and never touches a GPU; children are spawned, import torch once and stay warm.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from typing import Any

from billiard import active_children
from celery.signals import setup_logging, worker_process_init, worker_shutting_down

from api.broker import TASK, get_celery
from api.serve import die_with_parent
from worker.stopping import stop_asked

app = get_celery()


@app.task(name=TASK)
def run(experiment_id: str) -> None:
    from worker.job import run_next

    run_next(worker=f"{socket.gethostname()}:{os.getpid()}", preferred=experiment_id)


@setup_logging.connect
def log_to_stderr(**_: Any) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True)
    logging.getLogger("celery").setLevel(logging.WARNING)


@worker_process_init.connect
def warm_up(**_: Any) -> None:
    """Everything slow is imported before the first experiment; SIGUSR2 asks for a stop at the next step boundary
    (SIGUSR1 is the pool's own, for time limits)."""
    die_with_parent()
    signal.signal(signal.SIGUSR2, lambda *_: stop_asked.set())
    log_to_stderr()
    import worker.job  # noqa: F401

    logging.getLogger("ncore.worker").info("ready")


@worker_shutting_down.connect
def pass_on(**_: Any) -> None:
    for child in active_children():
        if child.pid is not None:
            os.kill(child.pid, signal.SIGUSR2)
