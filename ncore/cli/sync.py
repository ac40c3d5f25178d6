"""Commands that send what is in files: what loops have logged into folders, and what other programs wrote down."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from ncore.cli.terminal import console, faults
from ncore.client import ApiError, Client
from ncore.client.given import check_counts
from ncore.client.sending import Sender
from ncore.client.spool import Spool, root_of, spools_in
from ncore.integrations.reading import Row, joined, read_rows
from ncore.presets import spec_of
from ncore.rows import MAX_SEED
from ncore.series import key_of
from ncore.spec import MAX_SEEDS


def sync(given: Namespace) -> int:
    """Sends every run of the folder; 1 where one was refused."""
    folder = root_of(given.folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder of a run or of runs")
    spools = spools_in(folder)
    if not spools:
        console.print(f"{folder} holds no runs")
    return max([_sent(spool, given.url) for spool in spools], default=0)


def _sent(spool: Spool, url: str | None) -> int:
    """Sends what is left of one run, and says what that was."""
    name = spool.about["body"]["name"] or spool.folder.name
    with Client(url or spool.about["url"], patience_seconds=10.0) as client:
        sender = Sender(spool, client)
        try:
            sender.send_all()
        except ApiError as error:
            faults.print(f"{name} ({spool.folder}): refused: {error}", style="red")
            return 1
    kept = f", of {sender.kept} other values were stored before and stay" if sender.kept else ""
    ended = f"; it is {sender.status}" if sender.status else ""
    kept += f", class means not taken: {sender.without_geometry}" if sender.without_geometry else ""
    sent = f"{sender.sent} rows sent{kept}{ended}" if sender.status else "everything was sent before"
    console.print(f"{name} (experiment {sender.id}): {sent}")
    return 0


def import_(given: Namespace) -> int:
    """Makes one experiment of the files. The same again sends the same, which changes nothing: so an import that was
    broken off is completed by repeating it.
    """
    rows = _rows_of(given.files, given.seed)
    name = _name_of(given.files[0]) if given.name is None else given.name
    model = {"kind": "external", "classes": given.classes}
    body = spec_of({"name": name, "tags": given.tag, "model": model}).model_dump(mode="json")
    with tempfile.TemporaryDirectory(prefix="ncore-import-") as folder, Client(given.url) as client:
        key = str(uuid.uuid4()) if given.again else _digest(body, rows)
        spool = Spool.create(Path(folder), {"body": body, "url": given.url, "seed": 0, "key": key})
        for seed, step, values in rows:
            found = {key_of(*metric): value for metric, value in values.items()}
            spool.append({"seed": seed, "step": step, "values": found})
        spool.append({"ended": "succeeded", "reason": None})
        sender = Sender(spool, client)
        sender.send_all()
    if given.quiet:
        console.print(str(sender.id))
        return 0
    seeds = len({seed for seed, _, _ in rows})
    new = f"{sender.stored} new" if sender.stored else "all were there before"
    words = f"{len(rows)} rows of {seeds} {'seed' if seeds == 1 else 'seeds'}, {new}; it is {sender.status}"
    console.print(f"{name} (experiment {sender.id}): {words}")
    return 0


def _rows_of(files: Sequence[Path], seeds: Sequence[int]) -> list[Row]:
    """The rows of all files, with the checks that a service would make."""
    if len(seeds) not in (0, 1, len(files)):
        raise ValueError(f"--seed: must be given once, or once for each of the {len(files)} files; got {len(seeds)}")
    if wrong := [seed for seed in seeds if not 0 <= seed <= MAX_SEED]:
        raise ValueError(f"--seed: must be a whole number from 0 to {MAX_SEED}; got {wrong[0]}")
    of_each = seeds if len(seeds) == len(files) else [*(seeds or [0])] * len(files)
    rows = joined({str(file): read_rows(file, seed) for file, seed in zip(files, of_each, strict=True)})
    metrics, layers, of = set[str](), set[str](), {seed for seed, _, _ in rows}
    for _, _, values in rows:
        metrics, layers = check_counts(values, metrics, layers)
    if len(of) > MAX_SEEDS:
        raise ValueError(f"seeds: must be at most {MAX_SEEDS}, not {len(of)}")
    return rows


def _name_of(file: Path) -> str:
    """A folder's or a table's name; of an event file, whose name says nothing, its folder's."""
    path = file.absolute()
    return path.parent.name if ".tfevents." in path.name else path.stem if path.suffix.lower() == ".csv" else path.name


def _digest(body: Any, rows: Sequence[Row]) -> str:
    """The digest that recognises an import by what it sends."""
    found = [
        (seed, step, [(*key, value) for key, value in sorted(values.items(), key=str)]) for seed, step, values in rows
    ]
    return f"import-{hashlib.sha256(orjson.dumps([body, found], option=orjson.OPT_SORT_KEYS)).hexdigest()}"
