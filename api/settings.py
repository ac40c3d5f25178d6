"""Settings: environment variables with the prefix NCORE_, one table of them in the README."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import lru_cache
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LONGEST_SOCKET_PATH = 100


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="NCORE_", extra="ignore")

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
    port: int = Field(default=8000, description="port that the API listens on; 0: any free one")
    workers: int = Field(default=1, ge=1, description="worker processes that `ncore up` starts; CPU children of one")
    threads: int | None = Field(
        default=None, ge=1, description="of a worker's child; empty: the cores shared out evenly"
    )
    gpus: str = Field(default="auto", description="a worker's GPUs: auto (all; the CPU if none), none, or indexes: 0,2")
    gpu_wait_seconds: float = Field(default=300.0, ge=0, description="how long a GPU worker that is away is waited for")
    worker_memory_bytes: int | None = Field(
        default=None, gt=0, description="a CPU worker's memory; empty: NCORE_MAX_MEMORY_BYTES and 4 GiB for libraries"
    )
    max_body_bytes: int = Field(default=1_000_000, description="largest body of a request")
    max_memory_bytes: int = Field(default=16 * 2**30, description="largest estimated memory of an experiment")
    max_measurements: int = Field(default=2_000_000, description="most measurements (seeds x points) of an experiment")
    max_queued: int = Field(default=20_000, description="most experiments in the queue")
    lease_seconds: float = Field(default=10.0, gt=0, description="how long a silent worker keeps its experiment")
    heartbeat_seconds: float = Field(default=2.0, gt=0, description="how often a worker renews its lease")
    checkpoint_seconds: float = Field(default=20.0, ge=0, description="least time between two checkpoints")
    resend_seconds: float = Field(default=5.0, gt=0, description="age at which a queued experiment is sent again")
    max_attempts: int = Field(
        default=3, ge=1, description="crashes without progress between, after which an experiment has failed"
    )

    @field_validator("home", "data_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().resolve() if value else None

    @field_validator("tokens", "read_tokens")
    @classmethod
    def _holds_a_token(cls, value: str, info: ValidationInfo) -> str:
        """An empty list is what an open service is asked for by; a list without a token is a mistake."""
        if value and not _words(value):
            raise ValueError(f"NCORE_{info.field_name}: ".upper() + f"no token in {value!r}; leave it out or empty")
        return value

    @property
    def database(self) -> str:
        """The URL with a driver that is installed."""
        url = self.database_url
        if not url:
            return f"sqlite:///{self.home / 'ncore.db'}"
        scheme, _, rest = url.partition("://")
        return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else url

    @property
    def broker(self) -> str:
        if self.broker_url:
            return self.broker_url
        path = self.home / "broker.sock"
        if len(str(path)) > LONGEST_SOCKET_PATH:
            digest = hashlib.sha256(str(self.home).encode()).hexdigest()[:16]
            path = Path(tempfile.gettempdir()) / f"ncore-{digest}.sock"
        return f"redis+socket://{path}"

    @property
    def worker_memory(self) -> int:
        """Bytes that a CPU worker can allocate."""
        return self.worker_memory_bytes or self.max_memory_bytes + 4 * 2**30

    @property
    def worker_threads(self) -> int:
        return self.threads or max(1, (os.cpu_count() or 1) // self.workers)

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


@lru_cache
def get_settings() -> Settings:
    return Settings()
