"""The name of a worker: its machine and its process."""

from __future__ import annotations

import socket


def name_of(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}"


def host_of(name: str) -> str:
    return name.rpartition(":")[0]
