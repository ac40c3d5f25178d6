"""The states of an experiment, for service, client and command line; `api.database.states` changes between them."""

from __future__ import annotations

from typing import Literal, get_args

Ended = Literal["succeeded", "failed", "cancelled"]
Status = Literal["queued", "running", Ended]
STATUSES: tuple[Status, ...] = get_args(Status)
ENDED: tuple[Ended, ...] = get_args(Ended)
RETRIED: tuple[Ended, ...] = ("failed", "cancelled")
"""What can be asked to go on."""
