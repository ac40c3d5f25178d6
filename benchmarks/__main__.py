"""`python -m benchmarks [NAME …]`: runs the benchmarks and prints their ratios beside what they have to keep."""

from __future__ import annotations

import importlib
import pkgutil
import sys

from rich.console import Console
from rich.table import Table

import benchmarks


def main(names: list[str]) -> int:
    known = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if not m.name.startswith("_"))
    unknown = set(names) - set(known)
    if unknown:
        print(f"unknown benchmark {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return 2
    table = Table("benchmark", "ours", "reference", "unit", "ratio", "target", "kept")
    missed = 0
    for name in names or known:
        print(f"running {name} ...", flush=True)
        for row in importlib.import_module(f"benchmarks.{name}").run():
            if isinstance(row, benchmarks.NotRun):
                table.add_row(f"{name}: {row.name}", "not run", "", "", "", "", row.reason)
                continue
            missed += not row.kept
            cells = (f"{row.ours:.4g}", f"{row.reference:.4g}", row.unit, f"{row.ratio:.3g}", row.target)
            table.add_row(f"{name}: {row.name}", *cells, "yes" if row.kept else "NO")
    Console(width=140).print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
