"""The leases under which a worker runs experiments, and whether this process was asked to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

from sqlalchemy.exc import SQLAlchemyError

from api.database import states
from api.database.sessions import writing
from api.settings import get_settings
from ncore.stopping import Stopped

log = logging.getLogger("ncore.worker")
LONGEST_BEAT_SECONDS = 1.0
"""A wish to cancel comes with the renewal, and is heard within two seconds."""


class Lease(threading.Thread):
    """Renews the leases of experiments that are trained together, however long a step takes, and hears which to stop.

    `leases` are their attempts by id. `gives_way` is set by the job: all are given back at the next look.
    """

    def __init__(self, leases: Mapping[str, int]) -> None:
        super().__init__(name="lease", daemon=True)
        self.gives_way = False
        self._leases, self._left = dict(leases), dict[str, str]()
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(min(LONGEST_BEAT_SECONDS, get_settings().beat_seconds)):
            renewed = dict(self._leases)
            try:
                with writing() as session:
                    held = states.renew(session, renewed)
            except SQLAlchemyError as error:
                log.warning("experiments=%s the leases could not be renewed: %s", list(renewed), error)
                continue
            for experiment_id in renewed:
                if experiment_id not in held:
                    self.lose(experiment_id)
                elif held[experiment_id]:
                    self._left.setdefault(experiment_id, "cancelled")
            if not held:
                return

    def hear(self) -> None:
        """Raises Stopped where none of the experiments shall go on in this process."""
        if all(self.status(experiment_id) for experiment_id in list(self._leases)):
            raise Stopped

    def status(self, experiment_id: str) -> str | None:
        """The new status of an experiment: lost to another worker, cancelled, queued again; None: it goes on."""
        return self._left.get(experiment_id) or ("queued" if self.gives_way or stop_asked.is_set() else None)

    @property
    def is_lost(self) -> bool:
        """Whether other workers have all of them."""
        return all(self._left.get(experiment_id) == "lost" for experiment_id in list(self._leases))

    def lose(self, experiment_id: str) -> None:
        """Notes that another worker has it, as a write has found."""
        self._left[experiment_id] = "lost"

    def leave(self, experiment_id: str) -> None:
        """Takes out an experiment that has ended; the others go on."""
        self._leases.pop(experiment_id, None)

    def end(self) -> None:
        self._ended.set()
        self.join()


stop_asked = threading.Event()
"""Set when this process shall end: what it runs is given back at the next step boundary."""
