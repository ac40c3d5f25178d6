"""Experiments and sweeps of a service, as handles that look up, wait, save and show themselves in a notebook."""

from __future__ import annotations

import html
import io
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

import orjson

from ncore.client.transport import ApiError, NotReached
from ncore.series import Series, framed, table_of_columns
from ncore.status import ENDED, LOST, Status

if TYPE_CHECKING:
    from ncore.client.client import Client
    from ncore.geometry_file import ShapeSeries
    from ncore.outcome import Outcome

POLL_SECONDS = 0.3
PING = "ping"
Frame = Literal["pandas", "polars", "records"]


class ExperimentFailed(RuntimeError):  # noqa: N818
    """A waited-for experiment has failed or was cancelled; the message is its reason."""


class Resource(ABC):
    """Common base of experiments and sweeps: `data` is the last known JSON of the one with this `id`."""

    noun: str
    """The word for it in paths and messages: experiment, sweep."""

    def __init__(self, client: Client, data: dict[str, Any]) -> None:
        self._client, self.data = client, data
        self.id: str = data["id"]
        self._path = f"/{self.noun}s/{self.id}"

    def refresh(self, **filters: Any) -> Self:
        """Asks the service again."""
        self.data = self._client.request("GET", self._path, params=filters).json()
        return self

    @property
    @abstractmethod
    def is_ended(self) -> bool:
        """Whether there is nothing left to come."""

    @property
    @abstractmethod
    def state(self) -> str:
        """The state in a few words, for people."""

    def cancel(self) -> Self:
        """Cancels it: queued at once, running at the next step. Measurements are kept."""
        self.data = self._client.request("POST", f"{self._path}/cancel", repeatable=True).json()
        return self

    def delete(self) -> None:
        """Deletes it with its measurements and files. Raises ApiError (409) while it runs."""
        self._client.request("DELETE", self._path)

    def plot(self, path: str | Path, **options: Any) -> Path:
        """Saves the picture; the ending says the form (svg, png, pdf, json); options as in GET …/plot."""
        return self._saved("plot", Path(path), options)

    def _saved(self, picture: str, path: Path, options: Mapping[str, Any]) -> Path:
        form = path.suffix.removeprefix(".") or "svg"
        path.write_bytes(self._picture(f"{picture}.{form}", options))
        return path

    def _picture(self, name: str, options: Mapping[str, Any] = MappingProxyType({})) -> bytes:
        return self._client.request("GET", f"{self._path}/{name}", params=options).content

    def _until_ended(self, seconds: float | None, show: Any, **filters: Any) -> None:
        """Looks until it has ended, showing each look. Raises TimeoutError."""
        until = None if seconds is None else time.monotonic() + seconds
        while not (self.refresh(**filters).is_ended or self.state == LOST):
            show(self.data)
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"{self.noun} {self.id} is not done after {seconds} s: {self.state}")
            time.sleep(POLL_SECONDS)
        show(self.data)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, {self.data['name']!r}, {self.state})"

    def _repr_html_(self) -> str:
        """Name and state, with the curves so far; only those while the service is away."""
        import httpx

        title = html.escape(self.data["name"] or self.id)
        head = f"<p><b>{title}</b> ({self.noun} <code>{self.id}</code>): {html.escape(self.state)}</p>"
        try:
            return head + self._picture("plot.svg").decode()
        except (ApiError, NotReached, httpx.HTTPError) as error:
            return f"{head}<p>no picture: {html.escape(str(error))}</p>"


