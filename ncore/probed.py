"""What a probe has measured: metrics, and the geometry that was at hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ncore.geometry import MOST_CLASSES, Array, Shape, shapes_of

MOST_NUMBERS = 60_000
"""Of the matrices of a step, six of 100 classes, so that they fit into a request; the levels farthest from the
classifier are left out beyond."""


class Probed(dict[tuple[str, str | None], float]):
    """{(metric, layer): value}, a dict like any other; `geometry`: Gram matrices of class means by layer and of W, and
    W H̄, which `run.log` keeps. None for more than 100 classes, or where a class has no samples."""

    geometry: tuple[Shape, ...] = ()


def geometry_of(means: Mapping[str, Array], weight: Array | None, last: str | None) -> tuple[Shape, ...]:
    """The geometry of class means (d, K) by layer, and of `weight` (K, d), which meets the layer `last`; nothing where
    it is too large, or not finite."""
    arrays = [*means.values(), *([] if weight is None else [weight])]
    classes = {one.shape[1] for one in means.values()} | (set() if weight is None else {len(weight)})
    if len(classes) != 1 or max(classes) > MOST_CLASSES or not all(np.isfinite(one).all() for one in arrays):
        return ()
    room = MOST_NUMBERS // max(classes) ** 2 - (0 if weight is None else 2)
    return tuple(shapes_of(dict(list(means.items())[-room:]), weight, last))
