"""The queue is a wake-up call for the workers: rows decide what is run; only an id crosses it, after commit."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from api.settings import get_settings

if TYPE_CHECKING:  # imported where they are used: the API is up sooner
    import redis
    from celery import Celery

TASK = "ncore.run"
QUEUES = {"cpu": "ncore.cpu", "gpu": "ncore.gpu"}
"""Names on the broker of the wake-up calls for each kind of worker; a GPU worker listens to both."""

START_SECONDS = 120.0
"""A child of a worker imports torch and asks for its GPU before it is up; one that takes longer is killed."""


@lru_cache
def get_celery() -> Celery:
    """The Celery application that both sides share; the worker binds TASK, the API only sends its name."""
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
        broker_transport_options={"socket_timeout": 10, "socket_connect_timeout": 3, "retry_on_timeout": True},
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


@lru_cache
def get_redis() -> redis.Redis:
    import redis

    url = get_settings().broker.replace("redis+socket://", "unix://")
    return redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=2)


def waiting() -> dict[str, int] | None:
    """Wake-up calls that no worker of each kind has taken yet; None when the broker is away."""
    from redis import RedisError

    try:
        return {kind: int(get_redis().llen(name)) for kind, name in QUEUES.items()}
    except RedisError:
        return None
