"""The service from Python.

>>> from ncore import Client
>>> Client("http://127.0.0.1:8000").submit("fig1").wait().metrics()
"""

from __future__ import annotations

import html
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncore.client.bodies import Given, body_of, sweep_body
from ncore.client.resources import Experiment, Sweep
from ncore.client.transport import ApiError, NotReached, Transport

if TYPE_CHECKING:
    import httpx

NEWEST = 10
"""Experiments that a notebook shows of a service."""


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
        self._token, self._timeout_seconds = token or os.environ.get("NCORE_TOKEN"), timeout_seconds
        self.transport = Transport(self.url, self._token, timeout_seconds, patience_seconds)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process opens connections of its own."""
        return Client, (self.url, self._token, self._timeout_seconds, self.transport.patience_seconds)

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def _repr_html_(self) -> str:
        """The newest experiments, as a table."""
        head = f"<p><b>ncore</b> at <code>{html.escape(self.url)}</code></p>"
        try:
            items = [one.data for one in self.experiments(limit=NEWEST)]
        except (ApiError, NotReached) as error:
            return f"{head}<p>{html.escape(str(error))}</p>"
        columns = ("id", "name", "status", "created_at")
        rows = ["".join(f"<td>{html.escape(str(item[name]))}</td>" for name in columns) for item in items]
        heading = "".join(f"<th>{name}</th>" for name in columns)
        return f"{head}<table><tr>{heading}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any call of the HTTP interface. Raises ApiError for a refusal, NotReached where nothing answers."""
        return self.transport.send(method, path, **options)

    def submit(
        self,
        spec: Given,
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
        base: Given,
        axes: Mapping[str, Sequence[Any] | Mapping[str, Any]] | None = None,
        set: Mapping[str, Any] | None = None,  # noqa: A002
        name: str = "",
        **forms: Any,
    ) -> Sweep:
        """Submits one experiment for each combination of the values of `axes`, {dotted path: values}.

        Values are a list, or {"from", "to", "points", "spacing"}. `forms` are the others of POST /sweeps: zip, sample,
        refine, picture. With neither, `base` is the name of a sweep's preset, or a file that holds a whole sweep.
        """
        body = sweep_body(base, axes, set, name, forms)
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return Sweep(self, self.request("POST", "/sweeps", json=body, headers=headers, repeatable=True).json())

    def experiment(self, experiment_id: str) -> Experiment:
        return Experiment(self, self.request("GET", f"/experiments/{experiment_id}").json())

    def sweep_of(self, sweep_id: str) -> Sweep:
        """A sweep that was submitted before."""
        return Sweep(self, self.request("GET", f"/sweeps/{sweep_id}").json())

    def sweeps(self, limit: int = 50) -> list[dict[str, Any]]:
        """The newest sweeps and how far each is."""
        items: list[dict[str, Any]] = self.request("GET", "/sweeps", params={"limit": limit}).json()["items"]
        return items

    def experiments(self, limit: int | None = None, **filters: Any) -> Iterator[Experiment]:
        """Newest first; filters as in GET /experiments: status, tag, kind, q, archived, `where` (a query such as
        "nc1.h1 < 1e-6 and tag:paper"), sort, columns (which `data` has then, those of queries as its `values`)."""
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

    def compare(self, experiments: Iterable[Experiment | str], path: str | Path, **options: Any) -> Path:
        """Saves metrics of several experiments as a picture, or what it shows as .csv; options as in GET /compare.*."""
        path = Path(path)
        ids = [one if isinstance(one, str) else one.id for one in experiments]
        form = path.suffix.removeprefix(".") or "svg"
        answer = self.request("GET", f"/compare.{form}", params={"experiment": ids, **options})
        path.write_bytes(answer.content)
        return path

    def fields(self) -> list[dict[str, Any]]:
        """The fields that `where`, `sort` and `columns` of `experiments` know: name, kind, and whether a parameter
        `differs` between experiments."""
        items: list[dict[str, Any]] = self.request("GET", "/fields").json()["items"]
        return items

    def theory(
        self,
        spec: Given,
        set: Mapping[str, Any] | None = None,  # noqa: A002
    ) -> dict[str, Any]:
        """The prediction for a spec without running it."""
        answer: dict[str, Any] = self.request("POST", "/theory", json=body_of(spec, set), repeatable=True).json()
        return answer

    def presets(self, kind: str = "experiment") -> list[dict[str, Any]]:
        """Presets of experiments, or of sweeps where `kind` is "sweep"."""
        items: list[dict[str, Any]] = self.request("GET", "/presets", params={"kind": kind}).json()["items"]
        return items
