"""Sends a spool to a service, any part of it as often as necessary: its keys make doubles impossible."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from ncore.client.client import Client
from ncore.client.spool import Line, Spool
from ncore.client.transport import ApiError, NotReached
from ncore.rows import KEPT, MAX_ROWS, Key
from ncore.series import metric_and_layer
from ncore.status import RETRIED

log = logging.getLogger("ncore")
LOOK_SECONDS = 0.2
"""How often the thread looks for what was logged."""
LONGEST_PAUSE_SECONDS = 10.0
ABSENT_SECONDS = 5.0
"""How long the end of a run waits for a service that does not answer."""
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Refusals that pass."""
Table = dict[str, Any]


class Sender:
    """Sends a spool's lines in order. `sent` counts its rows, `stored` those that were new at the service, `kept` those
    of which it has other values; `status` is what it said last, `without_geometry` why it has not taken a geometry.
    """

    def __init__(self, spool: Spool, client: Client) -> None:
        self.spool, self._client = spool, client
        self.sent = self.stored = self.kept = 0
        self.status: str | None = None
        self.without_geometry: str | None = None
        self.lease_seconds = 10.0

    @property
    def id(self) -> str | None:
        found: str | None = self.spool.state["id"]
        return found

    def advance(self) -> bool:
        """Makes the experiment where there is none, or sends the next lines; False where none was left.

        Raises ApiError, NotReached.
        """
        if self.id is None:
            self._create()
            return True
        lines, offset = self.spool.read()
        if offset == self.spool.state["offset"]:
            return False
        rows: list[Line] = []
        for line in lines:
            if "values" in line:
                rows.append(line)
                continue
            self._send(rows)
            rows = []
            self._turn(line)
        self._send(rows)
        self.spool.remember(offset=offset)
        return True

    def send_all(self) -> None:
        """Sends what is left. Raises ApiError, NotReached."""
        while self.advance():
            pass

    def beat(self) -> None:
        """A heartbeat."""
        self._heard(self._post("heartbeat"))

    def _create(self) -> None:
        about = self.spool.about
        headers = {"Idempotency-Key": about["key"]}
        sent = self._client.request("POST", "/experiments", json=about["body"], headers=headers, repeatable=True)
        made = sent.json()
        self.status = made["status"]
        self.spool.remember(id=made["id"])

    def _send(self, rows: Iterable[Line]) -> None:
        for table in tables_of(rows):
            answer = self._accepted(table)
            self.sent += len(table["rows"])
            self.stored += answer["stored"]
            self.kept += answer["kept"]
            self._heard(answer)

    def _accepted(self, table: Table) -> dict[str, Any]:
        """The answer to a table; without its geometry where the service does not take that: an older one, or one of
        small bodies."""
        try:
            return self._post("measurements", content=orjson.dumps(table))
        except ApiError as error:
            if error.status not in (413, 422) or table.pop("geometry", None) is None:
                raise
            self.without_geometry = str(error)
            return self._post("measurements", content=orjson.dumps(table))

    def _turn(self, line: Line) -> None:
        """Handles a line that is no row: the run was begun again, or has ended."""
        if "ended" in line:
            ending = {"status": line["ended"], "reason": line.get("reason")}
            self.status = self._post("finish", json=ending)["status"]
        elif "begun" in line:
            self.status = self._client.experiment(str(self.id)).status
            if self.status in RETRIED:
                self.status = self._post("retry")["status"]
        self.spool.remember(ended="ended" in line)

    def _post(self, call: str, **options: Any) -> dict[str, Any]:
        """Any of these calls may be sent twice."""
        path = f"/experiments/{self.id}/{call}"
        answer: dict[str, Any] = self._client.request("POST", path, repeatable=True, **options).json()
        return answer

    def _heard(self, answer: Mapping[str, Any]) -> None:
        self.status, self.lease_seconds = answer["status"], answer["lease_seconds"]


