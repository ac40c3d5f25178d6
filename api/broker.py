"""The queue is a wake-up call for the workers: rows decide what is run; only an id crosses it, after commit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from api.settings import get_settings

if TYPE_CHECKING:  # imported where they are used: the API is up sooner
    import redis
    from celery import Celery

TASK = "ncore.run"
QUEUES = {"cpu": "ncore.cpu", "gpu": "ncore.gpu", "gpus": "ncore.gpus"}
"""Names on the broker of the wake-up calls for each queue of experiments. A GPU worker listens to the first two, and to
the last where one of its children has several GPUs."""

PROBE, PROBE_SECONDS = "ncore.probe", 60
"""A key that is written, for so long, to see whether the broker takes anything."""

START_SECONDS = 120.0
"""A child of a worker imports torch and asks for its GPU before it is up; one that takes longer is killed."""

OVERRULING = ("BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND", "CONFIG_MODULE", "LOADER")
"""Variables CELERY_… of other projects that Celery would obey more than what it is given here."""

AT_ONCE: Mapping[str, Any] = {"max_retries": 1, "interval_start": 0}
"""A broker that is away is asked twice, without a pause: nobody waits for it, since the reconciler sends again."""


@lru_cache
def get_celery() -> Celery:
    """The Celery application that both sides share; the worker binds TASK, the API only sends its name."""
    for name in (*OVERRULING, "CUSTOM_WORKER_POOL"):
        os.environ.pop(f"CELERY_{name}", None)
    from celery import Celery

    app = Celery("ncore", broker=get_settings().broker, set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUES["cpu"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_pool_start_method="spawn",  # children import afresh, so that CUDA and OpenMP work in them
        worker_proc_alive_timeout=START_SECONDS,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_retry=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "retry_on_timeout": True,
            **AT_ONCE,
        },
        task_publish_retry=False,
    )
    return app


def send(experiment_id: str, kind: str) -> bool:
    """Wakes a worker of this kind. False when the broker is away: the reconciler will send it again."""
    try:
        get_celery().send_task(TASK, args=[experiment_id], queue=QUEUES[kind], retry=False)
    except Exception as error:
        if not _is_connection_error(error):
            raise
        return False
    return True


def _is_connection_error(error: Exception) -> bool:
    from kombu.exceptions import OperationalError
    from redis import RedisError

    return isinstance(error, (OperationalError, RedisError, OSError))


@contextmanager
def _connected() -> Iterator[redis.Redis]:
    """A client on a connection made anew by Celery's own means: it reaches what a worker reaches that is started now.

    One that was made earlier would not do: it still leads to a server whose socket is gone.
    """
    with get_celery().connection_for_write() as connection:
        connection.ensure_connection(**AT_ONCE, reraise_as_library_errors=False)
        client: redis.Redis = connection.channel().client  # type: ignore[attr-defined]
        yield client


def waiting() -> dict[str, int] | None:
    """Wake-up calls that no worker of each kind has taken yet; None when the broker is away."""
    try:
        with _connected() as client:
            return {kind: int(client.llen(name)) for kind, name in QUEUES.items()}
    except Exception as error:
        if not _is_connection_error(error):
            raise
        return None


def why_not_sending() -> str | None:
    """Why a wake-up call would not come through now; None where it would."""
    try:
        with _connected() as client:
            client.set(PROBE, b"", ex=PROBE_SECONDS)
    except Exception as error:
        if not _is_connection_error(error):
            raise
        return str(error)
    return None
