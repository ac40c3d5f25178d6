"""Where a run starts, and the samples in the coordinates in which it is trained.

Letters: S replicas, K classes, d features, C columns, r = min(d, N) directions of the within-class part.

Full form: the columns of X are the samples, C = N. Sample-free form (theory.md, "Gradient descent without the
samples"): write H₁ = H̄ ⊗ 1ᵀ + F Q with orthonormal rows of Q; in the orthonormal basis of R^N made of the class
indicators/√n_k and the rows of Q the samples are X = [H̄ diag(√n_k) | F] and the targets T = [diag(√n_k) | 0]. Both
the objective and its gradient keep their form under an orthonormal change of basis, so gradient descent on X (with
momentum too) *is* gradient descent on H₁, and F keeps the relative accuracy of the within-class part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncore.spec import UfmSpec
from ncore.stopping import Check, go_on
from ncore.ufm.estimate import EXPLICIT, MAX_DRAWN_NUMBERS

DRAWN_AT_ONCE = 2**22
"""Numbers that are drawn between two checks; a multiple of 16, so that the pieces are the bits of the whole."""


@dataclass(frozen=True)
class Start:
    """One replica's start on the CPU in float64. `q` (r, m) and `labels` (m,) are the samples known one by one."""

    columns: Tensor  # X: (d_1, C)
    weights: list[Tensor]  # W_j: (d_{j+1}, d_j)
    bias: Tensor  # (K,)
    targets: Tensor  # T: (K, C)
    ones: Tensor  # the all-ones vector of R^N in these coordinates: (C,)
    labels: Tensor
    q: Tensor | None = None
    gram: Tensor | None = None  # Σ_{i∈k} q_i q_iᵀ: (K, r, r)
    given: Tensor | None = None  # the labels as they were given, with label noise: (m,)


def make_start(spec: UfmSpec, seed: int, given: Mapping[str, Any] | None = None, check: Check = go_on) -> Start:
    """Draws H₁, W_1, …, W_M ~ N(0, init_scale²) in this order from `seed` (b starts at 0), or takes what is `given`.

    `given`: {"H": (d_1, N), "W": [W_1, …], "b": (K,)}, each of them optional, samples ordered by class.
    Raises ValueError naming the array, its shape and the one that is due.
    """
    model, given = spec.model, given or {}
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor(model.class_sizes)
    heights = (*model.widths[1:], model.outputs)
    sample_free = spec.sample_free
    drawn = not sample_free or "H" in given or model.widths[0] * int(sizes.sum()) <= MAX_DRAWN_NUMBERS

    if drawn:
        features = _draw(generator, model.init_scale, model.widths[0], int(sizes.sum()), check)
        features = _given(given, "H", features)
        parts = _reduce(features, sizes) if sample_free else None
    else:
        parts = _draw_reduced(generator, model.init_scale, model.widths[0], sizes, check)
    weights = [
        _draw(generator, model.init_scale, rows, columns, check)
        for rows, columns in zip(heights, model.widths, strict=True)
    ]
    if model.classifier == "etf":
        if "W" in given:
            raise ValueError("start['W'] must not be given while model.classifier is etf")
        weights[-1] = simplex_etf(weights[-1]) * model.row_norm
    if "W" in given:
        if len(given["W"]) != len(weights):
            raise ValueError(f"start['W'] has {len(given['W'])} matrices, must have {len(weights)}")
        weights = [_given({f"W_{j + 1}": w}, f"W_{j + 1}", weights[j]) for j, w in enumerate(given["W"])]
    bias = _given(given, "b", torch.zeros(model.outputs, dtype=torch.float64))
    if model.normalized:
        features, weights = _unit(features, 0), [_unit(w, 1) for w in weights]

    of_classes = class_targets(spec)
    if parts is None:
        labels = torch.arange(model.classes).repeat_interleave(sizes)
        dealt = _given_labels(spec) if model.label_noise else None
        targets = of_classes[:, labels if dealt is None else dealt]
        ones = torch.ones(len(labels), dtype=torch.float64)
        return Start(features, weights, bias, targets, ones, labels, given=dealt)
    means, root, q, labels, gram = parts
    lengths = sizes.to(torch.float64).sqrt()
    rest = torch.zeros(root.shape[1], dtype=torch.float64)
    targets = torch.cat([of_classes * lengths, rest.expand(model.outputs, -1)], dim=1)
    columns = torch.cat([means * lengths, root], dim=1)
    return Start(columns, weights, bias, targets, torch.cat([lengths, rest]), labels, q, gram)


def class_targets(spec: UfmSpec) -> Tensor:
    """The targets of each class's samples, a column each: (K, K), or (t, K) where targets are given."""
    if spec.model.targets is not None:
        return torch.tensor(spec.model.targets, dtype=torch.float64)
    return spec.criterion.targets(torch.eye(spec.model.classes, dtype=torch.float64), 0)


def simplex_etf(drawn: Tensor) -> Tensor:
    """Rows (K, d) of norm 1 in a simplex ETF, turned at random: its K − 1 dimensions are the span of `drawn` rows."""
    classes = len(drawn)
    centred = torch.eye(classes, dtype=torch.float64) - 1 / classes
    directions = torch.linalg.eigh(centred).eigenvectors[:, 1:]  # rows of these are the ETF in its own dimensions
    frame = torch.linalg.qr(drawn[: classes - 1].mT).Q
    return (classes / (classes - 1)) ** 0.5 * directions @ frame.mT


