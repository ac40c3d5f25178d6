"""`python -m worker.health`: exit status 0 while the database has a fresh heartbeat of a worker on this host."""

from __future__ import annotations

import socket
import sys

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api.database.integrity import explain
from api.database.sessions import reading
from api.database.tables import WorkerRow
from api.database.workers import is_alive
from worker.naming import host_of


def fault() -> str | None:
    """Why this host has no healthy worker; None if it has one. A container is a host of its own."""
    host = socket.gethostname()
    try:
        with reading() as session:
            alive = session.scalars(select(WorkerRow.id).where(is_alive())).all()
    except SQLAlchemyError as error:
        return f"{explain(error)}: {error}"
    return None if host in map(host_of, alive) else f"no worker of {host} was heard of within a lease"


if __name__ == "__main__":
    sys.exit(fault())
