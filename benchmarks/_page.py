"""The page of the benchmarks, `docs/benchmarks.md`, and its pictures, made from their record."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from benchmarks import MISSED, YARDSTICK, shortfall, verdict
from benchmarks._misses import MISSES
from benchmarks._record import PATH, Record
from ncore.pictures.marks import DASHES
from ncore.pictures.picture import Picture
from ncore.pictures.themes import THEMES, Layout

FOLDER = PATH.parent / "benchmarks"
LAYOUT = Layout(width=460, height=300)
HEAD = """# Benchmarks

This page is made by `make bench` (`python -m benchmarks --write`); `make bench-check` measures again and fails where a
ratio is worse than here beyond the spread of both. What is compared runs in one process, in turns one after the other,
on the same input, and its result is first held against a slow reference. Times are medians over the turns; a ratio
stands with the quartiles of the turns' own ratios. On one thread they are CPU times of that thread; where all cores
help what ours is held against, the clock's. A ratio with a goal ≥ says how many times as fast ours is, one with a
goal ≤ how many times what it is held against ours takes. Missed is what its better quartile misses, too; where only
the median does, the goal is within the spread. Goals in seconds hold as they are on a machine on which `import torch`
takes {yardstick:g} s of CPU time (that of 2026-11-26); on a slower one, as measured once beside each, they are as much
longer.
"""
GROWTHS = """
Work at several sizes, the least of the turns of each; the exponent is that of the last two (1: linear, 0: the size does
not matter), with the quartiles of the turns' own.