def _given_labels(spec: UfmSpec) -> Tensor:
    """The labels as given, for samples ordered by their true class."""
    counts = torch.tensor(spec.model.given_labels)
    own = [torch.cat([row.new_full((int(row[k]),), k), _dealt(row, k)]) for k, row in enumerate(counts)]
    return torch.cat(own)


def _dealt(row: Tensor, k: int) -> Tensor:
    others = row.clone()
    others[k] = 0
    return torch.arange(len(row)).repeat_interleave(others)


def _unit(matrix: Tensor, dim: int) -> Tensor:
    return torch.nn.functional.normalize(matrix, dim=dim)


Parts = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Class means (d, K), root F (d, r) of the scatter, q (r, m), labels (m,), Gram of q per class (K, r, r)."""


def _draw(generator: torch.Generator, scale: float, rows: int, columns: int, check: Check = go_on) -> Tensor:
    """N(0, scale²) numbers (rows, columns): bit for bit torch.randn's, whose last piece has to hold 16 of them."""
    drawn = torch.empty(rows, columns, dtype=torch.float64)
    flat, start = drawn.view(-1), 0
    while len(flat) - start >= 2 * DRAWN_AT_ONCE:
        check()
        flat[start : start + DRAWN_AT_ONCE].normal_(generator=generator).mul_(scale)
        start += DRAWN_AT_ONCE
    check()
    flat[start:].normal_(generator=generator).mul_(scale)
    return drawn


def _given(given: Mapping[str, Any], name: str, default: Tensor) -> Tensor:
    if name not in given:
        return default
    value = torch.as_tensor(given[name]).detach().to("cpu", torch.float64)
    if value.shape != default.shape:
        raise ValueError(f"start['{name}'] has shape {tuple(value.shape)}, must have {tuple(default.shape)}")
    if not bool(value.isfinite().all()):
        raise ValueError(f"start['{name}'] holds numbers that are not finite")
    return value.clone()


def _class_means(features: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means (d, K), centred features and labels of features ordered by class."""
    labels = torch.arange(len(sizes)).repeat_interleave(sizes)
    means = torch.stack([part.mean(dim=1) for part in torch.split(features, sizes.tolist(), dim=1)], dim=1)
    return means, features - means[:, labels], labels


def _reduce(features: Tensor, sizes: Tensor) -> Parts:
    """The same samples in sample-free coordinates: F = Rᵀ of a QR of the centred features."""
    means, centred, labels = _class_means(features, sizes)
    q, upper = torch.linalg.qr(centred.mT)
    q = q.mT.contiguous()
    gram = torch.stack([part @ part.mT for part in torch.split(q, sizes.tolist(), dim=1)])
    return means, upper.mT.contiguous(), q, labels, gram


def _draw_reduced(generator: torch.Generator, scale: float, d: int, sizes: Tensor, check: Check) -> Parts:
    """The law of N(0, scale²) samples without drawing them all: EXPLICIT ones a class, mean and scatter of the rest.

    The scatter of n Gaussian samples around their mean is Wishart(n − 1); its root is drawn by Bartlett's
    decomposition (lower triangular, chi on the diagonal, N(0, 1) below).
    """
    explicit = sizes.clamp(max=EXPLICIT)
    features = _draw(generator, scale, d, int(explicit.sum()), check)
    means, centred, labels = _class_means(features, explicit)
    roots, all_means = [], []
    for k, (size, known) in enumerate(zip(sizes.tolist(), explicit.tolist(), strict=True)):
        check()
        rest, mine = size - known, centred[:, labels == k]
        rest_mean = _draw(generator, scale, d, 1) / max(rest, 1) ** 0.5
        between = (means[:, k : k + 1] - rest_mean) * (known * rest / size) ** 0.5
        roots.append(torch.cat([mine, _wishart_root(generator, scale, d, rest - 1), between], dim=1))
        all_means.append((known * means[:, k] + rest * rest_mean[:, 0]) / size)
    upper = torch.linalg.qr(torch.cat(roots, dim=1).mT, mode="r").R
    root = upper.mT.contiguous()
    in_basis = [torch.linalg.solve_triangular(root, part, upper=False) for part in roots]
    gram = torch.stack([part @ part.mT for part in in_basis])
    class_means = torch.stack(all_means, dim=1)
    deviations = features - class_means[:, labels]
    return class_means, root, torch.linalg.solve_triangular(root, deviations, upper=False), labels, gram


def _wishart_root(generator: torch.Generator, scale: float, d: int, freedom: int) -> Tensor:
    """Lower triangular L (d, d) with L Lᵀ ~ Wishart(scale² I, freedom); few degrees of freedom are drawn directly."""
    if freedom < 2 * d:
        return _draw(generator, scale, d, max(freedom, 0))
    lower = _draw(generator, scale, d, d).tril(-1)
    halves = (freedom - torch.arange(d, dtype=torch.float64)) / 2
    # a chi² variable is twice a gamma one; torch draws gammas from a generator only through this function
    chi = (2 * torch._standard_gamma(halves, generator)).sqrt()  # noqa: SLF001 (there is no other seeded gamma)
    return lower + torch.diag(chi) * scale
