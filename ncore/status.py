"""The states of an experiment, for service, client and command line; `api.database.states` changes between them."""

from __future__ import annotations

from typing import Literal, get_args

Ended = Literal["succeeded", "failed", "cancelled"]
Status = Literal["queued", "running", "lost", Ended]
STATUSES: tuple[Status, ...] = get_args(Status)
ENDED: tuple[Ended, ...] = get_args(Ended)
RETRIED: tuple[Ended, ...] = ("failed", "cancelled")
"""The states from which a retry is possible."""
LOST: Status = "lost"
"""The state of an external experiment whose loop fell silent: nobody knows whether it will go on."""
OPEN: tuple[Status, ...] = ("running", LOST)
"""The states of an external experiment that has not ended."""
