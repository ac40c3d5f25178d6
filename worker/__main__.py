"""`ncore worker`, that is `python -P -m worker`: a worker on this machine, with a child for each GPU, or NCORE_WORKERS
children on the CPU. Without `-P` Python takes a `worker.py` or an `api/` of the current folder, before this is read."""

from __future__ import annotations

import os
import socket
import sys

from api import home
from api.broker import QUEUES
from api.settings import SettingsError, environment, get_settings
from worker import gpus

SPIN_COUNT = "1000"
"""Turns that an idle thread of torch waits before it sleeps. By its own default threads wait for each other on a busy
machine (ResNet18 with two threads on two cores at load 9: 15 steps did not end in 60 s, and took 0.4 s each with this);
on a quiet one it makes no difference (117 and 116 ms a step)."""


def main() -> None:
    os.umask(0o077)  # what a worker leaves is for its owner only
    try:
        settings = get_settings()
        home.prepare(settings.home)
        names = gpus.chosen(settings.gpus)
    except (SettingsError, gpus.GpuError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    os.chdir(settings.home)  # not the user's folder, whose modules Celery would import
    os.environ |= environment(settings)
    os.environ["NCORE_GPUS"] = ",".join(names) or "none"  # settled here once, for the children
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    get_settings.cache_clear()
    from worker.app import app

    heard = [QUEUES[name] for name in gpus.queues(names)]
    options = ["--pool", "prefork", "--concurrency", str(len(names) or settings.workers), "--loglevel", "WARNING"]
    name = f"{'gpu' if names else 'cpu'}-{os.getpid()}@{socket.gethostname()}"
    app.worker_main(["worker", *options, "--hostname", name, "--queues", ",".join(heard)])


if __name__ == "__main__":
    main()
