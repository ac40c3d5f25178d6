"""The tables: an experiment is a row, a measurement is a row with all metrics of one seed at one step."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    case,
    false,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ncore.kinds.external import EXTERNAL


class Moment(TypeDecorator[datetime]):
    """A time in UTC, on SQLite too, which forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return secrets.token_hex(6)


class Table(DeclarativeBase):
    type_annotation_map: ClassVar = {datetime: Moment, dict[str, Any]: JSON, list[str]: JSON}


class Experiment(Table):
    """One submitted spec with its state and results. `status`: see `api.database.states`."""

    __tablename__ = "experiments"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(200))
    search: Mapped[str] = mapped_column(Text, server_default="")
    """The name as search compares it."""
    kind: Mapped[str] = mapped_column(String(32))
    tags: Mapped[list[str]]
    status: Mapped[str] = mapped_column(String(16), default="queued")
    spec: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    queued_at: Mapped[datetime] = mapped_column(default=now)
    sent_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    step: Mapped[int] = mapped_column(Integer, default=0)
    total: Mapped[int] = mapped_column(Integer, default=0)
    eta_seconds: Mapped[float | None] = mapped_column(Float)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    crashes: Mapped[int] = mapped_column(Integer, default=0)
    """Workers lost since the last progress; 0 again when `kept_step` grows."""
    lost_workers: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Workers lost over the whole life of the experiment."""
    kept_step: Mapped[int] = mapped_column(Integer, default=-1, server_default="-1")
    """The furthest step whose measurement or checkpoint is kept; -1 before the first."""
    worker: Mapped[str | None] = mapped_column(String(200))
    device: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    error: Mapped[str | None] = mapped_column(Text)
    result: Mapped[dict[str, Any] | None]
    last_seq: Mapped[int] = mapped_column(Integer, default=0)
    idempotency_key: Mapped[str | None] = mapped_column(String(255), unique=True)
    body_hash: Mapped[str | None] = mapped_column(String(64))
    priority: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    queue: Mapped[str] = mapped_column(String(8), default="cpu", server_default="cpu")
    """`gpu` for what a GPU worker should have, `gpus` where it needs several GPUs of one, else `cpu`."""
    sweep_id: Mapped[str | None] = mapped_column(String(32))
    sweep_index: Mapped[int | None] = mapped_column(Integer)
    notes: Mapped[str] = mapped_column(Text, server_default="", default="")
    """Markdown."""
    archived: Mapped[bool] = mapped_column(default=False, server_default=false())
    updated_at: Mapped[datetime | None]
    """Time of the last change to name, tags, notes, priority or `archived`; None: as submitted."""

    point: Mapped[dict[str, Any] | None]
    """The combination in its sweep: {dotted path: value}."""
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """The summary that tables and pictures of a sweep read (`ncore.sweeps.summary`)."""

    @hybrid_property
    def devices(self) -> int:
        """How many devices train it."""
        return int(self.spec.get("devices", 1))

    @devices.inplace.expression
    @classmethod
    def _devices(cls) -> ColumnElement[int]:
        return cls.spec["devices"].as_integer()

    @hybrid_property
    def source(self) -> str:
        """The one who measures it: `external` is its owner's loop, `service` a worker of this service."""
        return "external" if self.kind == EXTERNAL else "service"

    @source.inplace.expression
    @classmethod
    def _source(cls) -> ColumnElement[str]:
        return case((cls.kind == EXTERNAL, "external"), else_="service")

    __table_args__ = (
        Index("ix_experiments_in_lists", "created_at", "id", "archived", "status", "sweep_id"),
        Index("ix_experiments_in_order_of_claim", "status", "queue", priority.desc(), "queued_at", "id"),
        Index("ix_experiments_by_themselves", "status", "queue", "priority", "sweep_id", "queued_at"),
        Index("ix_experiments_sweep_id_sweep_index", "sweep_id", "sweep_index"),
    )


class Sweep(Table):
    """One experiment for each combination of the values of `axes`, {dotted path: values}, set in the spec `base`.

    `request` is how they were asked for. While it is `refining`, more are added when all have ended: `round` of it.
    """

    __tablename__ = "sweeps"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)
    base: Mapped[dict[str, Any]]
    axes: Mapped[dict[str, Any]]
    total: Mapped[int] = mapped_column(Integer)
    request: Mapped[dict[str, Any] | None]
    refining: Mapped[bool] = mapped_column(default=False, server_default=false())
    round: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    idempotency_key: Mapped[str | None] = mapped_column(String(255), unique=True)
    body_hash: Mapped[str | None] = mapped_column(String(64))

    __table_args__ = (Index("ix_sweeps_created_at_id", "created_at", "id"),)


class MeasurementRow(Table):
    """`values` is {"metric layer": number or null}, the layer left out where there is none; `seq` counts the rows.

    `geometry`, at some steps: what `ncore.geometry.unpacked` reads. It is read by who asks for it alone.
    """

    __tablename__ = "measurements"

    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True)
    seed: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    step: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(Integer)
    at: Mapped[datetime] = mapped_column(default=now)
    values: Mapped[dict[str, Any]]
    geometry: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)

    __table_args__ = (Index("ix_measurements_experiment_id_seq", "experiment_id", "seq"),)


class Fact(Table):
    """One value of an experiment under the name that queries know: `config.…`, `final.…` and a few of their own.

    A number, a text (true and false too, and lists as JSON), or both, where a list has only one number in it. A final
    value is the median over the seeds, between `low` and `high`.
    """

    __tablename__ = "facts"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[float | None] = mapped_column(Float)
    text: Mapped[str | None] = mapped_column(String(200))
    low: Mapped[float | None] = mapped_column(Float)
    high: Mapped[float | None] = mapped_column(Float)

    __table_args__ = (
        Index("ix_facts_experiment_id", "experiment_id"),
        Index("ix_facts_values", "name", "number", "text", "experiment_id").ddl_if(dialect="postgresql"),
        {"sqlite_with_rowid": False},  # the values of one name lie side by side
    )


class LogLine(Table):
    """One event of an experiment, written in the transaction of the change itself."""

    __tablename__ = "log_lines"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiments.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(default=now)
    level: Mapped[str] = mapped_column(String(8), default="info")
    event: Mapped[str] = mapped_column(String(32))
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    worker: Mapped[str | None] = mapped_column(String(200))
    detail: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_log_lines_experiment_id_id", "experiment_id", "id"),)


class WorkerRow(Table):
    """A process that trains experiments, as of its last heartbeat. `kind` is `gpu` or `cpu`."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))
    device: Mapped[str] = mapped_column(String(200))
    gpus: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """How many GPUs it trains on; 0 on the CPU."""
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    used_bytes: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (Index("ix_workers_kind_seen_at", "kind", "seen_at"),)
