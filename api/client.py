"""The service from Python.

>>> from api.client import Client
>>> Client("http://127.0.0.1:8000").submit("fig1").wait().metrics()
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson

POLL_SECONDS = 0.3
ENDED = ("succeeded", "failed", "cancelled")


class ApiError(RuntimeError):
    """The service refused: `status`, and `errors` as {"field", "message"}."""

    def __init__(self, status: int, detail: str, errors: list[dict[str, str]]) -> None:
        super().__init__(detail)
        self.status, self.errors = status, errors


class NotReached(RuntimeError):  # noqa: N818 (says what is the case)
    """No service answers at this address."""


class ExperimentFailed(RuntimeError):  # noqa: N818
    """A waited-for experiment has failed or was cancelled; the message is its reason."""


class Client:
    """A service at `url` (default NCORE_URL, else http://127.0.0.1:8000), with `token` (default NCORE_TOKEN)."""

    def __init__(self, url: str | None = None, token: str | None = None, timeout_seconds: float = 60.0) -> None:
        self.url = (url or os.environ.get("NCORE_URL") or "http://127.0.0.1:8000").rstrip("/")
        token = token or os.environ.get("NCORE_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout_seconds)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Raises ApiError for a refusal, NotReached where nothing answers."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise NotReached(f"no service answers at {self.url} ({error}); start one with `ncore up`") from error
        if response.is_error:
            raise _refusal(response)
        return response

    def submit(
        self,
        spec: str | Path | Mapping[str, Any],
        set: Mapping[str, Any] | None = None,  # noqa: A002 (the interface's name)
        idempotency_key: str | None = None,
    ) -> Experiment:
        """Submits a preset's name, a file or a spec, with dotted paths changed by `set`.

        It is sent with an Idempotency-Key, so that a request repeated after a broken connection makes no second one.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        answer = self.request("POST", "/experiments", json=body_of(spec, set), headers=headers)
        return Experiment(self, answer.json())

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
        answer: dict[str, Any] = self.request("POST", "/theory", json=body_of(spec, set)).json()
        return answer

    def presets(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.request("GET", "/presets").json()["items"]
        return items


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
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        with Progress(*columns, TimeRemainingColumn(), disable=not progress) as bar:
            task = bar.add_task(self.data["name"] or self.id, total=None)
            while self.refresh().status not in ENDED:
                at = self.data["progress"]
                bar.update(task, completed=at["step"], total=at["total"] or None)
                bar.update(task, description=f"{self.data['name'] or self.id} ({self.status})")
                if until is not None and time.monotonic() > until:
                    raise TimeoutError(f"experiment {self.id} is still {self.status} after {timeout_seconds} s")
                time.sleep(POLL_SECONDS)
            at = self.data["progress"]
            bar.update(task, completed=at["step"], total=at["total"] or None)
            bar.update(task, description=f"{self.data['name'] or self.id} ({self.status})")
        if self.status != "succeeded":
            raise ExperimentFailed(f"experiment {self.id} is {self.status}: {self.data['error'] or 'no reason given'}")
        return self

    def series(self, **filters: Any) -> list[dict[str, Any]]:
        """The series as GET …/metrics has them; filters metric, layer, seed, since, max_points."""
        answer: list[dict[str, Any]] = self._client.request("GET", f"{self._path}/metrics", params=filters).json()[
            "series"
        ]
        return answer

    def metrics(self, **filters: Any) -> Any:
        """One row a point (metric, layer, seed, step, value): a frame of pandas or polars, else a list."""
        points = [
            {"metric": one["metric"], "layer": one["layer"], "seed": one["seed"], "step": step, "value": value}
            for one in self.series(**filters)
            for step, value in zip(one["steps"], one["values"], strict=True)
        ]
        for library in ("pandas", "polars"):
            try:
                frames = __import__(library)
            except ImportError:
                continue
            return frames.DataFrame(points)
        return points

    def theory(self) -> dict[str, Any]:
        """{"prediction", "comparison"}: what is predicted, and measured beside it."""
        answer: dict[str, Any] = self._client.request("GET", f"{self._path}/theory").json()
        return answer

    def events(self, last_event_id: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
        """("measurement" | "status" | "end", data) as they happen, until the end."""
        headers = {"Last-Event-ID": str(last_event_id)}
        with self._client._http.stream("GET", f"{self._path}/events", headers=headers, timeout=None) as response:  # noqa: SLF001
            if response.is_error:
                response.read()
                raise _refusal(response)
            kind = "message"
            for line in response.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield kind, orjson.loads(line.removeprefix("data: "))

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

    def cancel(self) -> Experiment:
        self.data = self._client.request("POST", f"{self._path}/cancel").json()
        return self

    def retry(self) -> Experiment:
        self.data = self._client.request("POST", f"{self._path}/retry").json()
        return self

    def delete(self) -> None:
        self._client.request("DELETE", self._path)


def body_of(spec: str | Path | Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body of a request for a preset's name, a JSON file or a spec. Raises FileNotFoundError, ValueError."""
    from ncore.presets import PRESETS
    from ncore.spec import with_changes

    if isinstance(spec, Mapping):
        return with_changes(spec, changes or {})
    if str(spec) in PRESETS:
        return {"preset": str(spec), "set": dict(changes or {})}
    path = Path(spec)
    if not path.exists():
        raise FileNotFoundError(f"{spec} is neither a file nor a preset ({', '.join(PRESETS)})")
    try:
        return with_changes(orjson.loads(path.read_bytes()), changes or {})
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def _refusal(response: httpx.Response) -> ApiError:
    try:
        body = response.json()
    except ValueError:
        body = {}
    return ApiError(response.status_code, body.get("detail", response.reason_phrase), body.get("errors", []))
