"""Where theory changes its answer over one or two axes of a sweep: what is drawn on top of what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ncore.spec import SpecError, UfmSpec
from ncore.sweeps.plan import spec_at
from ncore.sweeps.ruler import Ruler
from ncore.theory import Threshold, boundaries_of, predict
from ncore.theory.prediction import BEST_KNOWN

COLUMNS, ROWS = 41, 25
"""Size of the lattice on which crossings are looked for; each is then found by bisection."""
HALVINGS = 24
"""Bisections, to a millionth of a cell."""
DOUBTFUL = ("c", "gamma", "kappa")
"""Boundaries of models whose minimum need not be proven: they say where a frame, or the best known, is left."""
Place = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A boundary as positions along both axes (`Ruler`); `label` says what it is. `pieces` are connected each."""

    name: str
    label: str
    pieces: list[list[Place]]


class Theory:
    """The boundaries of a base spec with some fields moved."""

    def __init__(self, body: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
        self.body, self.fixed = body, fixed

    def at(self, point: Mapping[str, Any]) -> dict[str, Threshold]:
        """{name: threshold} there; empty where the spec is none or theory knows nothing."""
        try:
            spec = spec_at(self.body, {**self.fixed, **point})
        except SpecError:
            return {}
        return {one.name: one for one in boundaries_of(spec)} if isinstance(spec, UfmSpec) else {}

    def label(self, name: str, points: Sequence[Mapping[str, Any]]) -> str:
        """The boundary in symbols, and what it is of where that is not proven to be the minimum. The first of the
        points is on it, the others are on its two sides."""
        return _label(self.at(points[0]).get(name), name) + self._standing(name, points)

    def _standing(self, name: str, points: Sequence[Mapping[str, Any]]) -> str:
        if name not in DOUBTFUL:
            return ""
        if name == "kappa":
            return f" ({BEST_KNOWN})"
        is_proven, frame = True, ""
        for point in points:
            if self.at(point):
                known = predict(spec_at(self.body, {**self.fixed, **point}))
                is_proven = is_proven and bool(known.global_minimum)
                frame = frame or (known.structure if known.objective is not None and known.regime != "zero" else "")
            if frame and not is_proven:
                break  # of deep ReLU models each prediction takes seconds
        return "" if is_proven else f" ({frame or 'not proven'})"

    def excesses(self, point: Mapping[str, Any]) -> dict[str, float]:
        return {name: one.excess for name, one in self.at(point).items()}


def crossings(theory: Theory, x: Ruler) -> list[tuple[str, str, float]]:
    """(name, label, position) of every boundary that is crossed along one axis."""
    if not x.is_continuous:
        return []
    found = []
    for name, places in _crossed(lambda u: theory.excesses(x.point(u)), _lattice(x, COLUMNS)).items():
        found += [(name, theory.label(name, [x.point(at) for at in _around(u)]), u) for u in places]
    return found


def curves(theory: Theory, x: Ruler, y: Ruler) -> list[Curve]:
    """Every boundary over two axes: found column by column, or row by row where only the rows are continuous."""
    x = _refined(theory, x, y)
    y = _refined(theory, y, x)
    if not y.is_continuous:
        if not x.is_continuous:
            return []
        return [Curve(one.name, one.label, [[(u, v) for v, u in piece] for piece in one.pieces])
                for one in curves(theory, y, x)]  # fmt: skip
    rows = _lattice(y, ROWS)
    columns = _lattice(x, COLUMNS) if x.is_continuous else [i + 0.5 for i in range(len(x.values))]
    found: dict[str, list[list[Place]]] = {}
    labels: dict[str, str] = {}
    for u in columns:
        own = x.point(u)
        for name, places in _crossed(lambda v, own=own: theory.excesses({**own, **y.point(v)}), rows).items():  # type: ignore[misc]
            if places and name not in labels:
                labels[name] = theory.label(name, [{**own, **y.point(at)} for at in _around(places[0])])
            for i, v in enumerate(places):
                _add(found.setdefault(name, []), i, (u, v), x, columns)
    return [Curve(name, labels[name], pieces) for name, pieces in found.items()]


def _around(position: float) -> tuple[float, float, float]:
    """A place on an axis, and a tenth of a cell to both sides of it."""
    return position, position - 0.1, position + 0.1


def _add(pieces: list[list[Place]], i: int, place: Place, x: Ruler, columns: Sequence[float]) -> None:
    """Puts a crossing on the curve that the column before has as its i-th; on an axis of categories each stands alone,
    as wide as its column."""
    u, v = place
    if not x.is_ordered:
        pieces.append([(u - 0.5, v), (u + 0.5, v)])
        return
    step = columns[1] - columns[0] if len(columns) > 1 else 1.0
    open_ones = [piece for piece in pieces if math.isclose(piece[-1][0], u - step, abs_tol=1e-6)]
    if i < len(open_ones):
        open_ones[i].append(place)
    else:
        pieces.append([place])


def _refined(theory: Theory, one: Ruler, other: Ruler) -> Ruler:
    """The axis, continuous only where a value between two of its own gives a spec."""
    if not one.is_continuous or theory.at({**one.point(1.0), **other.point(0.5)}):
        return one
    return one.stepwise()


def _lattice(ruler: Ruler, count: int) -> list[float]:
    low, high = ruler.ends
    return [low + (high - low) * i / (count - 1) for i in range(count)]


def _crossed(excess: Callable[[float], Mapping[str, float]], grid: Sequence[float]) -> dict[str, list[float]]:
    """{name: where its excess changes sign between neighbours of the grid}."""
    values = [excess(at) for at in grid]
    found: dict[str, list[float]] = {}
    for low, high, one, other in zip(grid, grid[1:], values, values[1:], strict=False):
        for name in one.keys() & other.keys():
            if not (math.isfinite(one[name]) and math.isfinite(other[name])):
                continue
            if (one[name] < 0) != (other[name] < 0):
                found.setdefault(name, []).append(_bisected(excess, name, low, high, one[name] < 0))
    return found


def _bisected(excess: Callable[[float], Mapping[str, float]], name: str, low: float, high: float, below: bool) -> float:
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        value = excess(middle).get(name)
        if value is None:
            break
        if (value < 0) == below:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _label(threshold: Threshold | None, name: str) -> str:
    """The boundary in the symbols of the theory."""
    if threshold is not None and name == "c":
        critical = threshold.critical
        return "c = 1" if critical == 1 else "c + α = 1" if critical < 1 else f"c = {critical:.4g}"
    return LABELS.get(name, name)


LABELS = {
    "gamma": "γ = γ_c",
    "lambda_b": "λ_b = γ/(γ_c − γ)",
    "n_B": "n_B = N²λ_Wλ_H",
    "mu": "μ critical",
    "kappa": "κ = 1",
}
