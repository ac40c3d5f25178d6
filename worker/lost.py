"""The end of a pool's child: its parent takes the experiment back at once and says what its worker was lost to."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.worker.request import Request
from sqlalchemy.exc import SQLAlchemyError

from api.database import states, workers
from api.database.sessions import writing
from worker.naming import name_of

log = logging.getLogger("ncore.worker")
COUNTERS = Path("/proc/vmstat")


def kernel_kills() -> int:
    """How many processes the kernel has killed here because memory ran out; 0 where it does not count them."""
    if not COUNTERS.exists():
        return 0
    return sum(int(line.split()[1]) for line in COUNTERS.read_text().splitlines() if line.startswith("oom_kill "))


class ObservedRequest(Request):
    """A call under way in a child, as Celery's parent sees it."""

    kills_before = 0

    def on_accepted(self, pid: Any, time_accepted: float) -> None:
        self.kills_before = kernel_kills()
        super().on_accepted(pid, time_accepted)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        error = getattr(exc_info.exception, "exc", exc_info.exception)  # the pool wraps it with its traceback
        if isinstance(error, (WorkerLostError, SystemExit)) and self.worker_pid:  # code of others may call sys.exit
            how = str(error) if isinstance(error, WorkerLostError) else repr(error)
            _requeue(name_of(int(self.worker_pid)), self._cause(how))
        super().on_failure(exc_info, send_failed_event, return_ok)

    def _cause(self, message: str) -> str:
        """E.g. 'its worker ended by signal 9 (SIGKILL)', from the pool's 'Worker exited prematurely: … Job: 3.'"""
        how = re.sub(r"^.*prematurely: |\.? Job: \d+\.?$|\.$", "", message)
        was_short = "signal 9" in how and kernel_kills() > self.kills_before
        return f"its worker ended by {how}{': the machine was out of memory' if was_short else ''}"


def _requeue(worker: str, cause: str) -> None:
    try:
        with writing() as session:
            states.requeue_from(session, worker, cause)
            workers.forget_worker(session, worker)
    except SQLAlchemyError as error:
        log.warning("the database does not answer, the lease will expire: %s", error)
