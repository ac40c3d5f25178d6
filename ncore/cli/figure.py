"""The command that saves the picture of one experiment, of its geometry, or of several experiments in one."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ncore.cli.output import experiments_of
from ncore.cli.terminal import console
from ncore.client import Client, Experiment

OF_ONE = ("seed",)
OF_SEVERAL = ("metric", "x", "color", "xscale", "yscale")
OF_ALL = ("layer", "columns", "style", "theme", "width", "height", "font", "fontsize", "dpi", "title", "legend")


def figure(given: Namespace) -> int:
    if given.geometry or given.singular_values:
        return _geometry(given)
    if given.step is not None:
        raise ValueError("--step: is for --geometry")
    allowed, others = (OF_ONE, OF_SEVERAL) if len(given.ids) == 1 else (OF_SEVERAL, (*OF_ONE, "panels"))
    wrong = next((name for name in others if getattr(given, name) is not None), None)
    if wrong is not None:
        raise ValueError(f"--{wrong}: is for {'several experiments' if len(given.ids) == 1 else 'one experiment'}")
    asked = {name: value for name in (*allowed, *OF_ALL) if (value := getattr(given, name)) is not None}
    if given.panels is not None:
        asked["panel"] = names_in(given.panels)
    if "metric" in asked:
        asked["metric"] = names_in(asked["metric"])
    with Client(given.url) as client:
        save(client, experiments_of(client, given.ids), given.out, asked)
    console.print(str(given.out))
    return 0


def _geometry(given: Namespace) -> int:
    """Saves the picture of the geometry at a step, or of the singular values over the steps."""
    option = "--geometry" if given.geometry else "--singular-values"
    if len(given.ids) > 1:
        raise ValueError(f"{option}: is for one experiment; got {len(given.ids)}")
    if given.seed is not None and len(given.seed) > 1:
        raise ValueError(f"--seed: must be given once with {option}; got {', '.join(given.seed)}")
    others = (*OF_SEVERAL, "panels", *(() if given.geometry else ("step",)))
    wrong = next((name for name in others if getattr(given, name) is not None), None)
    if wrong is not None:
        raise ValueError(f"--{wrong}: cannot be given with {option}")
    asked = {name: value for name in (*OF_ONE, "step", *OF_ALL) if (value := getattr(given, name)) is not None}
    with Client(given.url) as client:
        (experiment,) = experiments_of(client, given.ids)
        (experiment.plot_geometry if given.geometry else experiment.plot_singular_values)(given.out, **asked)
    console.print(str(given.out))
    return 0


def names_in(text: str) -> list[str]:
    """The names in a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def save(client: Client, experiments: Sequence[Experiment], out: Path, asked: Mapping[str, Any]) -> None:
    """Saves the picture; the file's ending says its form."""
    if len(experiments) == 1:
        experiments[0].plot(out, **{name: value for name, value in asked.items() if name not in OF_SEVERAL})
    else:
        client.compare(experiments, out, **asked)
