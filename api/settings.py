"""Settings: environment variables with the prefix NCORE_, one table of them in the README."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from annotated_types import Ge, Le
from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from api import addresses

DAY_SECONDS = 86_400.0
MOST_BYTES = 2**62
MOST_PROCESSES = 1024
IN_WORDS = {"gpus": "auto, none or indexes like 0,2", "cuda_graphs": "auto or none"}
"""What is allowed where a pattern says it."""


class SettingsError(ValueError):
    """Settings that cannot be used: a line each, naming the variable, the value and what is allowed."""


class Settings(BaseSettings):
    """All settings. A variable that is set but empty counts as not set."""

    model_config = SettingsConfigDict(env_prefix="NCORE_", extra="ignore", env_ignore_empty=True, allow_inf_nan=False)

    home: Path = Field(default=Path("var"), description="where database, broker's file, checkpoints and logs are kept")
    database_url: str = Field(default="", description="SQLAlchemy URL; empty: SQLite in NCORE_HOME")
    broker_url: str = Field(default="", description="redis:// URL; empty: an embedded server in NCORE_HOME")
    artifacts: str = Field(
        default="", description="folder or URL (s3://…) of artifacts; empty: experiments in NCORE_HOME"
    )
    data_dir: Path | None = Field(default=None, description="where networks find their data sets")
    tokens: str = Field(default="", description="bearer tokens, comma-separated; empty: no token is asked for")
    read_tokens: str = Field(default="", description="bearer tokens that may read and change nothing, comma-separated")
    allowed_hosts: str = Field(
        default="", description="names under which browsers reach the API without tokens, comma-separated; *: any"
    )
    host: str = Field(default="127.0.0.1", description="address that the API listens on")
    port: int = Field(default=8000, ge=0, le=65_535, description="port that the API listens on; 0: any free one")
    workers: int = Field(
        default=1,
        ge=1,
        le=MOST_PROCESSES,
        description="worker processes that `ncore up` starts; CPU children of one",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=MOST_PROCESSES,
        description="of a worker's child; empty: the cores shared out evenly",
    )
    gpus: str = Field(
        default="auto",
        pattern=r"^(auto|none|\s*[0-9]{1,4}\s*([,+]\s*[0-9]{1,4}\s*)*)$",
        description="a worker's GPUs: auto (all; the CPU if none), none, or indexes: 0,2; 0+1 gives one child two",
    )
    cuda_graphs: str = Field(
        default="auto",
        pattern="^(auto|none)$",
        description="auto: steps on a GPU are captured as CUDA graphs and replayed; none: never",
    )
    gpu_wait_seconds: float = Field(
        default=300.0, ge=0, le=30 * DAY_SECONDS, description="how long a GPU worker that is away is waited for"
    )
    worker_memory_bytes: int | None = Field(
        default=None,
        ge=1,
        le=MOST_BYTES,
        description="a CPU worker's memory; empty: NCORE_MAX_MEMORY_BYTES and 4 GiB for libraries",
    )
    max_body_bytes: int = Field(default=1_000_000, ge=1, le=2**31, description="largest body of a request")
    max_measure_bytes: int = Field(
        default=2**27, ge=1, le=2**31, description="largest file, and arrays in it, that POST /measure takes"
    )
    max_memory_bytes: int = Field(
        default=16 * 2**30, ge=1, le=MOST_BYTES, description="largest estimated memory of an experiment"
    )
    max_measurements: int = Field(
        default=2_000_000, ge=1, le=2**31 - 1, description="most measurements (seeds x points) of an experiment"
    )
    max_queued: int = Field(default=20_000, ge=0, le=2**31 - 1, description="most experiments in the queue")
    lease_seconds: float = Field(
        default=10.0,
        ge=0.1,
        le=DAY_SECONDS,
        description="how long a silent worker keeps its experiment; a silent loop is lost then",
    )
    heartbeat_seconds: float = Field(
        default=2.0, ge=0.05, le=DAY_SECONDS, description="how often a worker renews its lease"
    )
    checkpoint_seconds: float = Field(
        default=20.0, ge=0, le=30 * DAY_SECONDS, description="least time between two checkpoints"
    )
    resend_seconds: float = Field(
        default=5.0, ge=0.1, le=DAY_SECONDS, description="age at which a queued experiment is sent again"
    )
    batch: int = Field(
        default=256, ge=1, le=4096, description="most experiments that a worker trains as one batch; 1: each alone"
    )
    max_compared: int = Field(default=200, ge=1, le=2000, description="most experiments in one comparison")
    max_attempts: int = Field(
        default=3,
        ge=1,
        le=1_000_000,
        description="crashes without progress between, after which an experiment has failed",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        if isinstance(value, str) and value and not value.strip():
            raise ValueError(f"must not be blank; got {addresses.shown(value)}; unset it for its default")
        if isinstance(value, str) and not value.isascii() and not _is_utf8(value):
            raise ValueError("must be text in UTF-8; got other bytes")
        return value

    @field_validator("home", "data_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else addresses.absolute(value)

    @field_validator("host")
    @classmethod
    def _bare(cls, value: str) -> str:
        return value.strip().removeprefix("[").removesuffix("]")

    @field_validator("database_url")
    @classmethod
    def _is_a_database(cls, value: str) -> str:
        return addresses.database(value.strip()) if value else value

    @field_validator("broker_url")
    @classmethod
    def _is_a_broker(cls, value: str) -> str:
        return addresses.broker(value.strip()) if value else value

    @field_validator("artifacts")
    @classmethod
    def _is_a_store(cls, value: str) -> str:
        return addresses.store(value) if value else value

    @field_validator("tokens", "read_tokens")
    @classmethod
    def _holds_one(cls, value: str) -> str:
        if value and not _words(value):
            raise ValueError(f"must be tokens with commas between them; got {addresses.shown(value)}, which has none")
        return value

    @property
    def database(self) -> str:
        """The URL with a driver that is installed."""
        return self.database_url or addresses.sqlite(self.home / "ncore.db")

    @property
    def broker(self) -> str:
        """The URL as Celery wants it."""
        return self.broker_url or f"redis+socket://{self.broker_socket}"

    @property
    def broker_socket(self) -> Path:
        """Where the embedded broker listens."""
        return addresses.socket_path(self.home)

    @property
    def worker_memory(self) -> int:
        """Bytes that a CPU worker can allocate."""
        return self.worker_memory_bytes or self.max_memory_bytes + 4 * 2**30

    @property
    def worker_threads(self) -> int:
        return self.threads or max(1, (os.cpu_count() or 1) // self.workers)

    @property
    def beat_seconds(self) -> float:
        """Time between two signs of life of a worker: a lease outlasts the loss of one, however short it is set."""
        return min(self.heartbeat_seconds, self.lease_seconds / 3)

    @property
    def token_set(self) -> frozenset[str]:
        return _words(self.tokens)

    @property
    def read_token_set(self) -> frozenset[str]:
        return _words(self.read_tokens)

    @property
    def asks_for_tokens(self) -> bool:
        return bool(self.token_set or self.read_token_set)

    @property
    def allowed_host_set(self) -> frozenset[str]:
        return frozenset(host.lower().rstrip(".") for host in _words(self.allowed_hosts))


def _words(listed: str) -> frozenset[str]:
    return frozenset(word.strip() for word in listed.split(",") if word.strip())


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # what the system could not decode
        return False
    return True


def _in_words(error: ErrorDetails) -> str:
    """One line, e.g. "NCORE_PORT: must be a whole number from 0 to 65535; got '-1'"."""
    name = str(error["loc"][0])
    if error["type"] == "value_error":
        message = str(error["ctx"]["error"])
    else:
        message = f"must be {_allowed(name)}; got {addresses.shown(error['input'])}"
    return f"NCORE_{name.upper()}: {message}"


def _allowed(name: str) -> str:
    field = Settings.model_fields[name]
    if name in IN_WORDS:
        return IN_WORDS[name]
    least = next((m.ge for m in field.metadata if isinstance(m, Ge)), None)
    most = next((m.le for m in field.metadata if isinstance(m, Le)), None)
    if least is None or most is None:
        return "text"
    if field.annotation is float:
        return f"a number from {least:g} to {most:g}"
    return f"a whole number from {least} to {most}"


def read_settings(**given: Any) -> Settings:
    """The settings of the environment, some of them `given`. Raises SettingsError."""
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("\n".join(_in_words(one) for one in error.errors())) from None


def environment(settings: Settings) -> dict[str, str]:
    """The settings as variables for another process, whatever its current folder."""
    return {
        f"NCORE_{name.upper()}": str(value)
        for name, value in settings.model_dump().items()
        if value is not None and value != ""
    }


@lru_cache
def get_settings() -> Settings:
    """The settings of the environment, read once. Raises SettingsError."""
    return read_settings()