class Experiment(Resource):
    """One experiment of a service."""

    noun = "experiment"

    @property
    def status(self) -> str:
        status: str = self.data["status"]
        return status

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED

    @property
    def state(self) -> str:
        return self.status

    @property
    def result(self) -> Outcome | None:
        result: Outcome | None = self.data["result"]
        return result

    def wait(self, progress: bool = True, timeout_seconds: float | None = None) -> Experiment:
        """Waits for the end, with a progress bar. Raises ExperimentFailed with the reason, TimeoutError."""
        from ncore.client.progress import progress_of

        with progress_of(self.data, shown=progress) as show:
            self._until_ended(timeout_seconds, show)
        if self.status == LOST:
            raise ExperimentFailed(f"experiment {self.id} is lost: its loop fell silent; it can be resumed by this id")
        if self.status != "succeeded":
            raise ExperimentFailed(f"experiment {self.id} is {self.status}: {self.data['error'] or 'no reason given'}")
        return self

    def delete(self, status: Status | None = None) -> None:
        """Deletes it with its measurements and files. Raises ApiError (409) while it runs or has another `status`."""
        self._client.request("DELETE", self._path, params={} if status is None else {"status": status})

    def series(self, **filters: Any) -> list[Series]:
        """The series as GET …/metrics has them; filters metric, layer, seed, since, max_points."""
        answer = self._client.request("GET", f"{self._path}/metrics", params=filters)
        series: list[Series] = answer.json()["series"]
        return series

    def metrics(self, frame: Frame | None = None, **filters: Any) -> Any:
        """One row a point (metric, layer, seed, step, value), filtered as in `series`.

        A frame of pandas, or polars, whichever is installed, else a list of dicts; or as `frame` says.
        """
        return framed(self.series(**filters), frame)

    def frame(self, library: Frame | None = None, **filters: Any) -> Any:
        """The same as `metrics`, but always a frame of pandas or polars. Raises ImportError without either."""
        return framed(self.series(**filters), library, required=True)

    def theory(self) -> dict[str, Any]:
        """{"prediction", "comparison"}: what is predicted, and measured beside it."""
        answer: dict[str, Any] = self._client.request("GET", f"{self._path}/theory").json()
        return answer

    def logs(self) -> list[dict[str, Any]]:
        """The events of its log, a dict each: submitted, started, lost, ended."""
        found: list[dict[str, Any]] = []
        page: dict[str, Any] = {"items": [None], "next": 0}
        while page["items"]:  # long lines end an answer early
            page = self._client.request("GET", f"{self._path}/logs", params={"since": page["next"]}).json()
            found += page["items"]
        return found

    def geometry(
        self, seed: int | Sequence[int] | None = None, layer: str | Sequence[str] | None = None
    ) -> list[ShapeSeries]:
        """The kept Gram matrices H̄ᵀH̄ of each level and W Wᵀ, W H̄, and singular values, as arrays of NumPy.

        One `ShapeSeries` a seed and layer, in the order of the spec's seeds and of the forward pass, then `W`, `W H`:
        `steps` (T,), `matrices` (T, K, K), `singular_values` (T, r), `predicted` (K, K) or None. `seed`, `layer`: only
        these. Kept at up to 50 steps, for up to 100 classes. Raises ApiError: 409 where there are none, 422.

        >>> (last,) = experiment.geometry(seed=0, layer="h1")
        >>> abs(last.matrices[-1] - last.predicted).max()
        """
        from ncore.geometry_file import read_geometry

        params = {"seed": seed, "layer": layer}
        chosen = {name: value for name, value in params.items() if value is not None}
        return read_geometry(
            io.BytesIO(self._client.request("GET", f"{self._path}/geometry.npz", params=chosen).content)
        )

    def download_geometry(self, path: str | Path, **filters: Any) -> Path:
        """Saves what `geometry` gives as a file (.npz), which `ncore.geometry_file.read_geometry` reads."""
        return self._client.transport.save(f"{self._path}/geometry.npz", Path(path), filters)

    def plot_geometry(self, path: str | Path, **options: Any) -> Path:
        """Saves the cosines at a step as heat maps beside the predicted ones; options as in GET …/geometry.svg: seed,
        step, layer, theme, columns, style, …; the ending says the form (svg, png, pdf, json)."""
        return self._saved("geometry", Path(path), options)

    def plot_singular_values(self, path: str | Path, **options: Any) -> Path:
        """Saves the singular values of class means, W and W H̄ over the steps; options as in GET …/singular-values.svg:
        seed, layer, theme, columns, style, …; the ending says the form (svg, png, pdf, json)."""
        return self._saved("singular-values", Path(path), options)

    def events(self, last_event_id: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
        """("measurement" | "status" | "end", data) as they happen, until the end.

        A stream that breaks off is resumed where it was, without a gap or a repeat. Raises ApiError, NotReached.
        """
        import httpx

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

    def download(self, path: str | Path, form: str) -> Path:
        """Saves the series as json, csv, ndjson or parquet."""
        path = Path(path)
        answer = self._client.request("GET", f"{self._path}/metrics", params={"format": form})
        path.write_bytes(answer.content)
        return path

    def bundle(self, path: str | Path) -> Path:
        """Saves everything about it as one zip file: spec, result, series, geometry, pictures, versions."""
        return self._client.transport.save(f"{self._path}/export.zip", Path(path))

    def annotate(self, **changes: Any) -> Experiment:
        """Changes name, tags, notes (Markdown), priority, or `archived`; None clears. Raises ApiError (422)."""
        self.data = self._client.request("PATCH", self._path, json=changes, repeatable=True).json()
        return self

    def retry(self) -> Experiment:
        """Continues a failed or cancelled one from its checkpoint."""
        self.data = self._client.request("POST", f"{self._path}/retry").json()
        return self


class Sweep(Resource):
    """One experiment for each combination of values; the `items` of `data` are the table."""

    noun = "sweep"

    @property
    def is_ended(self) -> bool:
        return not set(self.data["statuses"]) - set(ENDED) and not self.data.get("refining")

    @property
    def state(self) -> str:
        return ", ".join(f"{count} {status}" for status, count in self.data["statuses"].items())

    def wait(self, progress: bool = True, timeout_seconds: float | None = None) -> Sweep:
        """Waits until every experiment has ended, however. Raises TimeoutError."""
        from ncore.client.progress import progress_of_sweep

        with progress_of_sweep(self.data, shown=progress) as show:
            self._until_ended(timeout_seconds, show, limit=1)
        return self.refresh()

    def items(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Every combination, page by page; filters as in GET /sweeps/{id}: metric, layer, where, status, sort."""
        offset: int | None = filters.pop("offset", 0)
        limit = filters.get("limit")
        while offset is not None:
            page = self._client.request("GET", self._path, params={**filters, "offset": offset}).json()
            yield from page["items"]
            offset = None if limit else page["next_offset"]

    def download(self, path: str | Path, form: str | None = None, **filters: Any) -> Path:
        """Saves the table as csv or parquet; without `form` the ending says which."""
        path = Path(path)
        params = {**filters, "format": form or path.suffix.removeprefix(".") or "csv"}
        return self._client.transport.save(self._path, path, params)

    def frame(self, library: Frame | None = None, **filters: Any) -> Any:
        """One row a combination and metric: axes, experiment, status, metric, layer, mean, low, high, …, predicted.

        A frame of pandas or polars; `filters` as in GET /sweeps/{id}: metric, layer, where, status, sort. Raises
        ImportError where neither is installed.
        """
        rows = []
        for item in self.items(**filters):
            front = {**item["point"], "experiment": item["experiment"], "status": item["status"]}
            rows += [{**front, **level} for level in item["metrics"]] or [front]
        names = list(dict.fromkeys(name for row in rows for name in row))
        return table_of_columns({name: [row.get(name) for row in rows] for name in names}, library, required=True)


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
