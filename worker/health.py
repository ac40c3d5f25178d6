"""`python -m worker.health`: exit status 0 while a worker on this host tells the database that it is there."""

from __future__ import annotations

import socket
import sys

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api.database.sessions import reading
from api.database.tables import WorkerRow
from api.database.workers import heard_since
from worker.naming import host_of


def fault() -> str | None:
    """Why this host has no healthy worker; None if it has one. A container is a host of its own."""
    host = socket.gethostname()
    try:
        with reading() as session:
            alive = session.scalars(select(WorkerRow.id).where(WorkerRow.seen_at >= heard_since())).all()
    except SQLAlchemyError as error:
        return f"the database does not answer: {error}"
    return None if host in map(host_of, alive) else f"no worker of {host} was heard of within a lease"


if __name__ == "__main__":
    sys.exit(fault())
