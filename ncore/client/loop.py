"""An experiment in anybody's training loop.

>>> import ncore
>>> with ncore.start("my CNN", config={"lr": 0.1}, classes=10) as run:
...     for epoch in range(100):
...         run.log(epoch, probe(loader), loss=loss)
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, SupportsIndex

from ncore.client.client import Client
from ncore.client.given import as_json, check_counts, check_mapping, name_of, number_of, step_of
from ncore.client.sending import Sender, SendingThread
from ncore.client.spool import Line, Spool, root_of, spools_in
from ncore.faults import shortened
from ncore.plain import plain
from ncore.presets import spec_of
from ncore.rows import MAX_SEED
from ncore.series import metric_and_layer
from ncore.spec import AnySpec
from ncore.status import ENDED
from ncore.text import escaped

if TYPE_CHECKING:
    from ncore.geometry import Shape

log = logging.getLogger("ncore")
FIRST_SECONDS = 2.0
"""How long `start` waits for the service, so that the id is there at once where it answers."""
MAX_REASON = 2000
Given = Mapping[Any, Any]
"""{metric: value} or {(metric, layer): value}, as `Probe` gives it."""


def start(
    name: str = "",
    *,
    config: Mapping[str, Any] | None = None,
    tags: str | Sequence[str] = (),
    classes: int | None = None,
    layers: str | Sequence[str] = (),
    steps: int | None = None,
    theory: str | Mapping[str, Any] | AnySpec | None = None,
    seed: int = 0,
    url: str | None = None,
    token: str | None = None,
    offline: bool = False,
    id: str | None = None,  # noqa: A002 (the interface's name)
    resume: bool = False,
    folder: str | os.PathLike[str] | None = None,
) -> LoggedRun:
    """Begins an experiment that this process trains and measures itself; `log` on what is returned sends to it.

    Args:
        name, tags, config: shown with it; what JSON does not have is kept of `config` as text.
        classes, layers: K, and layers in the order of the forward pass; others are added as they are measured.
        steps: the last step that it will log, where that is known: for the progress.
        theory: a UFM (spec, dict or preset's name) whose prediction stands beside what is measured.
        seed: of what this process logs. Processes with a seed each share an experiment by `id`.
        url, token: the service's, as for Client.
        offline: keeps everything in a folder, which `ncore sync` sends later.
        id: an experiment to go on with; one that has failed or was cancelled is running again.
        resume: continues the last run of this name in `folder` that has not ended, if there is one.
        folder: where the runs' folders are; NCORE_RUNS, else `ncore-runs`, unless given.

    Raises SpecError (a ValueError) for what is no name, tag, …; never for a service that is away.
    """
    model = {"kind": "external", "classes": classes, "layers": _several(layers), "steps": steps}
    body: dict[str, Any] = {"name": name, "tags": _several(tags), "model": model}
    model["config"] = as_json(config or {}, "config")
    if theory is not None:
        body["theory"] = {"preset": theory} if isinstance(theory, str) else plain(theory)
    spec = spec_of(body)
    if type(seed) is not int or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed: must be a whole number from 0 to {MAX_SEED}; got {shortened(seed)}")
    root = root_of(folder)
    spool = _begun_before(root, name, seed, id) if resume or id is not None else None
    if spool is None:
        spool = _created(root, {"body": spec.model_dump(mode="json"), "url": url, "seed": seed, "id": id})
    if spool.state["id"] is not None or spool.unsent_bytes:
        spool.append({"begun": time.time()})
    return LoggedRun(spool, seed, None if offline else Client(url or spool.about["url"], token, 20.0, 0.0))


def _several(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def _created(root: Path, about: dict[str, Any]) -> Spool:
    """A new folder in `root`; a temporary one where that cannot be written: training goes on."""
    try:
        return Spool.create(root, about)
    except OSError as error:
        instead = Path(tempfile.mkdtemp(prefix="ncore-runs-"))
        log.warning("%s cannot be written (%s); what is logged is kept in %s", root, error, instead)
        return Spool.create(instead, about)


def _begun_before(root: Path, name: str, seed: int, experiment_id: str | None) -> Spool | None:
    """The last run in `root` with this id, or of this name without an end, and with this seed."""
    for spool in reversed(spools_in(root)):
        is_it = spool.about["body"]["name"] == name and not spool.state["ended"]
        if spool.about["seed"] == seed and (spool.state["id"] == experiment_id if experiment_id else is_it):
            return spool
    return None


class LoggedRun:
    """An experiment that this process measures. `log` writes to a folder; a thread sends from there.

    `cancelled` is true once a user has cancelled it; training goes on unless the loop looks at it.
    """

    def __init__(self, spool: Spool, seed: int, client: Client | None) -> None:
        self._spool, self._seed, self._owner = spool, seed, os.getpid()
        self._names: dict[Any, str] = {}
        model = spool.about["body"]["model"]
        self._metrics, self._layers = set(model["metrics"]), set(model["layers"])
        self._known: set[str] = set()
        self._is_over = False
        self._probed = 0
        self._left_out: tuple[Line, Sequence[Shape]] | None = None
        self._error_before = getattr(sys, "last_value", None)
        self._client = client
        self._thread = None if client is None else SendingThread(Sender(spool, client))
        if self._thread is not None:
            self._thread.start()
            self._thread.tried.wait(FIRST_SECONDS)
        atexit.register(self._at_exit)

    @property
    def id(self) -> str | None:
        """The experiment's id; None until a service has answered."""
        found: str | None = self._spool.state["id"]
        return found

    @property
    def folder(self) -> Path:
        """Its folder: permanent if it is offline, else until the service has everything."""
        return self._spool.folder

    @property
    def url(self) -> str | None:
        """Address of its page on the dashboard; None until a service has answered."""
        return None if self._client is None or self.id is None else f"{self._client.url}/#/experiments/{self.id}"

    @property
    def cancelled(self) -> bool:
        return self._thread is not None and self._thread.cancelled

    def __repr__(self) -> str:
        return f"LoggedRun({self._spool.about['body']['name']!r}, id={self.id!r}, folder={str(self.folder)!r})"

    def log(self, step: SupportsIndex, values: Given | None = None, **metrics: Any) -> None:
        """Keeps the values of one step: {(metric, layer): value} or {metric: value}, and keywords as metrics without
        a layer. NaN, infinities and None are kept as undefined. What is logged again for a step adds metrics to it; a
        value that a metric has there already is kept.

        `values` as a `Probe` has given them carry the geometry too, which is sent at up to 50 steps, at each second one
        of the next 50, each fourth of the next 100, and so on, and at the last; the service keeps up to 50 of these.

        Raises ValueError or TypeError for what is no step, name or number; never for a service that is away.
        """
        if self._is_over:
            raise ValueError("log: the run has been finished")
        number, found = step_of(step), dict[str, float]()
        for given in (values, metrics):
            if given is not None:
                check_mapping(given)
                for key, value in given.items():
                    name = self._names.get(key) or self._new_name(key)
                    found[name] = value if type(value) is float else number_of(value, name)
        if not found.keys() <= self._known:
            self._admit(found)
        if found:
            line = {"seed": self._seed, "step": number, "values": found}
            self._append(line, getattr(values, "geometry", ()))

    def _append(self, line: Line, geometry: Sequence[Shape]) -> None:
        """Writes the line, with the geometry where it is its turn: the file would grow without bounds else."""
        if geometry:
            from ncore.geometry import MOST_KEPT_STEPS

            stride = 1 << (self._probed // MOST_KEPT_STEPS).bit_length()
            is_due = self._probed % stride == 0
            self._probed += 1
            self._left_out = None if is_due else (line, geometry)
            line = _with_geometry(line, geometry) if is_due else line
        self._spool.append(line)

    def _append_last(self) -> None:
        """Writes the last geometry, if it was not its turn."""
        if self._left_out is not None:
            line, geometry = self._left_out
            self._left_out = None
            self._spool.append(_with_geometry(line, geometry))

    def _new_name(self, key: Any) -> str:
        self._names[key] = name = name_of(key)
        return name

    def _admit(self, found: Collection[str]) -> None:
        """Takes names that are new. Raises ValueError where an experiment would have too many."""
        try:
            metrics, layers = check_counts([metric_and_layer(name) for name in found], self._metrics, self._layers)
        except ValueError:
            self._names.clear()
            raise
        self._metrics, self._layers, self._known = metrics, layers, self._known | set(found)

    def finish(self, status: str | None = None, reason: str | None = None, wait_seconds: float = 60.0) -> None:
        """Ends it: `succeeded` (unless it was cancelled), `failed` with a reason, or `cancelled`.

        Waits until the service has everything, at most so long, and some seconds for one that does not answer; what
        is left then `ncore sync` sends.
        """
        status = status or ("failed" if reason else "cancelled" if self.cancelled else "succeeded")
        if status not in ENDED:
            raise ValueError(f"status: must be one of {', '.join(ENDED)}; got {status!r}")
        if self._is_over or os.getpid() != self._owner:
            return
        message = escaped(str(reason)[:MAX_REASON])[:MAX_REASON] if reason and status == "failed" else None
        self._append_last()
        self._spool.append({"ended": status, "reason": message})
        self._close(wait_seconds)

    def close(self, wait_seconds: float = 60.0) -> None:
        """Sends what is left and leaves the experiment open: for all but one of several processes that log to it."""
        if not self._is_over and os.getpid() == self._owner:
            self._append_last()
            self._close(wait_seconds)

    def _close(self, wait_seconds: float) -> None:
        self._is_over = True
        atexit.unregister(self._at_exit)
        if self._thread is None or self._client is None:
            self._spool.close()
            return
        self._thread.drain(wait_seconds)
        if self._spool.unsent_bytes:
            log.warning("%s has what the service has not: `ncore sync %s` sends it", self, self.folder)
            self._spool.close()
        elif self._spool.state["ended"]:
            self._spool.remove()
        if not self._thread.is_alive():
            self._client.transport.close()

    def __enter__(self) -> LoggedRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del trace
        if error is None or (isinstance(error, SystemExit) and not error.code):
            self.finish()
        else:
            self.finish("failed", _reason(kind, error))

    def _at_exit(self) -> None:
        """A script that ends without `finish`: as failed where an exception has ended it."""
        error = getattr(sys, "last_value", None)
        if error is not None and error is not self._error_before:
            self.finish("failed", _reason(type(error), error))
        else:
            self.finish()


def _with_geometry(line: Line, geometry: Sequence[Shape]) -> Line:
    from ncore.sent_geometry import as_items

    return {**line, "geometry": as_items(geometry)}


def _reason(kind: type[BaseException] | None, error: BaseException) -> str:
    name = "error" if kind is None else kind.__name__
    return f"{name}: {error}" if str(error) else name
