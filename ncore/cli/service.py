"""The service of this installation: where its code lies, and the commands that are its own."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

import ncore


def service_folder() -> Path:
    """The folder that holds the packages `api`, `worker` and `migrations`: within the wheel, or the checkout's top."""
    package = Path(ncore.__file__).parent
    inside = package / "_service"
    return inside if inside.is_dir() else package.parent


def hand_over(given: Namespace) -> int:
    """Replaces this process by `python -m api COMMAND` or `python -m worker`, free of the current folder's modules."""
    rest = ["--port", str(given.port)] if getattr(given, "port", None) is not None else []
    module = ["worker"] if given.command == "worker" else ["api", given.command]
    command = [sys.executable, "-m", *module, *rest]
    sys.stdout.flush()
    os.execve(sys.executable, command, {**os.environ, **search_path()})


def search_path() -> dict[str, str]:
    """The environment under which Python finds the service's packages first, and never those of the current folder."""
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(service_folder()), *(path for path in known if path and Path(path).is_absolute())]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
