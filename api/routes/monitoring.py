"""/metrics: what Prometheus scrapes. Rows are counted in the database, so that all API processes report the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Select, func, select
from sqlalchemy.exc import SQLAlchemyError

from api import broker
from api.database.parts import VISIBLE
from api.database.sessions import reading
from api.database.tables import Experiment
from api.web.errors import PROBLEMS
from ncore.status import STATUSES

router = APIRouter(tags=["health"], responses=PROBLEMS)


class Rows(Collector):
    """The contents of database and broker at the time of the scrape; nothing from one that is unreachable."""

    def describe(self) -> list[Metric]:
        return []  # else the database would be asked at the registration, when it may not be there yet

    def collect(self) -> Iterator[Metric]:
        try:
            yield from _counts()
        except SQLAlchemyError:
            yield GaugeMetricFamily("ncore_database_up", "Whether the database answers", 0)
        calls = broker.waiting()
        yield GaugeMetricFamily("ncore_broker_up", "Whether the broker answers", int(calls is not None))
        if calls is not None:
            family = GaugeMetricFamily("ncore_queue_calls", "Wake-up calls that no worker has taken", labels=["kind"])
            for kind, count in calls.items():
                family.add_metric([kind], count)
            yield family


def _counts() -> Iterator[Metric]:
    columns = (func.count(), func.sum(Experiment.last_seq), func.sum(Experiment.lost_workers))
    with reading() as session:
        rows = session.execute(select(Experiment.status, *columns).where(VISIBLE).group_by(Experiment.status)).all()
        timed = session.execute(_durations(session.get_bind().dialect.name)).all()
    found = {status: count for status, count, _, _ in rows}
    experiments = GaugeMetricFamily("ncore_experiments", "Experiments by status", labels=["status"])
    for status in STATUSES:
        experiments.add_metric([status], found.get(status, 0))
    yield GaugeMetricFamily("ncore_database_up", "Whether the database answers", 1)
    yield experiments
    yield GaugeMetricFamily("ncore_measurements", "Measurements sent by workers", sum(row[2] for row in rows))
    durations = SummaryMetricFamily("ncore_experiment_seconds", "From the first start to the end", labels=["status"])
    for status, count, seconds in timed:
        durations.add_metric([status], count, float(seconds or 0.0))
    yield durations
    yield CounterMetricFamily("ncore_lost_workers", "Leases taken back from workers", sum(row[3] for row in rows))


def _durations(dialect: str) -> Select[str, int, Any]:
    """Counts experiments that have ended, and adds up their seconds, by status."""
    start, end = Experiment.started_at, Experiment.finished_at
    postgresql, sqlite = func.extract("epoch", end - start), (func.julianday(end) - func.julianday(start)) * 86_400
    seconds = func.sum(postgresql if dialect == "postgresql" else sqlite)
    query = select(Experiment.status, func.count(), seconds).where(VISIBLE, start.is_not(None), end.is_not(None))
    return query.group_by(Experiment.status)


REGISTRY.register(Rows())


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def get_monitoring() -> Response:
    """Prometheus text: requests of this process, experiments and queue of the whole service."""
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
