"""/healthz: the process is alive. /readyz: database and broker are reached."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api import broker
from api.database.sessions import reading
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
    """503 naming what is not reached."""
    away = []
    try:
        with reading() as session:
            session.execute(text("SELECT 1 FROM experiments LIMIT 1"))
    except SQLAlchemyError:
        away.append("database")
    if broker.waiting() is None:
        away.append("broker")
    if away:
        faults = [{"field": name, "message": "is not reached"} for name in away]
        raise Problem(503, f"not reached: {', '.join(away)}", faults, headers={"Retry-After": "2"})
    return Health(status="ready")
