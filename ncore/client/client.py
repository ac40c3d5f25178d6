"""The service from Python.

>>> from ncore.client import Client
>>> Client("http://127.0.0.1:8000").submit("fig1").wait().metrics()
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import httpx
import orjson

from ncore.client.transport import ApiError, NotReached, Transport

__all__ = ["ApiError", "Client", "Experiment", "ExperimentFailed", "NotReached", "Sweep", "body_of"]

POLL_SECONDS = 0.3
ENDED = ("succeeded", "failed", "cancelled")
PING = "ping"
Frame = Literal["pandas", "polars", "records"]


class ExperimentFailed(RuntimeError):  # noqa: N818
    """A waited-for experiment has failed or was cancelled; the message is its reason."""


class Client:
    """A service at `url` (default NCORE_URL, else http://127.0.0.1:8000), with `token` (default NCORE_TOKEN).

    A service that was reached once and is gone is waited for, up to `patience_seconds`.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        timeout_seconds: float = 60.0,
        patience_seconds: float = 30.0,
    ) -> None:
        self.url = (url or os.environ.get("NCORE_URL") or "http://127.0.0.1:8000").rstrip("/")
        token = token or os.environ.get("NCORE_TOKEN")
        self.transport = Transport(self.url, token, timeout_seconds, patience_seconds)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any call of the HTTP interface. Raises ApiError for a refusal, NotReached where nothing answers."""
        return self.transport.send(method, path, **options)

    def submit(
        self,
        spec: str | Path | Mapping[str, Any],
        set: Mapping[str, Any] | None = None,  # noqa: A002 (the interface's name)
        idempotency_key: str | None = None,
    ) -> Experiment:
        """Submits a preset's name, a file or a spec, with dotted paths changed by `set`.

        It is sent with an Idempotency-Key, so that repeating it after a broken connection makes no second one.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        answer = self.request("POST", "/experiments", json=body_of(spec, set), headers=headers, repeatable=True)
        return Experiment(self, answer.json())

    def sweep(
        self,
        base: str | Path | Mapping[str, Any],
        axes: Mapping[str, Sequence[Any]],
        set: Mapping[str, Any] | None = None,  # noqa: A002
        name: str = "",
    ) -> Sweep:
        """Submits one experiment for each combination of the values of `axes`, {dotted path: values}."""
        body = {"base": body_of(base, set), "axes": {path: list(values) for path, values in axes.items()}, "name": name}
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return Sweep(self, self.request("POST", "/sweeps", json=body, headers=headers, repeatable=True).json())

    def experiment(self, experiment_id: str) -> Experiment:
        return Experiment(self, self.request("GET", f"/experiments/{experiment_id}").json())

    def experiments(self, limit: int | None = None, **filters: Any) -> Iterator[Experiment]:
        """Newest first; filters as in GET /experiments (status, tag, kind, q)."""
        cursor, given = None, 0
        while True:
            page = min(200, 200 if limit is None else limit - given)
            params = {**filters, "limit": page, **({"cursor": cursor} if cursor else {})}
            answer = self.request("GET", "/experiments", params=params).json()
            for item in answer["items"]:
                yield Experiment(self, item)
            given, cursor = given + len(answer["items"]), answer["next_cursor"]
            if cursor is None or given == limit:
                return

    def theory(
        self,
        spec: str | Path | Mapping[str, Any],
        set: Mapping[str, Any] | None = None,  # noqa: A002
    ) -> dict[str, Any]:
        """The prediction for a spec without running it."""
        answer: dict[str, Any] = self.request("POST", "/theory", json=body_of(spec, set), repeatable=True).json()
        return answer

    def presets(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.request("GET", "/presets").json()["items"]
        return items


class Sweep:
    """One experiment for each combination of values; `data` is the last known JSON, its `items` the table."""

    def __init__(self, client: Client, data: dict[str, Any]) -> None:
        self._client, self.data = client, data
        self.id: str = data["id"]
        self._path = f"/sweeps/{self.id}"

    def refresh(self, **filters: Any) -> Sweep:
        """`filters`: metric, layer, offset, limit."""
        self.data = self._client.request("GET", self._path, params=filters).json()
        return self

    @property
    def is_ended(self) -> bool:
        return not set(self.data["statuses"]) - set(ENDED)

    def wait(self, progress: bool = True, timeout_seconds: float | None = None) -> Sweep:
        """Waits until every experiment has ended, however. Raises TimeoutError."""
        from ncore.client.progress import progress_of_sweep

        until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        with progress_of_sweep(self.data, shown=progress) as show:
            while not self.refresh(limit=1).is_ended:
                show(self.data)
                if until is not None and time.monotonic() > until:
                    raise TimeoutError(
                        f"sweep {self.id} is not done after {timeout_seconds} s: {self.data['statuses']}"
                    )
                time.sleep(POLL_SECONDS)
            show(self.data)
        return self.refresh()

    def cancel(self) -> Sweep:
        self.data = self._client.request("POST", f"{self._path}/cancel", repeatable=True).json()
        return self

    def plot(self, path: str | Path, **options: Any) -> Path:
        """Saves the picture; the ending says the form (svg, png, pdf, json); options metric, layer, x, y, theme."""
        path = Path(path)
        form = path.suffix.removeprefix(".") or "svg"
        path.write_bytes(self._client.request("GET", f"{self._path}/plot.{form}", params=options).content)
        return path


class Experiment:
    """One experiment of a service; `data` is its last known JSON."""

    def __init__(self, client: Client, data: dict[str, Any]) -> None:
        self._client, self.data = client, data
        self.id: str = data["id"]
        self._path = f"/experiments/{self.id}"

    def __repr__(self) -> str:
        return f"Experiment({self.id!r}, {self.data['name']!r}, {self.status})"

    @property
    def status(self) -> str:
        status: str = self.data["status"]
        return status

    @property
    def result(self) -> dict[str, Any] | None:
        result: dict[str, Any] | None = self.data["result"]
        return result

    def refresh(self) -> Experiment:
        self.data = self._client.request("GET", self._path).json()
        return self

    def wait(self, progress: bool = True, timeout_seconds: float | None = None) -> Experiment:
        """Waits for the end, with a progress bar. Raises ExperimentFailed with the reason, TimeoutError."""
        from ncore.client.progress import progress_of

        until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        with progress_of(self.data, shown=progress) as show:
            while self.refresh().status not in ENDED:
                show(self.data)
                if until is not None and time.monotonic() > until:
                    raise TimeoutError(f"experiment {self.id} is still {self.status} after {timeout_seconds} s")
                time.sleep(POLL_SECONDS)
            show(self.data)
        if self.status != "succeeded":
            raise ExperimentFailed(f"experiment {self.id} is {self.status}: {self.data['error'] or 'no reason given'}")
        return self

    def series(self, **filters: Any) -> list[dict[str, Any]]:
        """The series as GET …/metrics has them; filters metric, layer, seed, since, max_points."""
        answer = self._client.request("GET", f"{self._path}/metrics", params=filters)
        series: list[dict[str, Any]] = answer.json()["series"]
        return series

    def metrics(self, frame: Frame | None = None, **filters: Any) -> Any:
        """One row a point (metric, layer, seed, step, value), filtered as in `series`.

        A frame of pandas, or polars, whichever is installed, else a list of dicts; or as `frame` says.
        """
        from ncore.series import framed

        return framed(self.series(**filters), frame)

    def theory(self) -> dict[str, Any]:
        """{"prediction", "comparison"}: what is predicted, and measured beside it."""
        answer: dict[str, Any] = self._client.request("GET", f"{self._path}/theory").json()
        return answer

    def events(self, last_event_id: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
        """("measurement" | "status" | "end", data) as they happen, until the end.

        A stream that breaks off is resumed where it was, without a gap or a repeat. Raises ApiError, NotReached.
        """
        transport = self._client.transport
        until = time.monotonic() + transport.patience_seconds
        while True:
            try:
                with transport.stream(f"{self._path}/events", {"Last-Event-ID": str(last_event_id)}) as response:
                    for kind, number, data in _events(response.iter_lines()):
                        until = time.monotonic() + transport.patience_seconds
                        last_event_id = number or last_event_id
                        if kind != PING:
                            yield kind, data
                        if kind == "end":
                            return
                raise httpx.RemoteProtocolError("the stream ended before the experiment")
            except httpx.TransportError as error:
                transport.wait_a_little(error, until)

    def plot(self, path: str | Path, **options: Any) -> Path:
        """Saves the picture; the ending says the form (svg, png, pdf, json); options panel, layer, seed, theme."""
        path = Path(path)
        form = path.suffix.removeprefix(".") or "svg"
        path.write_bytes(self._client.request("GET", f"{self._path}/plot.{form}", params=options).content)
        return path

    def download(self, path: str | Path, form: str) -> Path:
        """Saves the series as json, csv, ndjson or parquet."""
        path = Path(path)
        answer = self._client.request("GET", f"{self._path}/metrics", params={"format": form})
        path.write_bytes(answer.content)
        return path

    def bundle(self, path: str | Path) -> Path:
        """Saves everything about it as one zip file: spec, result, series, pictures, versions."""
        return self._client.transport.save(f"{self._path}/export.zip", Path(path))

    def cancel(self) -> Experiment:
        self.data = self._client.request("POST", f"{self._path}/cancel", repeatable=True).json()
        return self

    def retry(self) -> Experiment:
        """A failed or cancelled one goes on from its checkpoint."""
        self.data = self._client.request("POST", f"{self._path}/retry").json()
        return self

    def delete(self) -> None:
        self._client.request("DELETE", self._path)


def _events(lines: Iterator[str]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(event, id or 0, data) of a stream of server-sent events with one line of data each; comments are pings."""
    kind, number = "message", 0
    for line in lines:
        name, _, value = line.partition(": ")
        if not name:
            yield PING, 0, {}
        elif name == "event":
            kind = value
        elif name == "id":
            number = int(value)
        elif name == "data":
            yield kind, number, orjson.loads(value)
            kind, number = "message", 0


def body_of(spec: str | Path | Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body of a request for a preset's name, a JSON file or a spec. Raises FileNotFoundError, ValueError."""
    from ncore.presets import PRESETS
    from ncore.spec import with_changes

    changes = dict(changes or {})
    if isinstance(spec, Mapping):
        if "preset" in spec:
            return {**spec, "set": {**spec.get("set", {}), **changes}}
        return with_changes(spec, changes)
    if str(spec) in PRESETS:
        return {"preset": str(spec), "set": changes}
    path = Path(spec)
    if not path.exists():
        raise FileNotFoundError(f"{spec} is neither a file nor a preset ({', '.join(PRESETS)})")
    try:
        found = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, Mapping):
        raise ValueError(f"{path} must hold a JSON object, not {type(found).__name__}")  # noqa: TRY004 (the user's file)
    return body_of(found, changes)
