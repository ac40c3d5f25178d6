"""`python -m benchmarks [--smallest] [NAME …]`: runs the benchmarks and prints ratios beside what they have to keep.

Exits with 1 where a ratio is not kept; with `--smallest`, where the figures mean nothing, only an error counts.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

from rich.console import Console
from rich.table import Table

import benchmarks

SMALLEST = "--smallest"


def main(arguments: list[str]) -> int:
    smallest = SMALLEST in arguments
    names = [name for name in arguments if name != SMALLEST]
    known = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if not m.name.startswith("_"))
    unknown = set(names) - set(known)
    if unknown:
        print(f"unknown benchmark {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return 2
    table = Table("benchmark", "ours", "reference", "unit", "ratio", "quartiles", "target", "kept")
    missed = 0
    for name in names or known:
        print(f"running {name} ...", flush=True)
        for row in importlib.import_module(f"benchmarks.{name}").run(smallest):
            if isinstance(row, benchmarks.NotRun):
                table.add_row(f"{name}: {row.name}", "not run", "", "", "", "", "", row.reason)
                continue
            missed += not row.kept
            spread = "" if row.spread is None else f"{row.spread[0]:.3g} … {row.spread[1]:.3g}"
            cells = (f"{row.ours:.4g}", f"{row.reference:.4g}", row.unit, f"{row.ratio:.3g}", spread, row.target)
            table.add_row(f"{name}: {row.name}", *cells, "yes" if row.kept else "NO")
    Console(width=160).print(table)
    return 1 if missed and not smallest else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
