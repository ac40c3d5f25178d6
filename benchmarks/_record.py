"""The record of a run of the benchmarks, `docs/benchmarks.json`: what the page is made from and later runs are held
against. Modules that were not run again keep what they had."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from benchmarks import Growth, NotRun, Result, Row, shortfall, yardstick
from benchmarks._misses import MISSES

PATH = Path(__file__).parents[1] / "docs" / "benchmarks.json"
PACKAGES = ("torch", "numpy", "scipy", "fastapi", "celery", "sqlalchemy")
MARGIN = 0.15
"""What a committed spread is widened by on each side: few turns give quartiles that are too narrow."""
GROWN = 0.15
"""How much larger an exponent may be than the committed one."""

Record = dict[str, Any]


def load() -> Record:
    return orjson.loads(PATH.read_bytes()) if PATH.exists() else {}


def save(record: Record) -> None:
    PATH.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def of_module(results: Sequence[Result], seconds: float) -> Record:
    """What one module found, where and when."""
    return {
        "machine": machine(),
        "seconds": round(seconds, 1),
        "rows": [_row(one) for one in results if isinstance(one, Row)],
        "growth": [
            {**one._asdict(), "slope": one.slope, "kept": one.kept} for one in results if isinstance(one, Growth)
        ],
        "not_run": [one._asdict() for one in results if isinstance(one, NotRun)],
    }


def _row(row: Row) -> Record:
    return {**row._asdict(), "ratio": row.ratio, "kept": row.kept}


def machine() -> Record:
    """Processor, cores, load, speed, versions and date of a measurement."""
    versions = {name: importlib.metadata.version(name) for name in ("ncore", *PACKAGES)}
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "yardstick": round(yardstick(), 2),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **versions},
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def unexplained(module: str, one: Record) -> str | None:
    """Why a row or a growth that misses its goal is not explained by `MISSES`; None where all is well."""
    name, is_row = f"{module}: {one['name']}", "target" in one
    if one["kept"]:
        return None
    if name not in MISSES:
        return f"{name}: misses its goal, and nothing explains it"
    worse = shortfall(one["target"], one["ratio"]) if is_row else one["slope"] / one["most"]
    known = shortfall(one["target"], MISSES[name].measured) if is_row else MISSES[name].measured / one["most"]
    if worse > known * (1 + MARGIN):
        return f"{name}: misses its goal by more than is explained ({worse:.3g} times, explained: {known:.3g})"
    return None


def regressions(module: str, now: Record, before: Record) -> list[str]:
    """What became worse than the committed record beyond the spread of both."""
    return [*_worse_rows(module, now["rows"], before["rows"]), *_worse_growth(module, now["growth"], before["growth"])]


def _worse_rows(module: str, now: list[Record], before: list[Record]) -> list[str]:
    committed, found = {row["name"]: row for row in before}, []
    for row in now:
        old = committed.get(row["name"])
        if old is None or old["against"] != row["against"]:
            continue  # held against something else, the ratios say nothing about ours
        (low, high), (old_low, old_high) = row["spread"], old["spread"]
        is_less_better = row["target"].startswith("<=")
        worse = low > old_high * (1 + MARGIN) if is_less_better else high < old_low / (1 + MARGIN)
        if worse:
            found.append(f"{module}: {row['name']}: {row['ratio']:.3g}, committed {old['ratio']:.3g}")
    return found


def _worse_growth(module: str, now: list[Record], before: list[Record]) -> list[str]:
    committed = {one["name"]: one["slope"] for one in before}
    return [
        f"{module}: {one['name']}: exponent {one['slope']:.2f}, committed {committed[one['name']]:.2f}"
        for one in now
        if one["name"] in committed and one["slope"] > max(committed[one["name"]], 0.5) + GROWN
    ]