| | sizes | takes | exponent | quartiles | goal | |
|---|---|---|---|---|---|---|
"""
ROWS = """
| | ours | held against | ratio | quartiles | goal | |
|---|---|---|---|---|---|---|
"""


def write(record: Record) -> None:
    FOLDER.mkdir(exist_ok=True)
    Picture(ratios(record)).save(FOLDER / "ratios.svg")
    Picture(growth(record)).save(FOLDER / "growth.svg")
    PATH.with_suffix(".md").write_text(page(record))


def page(record: Record) -> str:
    """The page as Markdown."""
    parts = [HEAD.format(yardstick=YARDSTICK), _made(record)]
    parts.append("\n![How many times better than its goal each row is](benchmarks/ratios.svg)\n")
    for name in sorted(record):
        words = (importlib.import_module(f"benchmarks.{name}").__doc__ or "").split("\n\n")[0]
        parts.append(f"\n## {name}\n\n{' '.join(words.split())}\n")
        parts += _sections(record[name])
    parts.append("\n![What larger work takes](benchmarks/growth.svg)\n")
    return "".join([*parts, *_missed(record)])


def _made(record: Record) -> str:
    """Where and when: a line for each machine and date with the modules that ran there."""
    runs: dict[str, list[str]] = {}
    for name, part in sorted(record.items()):
        on = part["machine"]
        versions = ", ".join(f"{package} {version}" for package, version in on["versions"].items())
        where = f"{on['date']} on {on['processor']}, {on['cores']} cores, {on['system']}; {versions}"
        speed = f", `import torch` {on['yardstick']:.2f} s" if "yardstick" in on else ""
        runs.setdefault(where, []).append(f"{name} ({part['seconds']:.0f} s at load {on['load']}{speed})")
    return "".join(f"\n- {where}: {', '.join(names)}" for where, names in runs.items()) + "\n"


def _sections(part: Record) -> Iterator[str]:
    if part["rows"]:
        yield ROWS + "".join(_row_line(row) for row in part["rows"])
    if part["growth"]:
        yield GROWTHS + "".join(_growth_line(one) for one in part["growth"])
    for one in part["not_run"]:
        yield f"\nNot run: {one['name']}: {one['reason']}.\n"


def _row_line(row: Record) -> str:
    low, high = row["spread"]
    against = f"{row['against']}: {row['reference']:.3g} {row['unit']}"
    goal = row["target"].replace("<=", "≤").replace(">=", "≥")
    kept = _marked(verdict(row["target"], row["ratio"], row["spread"]))
    name = row["name"] + (f" ({row['note']})" if row["note"] else "")
    cells = (name, f"{row['ours']:.3g} {row['unit']}", against, f"{row['ratio']:.3g}",
             f"{low:.3g} … {high:.3g}", goal, kept)  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def _growth_line(one: Record) -> str:
    sizes = ", ".join(f"{size:,.0f}" for size in one["sizes"])
    values = ", ".join(f"{value:.3g}" for value in one["values"])
    low, high = one["spread"]
    found = _marked(verdict(f"<= {one['most']}", one["slope"], one["spread"]))
    return (
        f"| {one['name']} | {one['variable']} = {sizes} | {values} {one['unit']} | {one['slope']:.2f} | "
        f"{low:.2f} … {high:.2f} | ≤ {one['most']} | {found} |\n"
    )


def _marked(found: str) -> str:
    return f"**{found}**" if found == MISSED else found


def _missed(record: Record) -> Iterator[str]:
    names = [
        f"{module}: {one['name']}"
        for module, part in sorted(record.items())
        for one in part["rows"] + part["growth"]
        if not one["kept"]
    ]
    if names:
        yield "\n## What is missed, and why\n\n"
    for name in names:
        yield f"- {name}: {MISSES[name].reason if name in MISSES else 'not explained.'}\n"


def ratios(record: Record) -> dict[str, Any]:
    """Vega-Lite: a dot for each row, right of the line where its goal is kept, with its quartiles."""
    rows = [
        {
            "row": f"{module}: {row['name']}",
            "module": module,
            **{name: 1 / shortfall(row["target"], value)
               for name, value in (("value", row["ratio"]), ("low", row["spread"][0]), ("high", row["spread"][1]))},
        }
        for module, part in sorted(record.items())
        for row in part["rows"]
    ]  # fmt: skip
    over = {"scale": {"type": "log"}, "title": "times better than the goal"}
    names = {"field": "row", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 460}}
    colour = {
        "field": "module",
        "type": "nominal",
        "title": None,
        "scale": THEMES["light"].scale(sorted(record)),
        "legend": None,
    }
    value = {"field": "value", "type": "quantitative", **over}
    ends = {"x": {"field": "low", "type": "quantitative", **over}, "x2": {"field": "high"}}
    goal = {"mark": {"type": "rule", "strokeDash": [2, 3]}, "encoding": {"x": {"datum": 1, "type": "quantitative"}}}
    return _whole(
        {"name": "rows", "values": rows},
        [
            goal,
            {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": {"y": names, "color": colour, **ends}},
            {
                "mark": {"type": "point", "filled": True, "size": 50},
                "encoding": {"y": names, "color": colour, "x": value},
            },
        ],
        {"width": LAYOUT.width, "height": {"step": 17}, "title": "Every row beside its goal"},
    )


def growth(record: Record) -> dict[str, Any]:
    """Vega-Lite: what work takes over its size, both as multiples of the smallest, on logarithmic axes."""
    found = [one for _, part in sorted(record.items()) for one in part["growth"]]
    rows = [
        {"name": one["name"], "size": size / one["sizes"][0], "takes": value / one["values"][0]}
        for one in found
        for size, value in zip(one["sizes"], one["values"], strict=True)
    ]
    largest = max((row["size"] for row in rows), default=10)
    linear = [{"name": "linear", "size": size, "takes": size} for size in (1, largest)]
    scale = {"scale": {"type": "log"}, "type": "quantitative"}
    at = {"x": {"field": "size", "title": "times the smallest size", **scale},
          "y": {"field": "takes", "title": "times what it takes", **scale}}  # fmt: skip
    names = [one["name"] for one in found]
    colour = {"field": "name", "type": "nominal", "title": None, "scale": THEMES["light"].scale(names),
              "legend": {"orient": "right", "labelLimit": 300, "symbolLimit": 0}}  # fmt: skip
    dashes = [DASHES[i // len(THEMES["light"].colours) % len(DASHES)] for i in range(len(names))]
    dash = {"field": "name", "type": "nominal", "legend": None, "scale": {"domain": names, "range": dashes}}
    return _whole(
        {"name": "rows", "values": rows},
        [
            {
                "data": {"values": linear},
                "mark": {"type": "line", "strokeDash": [2, 3], "color": "#58616b"},
                "encoding": at,
            },
            {"mark": {"type": "line", "point": True}, "encoding": {**at, "color": colour, "strokeDash": dash}},
        ],
        {"width": LAYOUT.width, "height": 420, "title": "What larger work takes (dotted: linear)"},
    )


def _whole(data: dict[str, Any], layers: list[dict[str, Any]], sizes: dict[str, Any]) -> dict[str, Any]:
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": sizes["title"],
        "data": data,
        "layer": layers,
        **sizes,
        "config": THEMES["light"].config(LAYOUT),
    }
