"""/healthz: the process is alive. /readyz: experiments can be submitted, sent to workers and stored."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api import broker
from api.database import integrity
from api.database.sessions import reading
from api.store import StoreError, get_store
from api.web.errors import PROBLEMS, Problem

router = APIRouter(tags=["health"], responses=PROBLEMS)


class Health(BaseModel):
    status: str


@router.get("/healthz", response_model=Health)
async def get_health() -> Health:
    """Answers in the event loop: it is alive even when all threads wait for a database that is away."""
    return Health(status="ok")


@router.get("/readyz", response_model=Health)
def get_readiness() -> Health:
    """Database and broker are reached, and they and the artifacts' disk can be written; 503 naming what is not so."""
    asked = {"database": _database, "broker": broker.why_not_sending, "artifacts": _artifacts}
    faults = [{"field": name, "message": why} for name, ask in asked.items() if (why := ask()) is not None]
    if faults:
        detail = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
        raise Problem(503, f"not ready: {detail}", faults, headers={"Retry-After": "2"})
    return Health(status="ready")


def _database() -> str | None:
    try:
        with reading() as session:
            session.execute(text("SELECT 1 FROM experiments LIMIT 1"))
            return integrity.watch.damage or integrity.why_not_writable(session)
    except SQLAlchemyError as error:
        return integrity.explain(error)


def _artifacts() -> str | None:
    try:
        return get_store().why_not_writable()
    except StoreError as error:
        return str(error)
