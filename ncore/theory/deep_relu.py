"""MSE with ReLU between the layers, no bias, classes of one size: what is known beside the orthogonal frame (OF).

Only γ, K and M matter (`direction.py`). K = 2: OF is the global minimum (Súkeník, Mondelli & Lampert 2023). M ≥ 4 and
K ≥ 3: it is not. Classes can be put into blocks that do not interact, at the same γ, with f = Σ (m/K) f_m:

* one class on its own (OF) f_OF(γ), or at zero ½;
* the edges of the complete graph K_r, m = r(r−1)/2: the strongly regular graph of Súkeník, Lampert & Mondelli 2024.
  H_2 … H_{M−1} ∝ the r × m incidence matrix B, W_{M−1}H_{M−1} ∝ BᵀB − J, of which ReLU leaves I. Its value is
  f_OF(κγ) (derived). It is a saddle: descent from it goes lower, to no known form;
* three classes, two of them orthogonal and the third their sum, in two dimensions up to H_{M−1} (derived, found by
  descent; no closed form, so its value is that of a descent in its region from a fixed start, an upper bound).

Best known values are upper bounds. Nothing is proven about what is best.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ncore.theory.direction import critical, rest_of
from ncore.theory.packing import Block, Packing, pack
from ncore.theory.prediction import BetterKnown

Array = NDArray[np.float64]
MAX_CLASSES = 128
"""Packings are searched up to this many classes."""
BLOCK_OF_THREE = "block of three"
MARGIN = 1e-7
"""A value counts as better when it is lower by this share."""


def of_value(gamma: float, levels: int) -> float:
    """f_OF(γ) = (1−s)(1+Ms)/2, or ½ from γ_c on."""
    if gamma >= critical(levels):
        return 0.5
    rest = rest_of(gamma, levels)
    return rest * (1 + levels * (1 - rest)) / 2


def graph_classes(vertices: int) -> int:
    return vertices * (vertices - 1) // 2


def graph_vertices(classes: int) -> int | None:
    """r with K = r(r−1)/2, from r = 4 on (K = 3 is no graph solution of lower rank); None for another K."""
    vertices = round((1 + math.sqrt(1 + 8 * classes)) / 2)
    return vertices if vertices >= 4 and graph_classes(vertices) == classes else None


def kappa(vertices: int, levels: int) -> float:
    """κ of the graph solution with K = r(r−1)/2 classes, r ≥ 3, M ≥ 3: below 1 it beats OF at every λ.

    κ^{M+1} = K [(2(r−1)−K)²/(2(r−1)) + (r−1)(r−2)] r^{M−3} (√(2(r−1)) + (r−1)√(r−2))² / K^{M+1} (derived).
    """
    r, classes = vertices, graph_classes(vertices)
    last = (2 * (r - 1) - classes) ** 2 / (2 * (r - 1)) + (r - 1) * (r - 2)
    first = math.sqrt(2 * (r - 1)) + (r - 1) * math.sqrt(r - 2)
    log = math.log(last) + (levels - 3) * math.log(r) + 2 * math.log(first) - levels * math.log(classes)
    return math.exp(log / (levels + 1))


def graph_value(vertices: int, gamma: float, levels: int) -> float:
    """f_SRG(γ) = f_OF(κγ)."""
    return of_value(kappa(vertices, levels) * gamma, levels)


def is_optimal(classes: int, levels: int, gamma: float, widths: tuple[int, ...] = ()) -> bool | None:
    """Whether OF (zero from γ_c on) is the global minimum at widths ≥ K: true, false, or None where it is not known."""
    if classes == 2 or levels == 1:
        return True
    known = best_known(classes, levels, gamma, widths)
    return False if known is not None and known.objective < of_value(gamma, levels) * (1 - MARGIN) else None


def best_known(classes: int, levels: int, gamma: float, widths: tuple[int, ...] = ()) -> BetterKnown | None:
    """The best packing of blocks at γ for M ≥ 2 levels within the widths d_1 … d_M (wide enough if not given)."""
    blocks, limits = _blocks(classes, levels, gamma), _limits(classes, widths)
    found = pack(blocks, classes, limits) if classes <= MAX_CLASSES else _fill(blocks, classes, limits)
    if found is None:
        return None
    names = [name if count == 1 else f"{count} × {name}" for name, count in found.blocks.items() if count]
    graph = any(name.startswith("SRG") for name in found.blocks)
    source = "Súkeník, Lampert & Mondelli 2024" if graph else "descent from one start" if _has_three(names) else "OF"
    return BetterKnown(objective=found.value, structure=" + ".join(names), source=source)


def _fill(blocks: list[Block], classes: int, limits: tuple[int, int]) -> Packing | None:
    """A packing of the block that is best per class, with orthogonal frames for the rest: an upper bound too."""
    single = blocks[0]
    best = min(blocks, key=lambda block: block.value / block.classes)
    count = min(classes // best.classes, *(limit // t for limit, t in zip(limits, best.takes, strict=True) if t))
    rest = classes - count * best.classes
    if any(count * t + rest > limit for t, limit in zip(best.takes, limits, strict=True)):
        return None
    return Packing(count * best.value + rest * single.value, {best.name: count, single.name: rest})


def _has_three(names: list[str]) -> bool:
    return any(BLOCK_OF_THREE in name for name in names)


def _limits(classes: int, widths: tuple[int, ...]) -> tuple[int, int]:
    if not widths:
        return 2 * classes, 2 * classes
    return min(widths[:-1], default=2 * classes), widths[-1]


def _blocks(classes: int, levels: int, gamma: float) -> list[Block]:
    """Blocks with what they take of (the narrowest width below the last, the last width)."""
    blocks = [
        Block("orthogonal frame", 1, of_value(gamma, levels) / classes, (1, 1)),
        Block("class at zero", 1, 0.5 / classes, (0, 0)),
    ]
    if levels >= 3:
        vertices = 4
        while (size := graph_classes(vertices)) <= classes:
            value = graph_value(vertices, gamma, levels) * size / classes
            blocks.append(Block(f"SRG of {size} classes", size, value, (vertices, size)))
            vertices += 1
    if levels >= 4 and classes >= 3:
        blocks += [
            Block(BLOCK_OF_THREE, 3, three_value(gamma, levels, neurons) * 3 / classes, (2, neurons))
            for neurons in (3, 4)
        ]
    return blocks


@lru_cache(maxsize=4096)
def three_value(gamma: float, levels: int, neurons: int = 4) -> float:
    """Lowest objective found for K = 3 with `neurons` ≥ 3 in the last hidden layer and two in those before; all λ are
    equal and n = 1. OF's value where that is lower.

    H_1 … H_{M−1} = [e_1, e_2, e_1+e_2] at first, then rows that tell the first two apart and rows that carry the third.
    At its lowest some ReLUs of this structure are just at 0, where plain descent comes to a stop too early. So each
    keeps to its side, on or off, as a constraint, and the objective is smooth within them.
    """
    from scipy.optimize import minimize

    problem = _ThreeClasses(gamma, levels, neurons)
    sides = {"type": "ineq", "fun": lambda x: problem.at(x).sides, "jac": lambda x: problem.at(x).slopes}
    found = minimize(
        lambda x: problem.at(x).value,
        problem.start(),
        jac=lambda x: problem.at(x).gradient,
        method="SLSQP",
        constraints=sides,
        options={"maxiter": 300, "ftol": 1e-13},
    )
    return min(problem.objective(found.x), of_value(gamma, levels))


class _At(NamedTuple):
    """Value and gradient; `sides` are the values before each ReLU, signed so that ≥ 0 is the side it keeps to."""

    value: float
    gradient: Array
    sides: Array
    slopes: Array


class _ThreeClasses:
    """K = 3, n = 1, widths (2, …, 2, neurons), every λ = γ/3, as a function of H_1, W_1 … W_{M−1} in one vector θ.

    With the best W_M the objective is f = λ/2 (‖θ‖² + tr (H_MᵀH_M + γI)⁻¹).
    """

    def __init__(self, gamma: float, levels: int, neurons: int) -> None:
        self.gamma = gamma
        self.shapes = [(2, 3), *[(2, 2)] * (levels - 2), (neurons, 2)]
        self.cuts = np.cumsum([rows * columns for rows, columns in self.shapes])[:-1]
        size = sum(rows * columns for rows, columns in self.shapes)
        self.units = [part.reshape(size, *shape) for part, shape in self._split(np.eye(size))]
        """Derivatives of each matrix by each entry of θ."""
        first = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
        last = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])[:neurons]
        self.on = [*[first] * (levels - 2), last]
        """Which ReLUs are on, by layer."""
        self._known: tuple[bytes, _At] | None = None

    def _split(self, theta: Array) -> Iterator[tuple[Array, tuple[int, int]]]:
        return zip(np.split(theta, self.cuts, axis=-1), self.shapes, strict=True)

    def start(self) -> Array:
        rows = np.array([[0.7, -0.7], [-0.7, 0.7], [1.0, 0.3], [0.3, 1.0]])[: self.shapes[-1][0]]
        middle = [np.eye(2)] * (len(self.shapes) - 2)
        return np.concatenate([m.ravel() for m in (self.on[0], *middle, rows)])

    def objective(self, theta: Array) -> float:
        """f, whatever the sides."""
        level, *weights = (part.reshape(shape) for part, shape in self._split(theta))
        for weight in weights:
            level = np.maximum(weight @ level, 0.0)
        return self.gamma / 6 * float(theta @ theta + np.trace(self._inverse(level)))

    def _inverse(self, level: Array) -> NDArray[np.floating]:
        return np.linalg.inv(level.T @ level + self.gamma * np.eye(3))

    def at(self, theta: Array) -> _At:
        """f/λ, smooth within the sides."""
        key = theta.tobytes()
        if self._known is None or self._known[0] != key:
            self._known = key, self._at(theta)
        return self._known[1]

    def _at(self, theta: Array) -> _At:
        level, *weights = (part.reshape(shape) for part, shape in self._split(theta))
        change, sides, slopes = self.units[0], [], []
        for weight, by, on in zip(weights, self.units[1:], self.on, strict=True):
            level, change = weight @ level, weight @ change + by @ level
            sides.append(((2 * on - 1) * level).ravel())
            slopes.append(((2 * on - 1) * change).reshape(theta.size, -1))
            level, change = on * level, on * change
        inverse = self._inverse(level)
        gradient = theta - (change * (level @ inverse @ inverse)).sum(axis=(1, 2))
        value = (theta @ theta + np.trace(inverse)) / 2
        return _At(float(value), gradient, np.concatenate(sides), np.concatenate(slopes, axis=1).T)
