"""`python -m benchmarks [--write | --check | --smallest] [NAME …]`: runs the benchmarks, prints them with their goals.

`--write` makes `docs/benchmarks.md`, its pictures and its record anew; exit status 1 where a goal is missed that no
record of misses explains. `--check` writes nothing; 1 where a ratio is worse than the committed one beyond their
spread. With `--smallest`, where the figures mean nothing, only an error counts.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks import KEPT, MISSED, Growth, NotRun, Result, Row, _page, _record

OPTIONS = ("--write", "--check", "--smallest")


def main(arguments: list[str]) -> int:
    options = {one for one in arguments if one.startswith("--")}
    names = [one for one in arguments if one not in options]
    known = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if not m.name.startswith("_"))
    for what, unknown, there in (
        ("option", options - set(OPTIONS), OPTIONS),
        ("benchmark", set(names) - set(known), known),
    ):
        if unknown:
            print(f"unknown {what} {', '.join(sorted(unknown))}; there are {', '.join(there)}")
            return 2
    record = _record.load()
    complaints: list[str] = []
    lines: list[str] = []
    table = Table("benchmark", "ours", "against", "", "unit", "ratio", "quartiles", "goal", "kept")
    for name in names or known:
        print(f"running {name} ...", flush=True)
        began = time.monotonic()
        results: Sequence[Result] = importlib.import_module(f"benchmarks.{name}").run("--smallest" in options)
        found = _record.of_module(results, time.monotonic() - began)
        for one in results:
            table.add_row(*_cells(name, one))
            lines += [f"{name}: {one.name}: not run: {one.reason}"] if isinstance(one, NotRun) else []
        if "--check" in options:
            complaints += _record.regressions(name, found, record[name]) if name in record else []
        elif "--smallest" not in options:
            complaints += [why for one in found["rows"] + found["growth"] if (why := _record.unexplained(name, one))]
        if "--write" in options:
            record = {**_record.load(), name: found}
            _record.save(record)
            _page.write(record)
    if len(lines) == table.row_count:
        print("\n".join(lines))
    else:
        Console(width=180).print(table)
    print("\n".join(complaints))
    return 1 if complaints else 0


def _cells(name: str, one: Result) -> tuple[str, ...]:
    if isinstance(one, NotRun):
        return (f"{name}: {one.name}", "not run", one.reason)
    if isinstance(one, Growth):
        sizes = " ".join(f"{size:,g}" for size in one.sizes)
        values = " ".join(f"{value:.3g}" for value in one.values)
        return (f"{name}: {one.name}", values, f"{one.variable} = {sizes}", "", one.unit, f"{one.slope:.2f}",
                f"{one.spread[0]:.2f} … {one.spread[1]:.2f}", f"<= {one.most}", _kept(one))  # fmt: skip
    return (f"{name}: {one.name}", f"{one.ours:.4g}", one.against, f"{one.reference:.4g}", one.unit,
            f"{one.ratio:.3g}", f"{one.spread[0]:.3g} … {one.spread[1]:.3g}", one.target, _kept(one))  # fmt: skip


def _kept(one: Row | Growth) -> str:
    return {KEPT: "yes", MISSED: "NO"}.get(one.verdict, one.verdict)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