def tables_of(rows: Iterable[Line]) -> Iterator[Table]:
    """Bodies for POST …/measurements: what was logged for a seed and step is one row, rows of the same metrics a table.
    A row with its geometry, which is large, is one by itself.

    Where a metric was logged twice for a step the first value counts, as it does at the service.
    """
    merged: dict[Key, dict[str, float | None]] = {}
    shapes: dict[Key, Any] = {}
    for line in rows:
        key = line["seed"], line["step"]
        known = merged.get(key)
        merged[key] = line["values"] if known is None else {**known, **line["values"], **known}
        if "geometry" in line:
            shapes.setdefault(key, line["geometry"])
    tables: dict[tuple[str, ...], list[list[Any]]] = {}
    for key, values in merged.items():
        row = [*key, *values.values()]
        if key not in shapes:
            tables.setdefault(tuple(values), []).append(row)
            continue
        yield from _bodies(tables)
        tables = {}
        (body,) = _bodies({tuple(values): [row]})
        yield {**body, "geometry": [{"seed": key[0], "step": key[1], "items": shapes[key]}]}
    yield from _bodies(tables)


def _bodies(tables: Mapping[tuple[str, ...], list[list[Any]]]) -> Iterator[Table]:
    for names, found in tables.items():
        columns = [list(pair) if (pair := metric_and_layer(name))[1] else pair[0] for name in names]
        for i in range(0, len(found), MAX_ROWS):
            yield {"columns": columns, "rows": found[i : i + MAX_ROWS], "on_conflict": KEPT}


def is_final(error: ApiError) -> bool:
    """Whether the service will refuse the same again."""
    return error.status not in PASSING


class SendingThread(threading.Thread):
    """Sends what is in the spool, and heartbeats; tries again while the service is away."""

    def __init__(self, sender: Sender) -> None:
        super().__init__(name="ncore-sender", daemon=True)
        self._sender, self._folder = sender, sender.spool.folder
        self._is_ending = threading.Event()
        self.tried = threading.Event()
        self.cancelled = self._is_away = False
        self._warned: set[str] = set()

    def run(self) -> None:
        spoke_at, pause = 0.0, LOOK_SECONDS
        while True:
            try:
                while self._sender.advance():
                    spoke_at = time.monotonic()
                if time.monotonic() - spoke_at > self._sender.lease_seconds / 3 and not self._is_ending.is_set():
                    self._sender.beat()
                    spoke_at = time.monotonic()
                pause, self._is_away = LOOK_SECONDS, False
                self._look()
            except ApiError as error:
                self._is_away = True
                if is_final(error):
                    self._warn(f"the service refuses what is logged: {error}; it is kept in {self._folder}")
                    break
                pause = self._later(error, pause)
            except (NotReached, OSError) as error:
                pause = self._later(error, pause)
            except Exception:
                log.exception("nothing is sent any more; what is logged is kept in %s", self._folder)
                break
            self.tried.set()
            if self._is_ending.is_set() and not self._is_away and not self._sender.spool.unsent_bytes:
                break
            if self._is_ending.is_set():
                time.sleep(LOOK_SECONDS)  # for a service that is away
            else:
                self._is_ending.wait(pause)
        self.tried.set()

    def drain(self, seconds: float) -> None:
        """Waits until everything is sent, for `seconds` at most, and less where the service does not answer."""
        self._is_ending.set()
        began = time.monotonic()
        while self.is_alive() and (spent := time.monotonic() - began) < seconds:
            if self._is_away and spent > ABSENT_SECONDS:
                return
            self.join(0.02)

    def _later(self, error: Exception, pause: float) -> float:
        self._is_away = True
        self._warn(f"{error}; what is logged is kept in {self._folder} and sent when it answers")
        return min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _look(self) -> None:
        if self._sender.status == "cancelled" and not self.cancelled:
            self.cancelled = True
            self._warn(f"experiment {self._sender.id} was cancelled: `run.cancelled` is true now")
        if self._sender.kept:
            self._warn("other values were logged for steps that are stored already: those that came first stay")
        if self._sender.without_geometry:
            self._warn(f"the service has not taken the class means: {self._sender.without_geometry}")

    def _warn(self, message: str) -> None:
        """Once each."""
        if message not in self._warned:
            self._warned.add(message)
            log.warning("%s", message)
