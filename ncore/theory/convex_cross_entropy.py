"""Cross-entropy with classes of any size, M = 1, d ≥ K − 1: a convex problem, solved to a certificate.

f* = min over Z, b of Σ_k π_k CE(z_k + b, q_k) + μ‖Z D^{1/2}‖_* + (λ_b/2)‖b‖², with π = n/N, D = diag(n_k),
μ = √(λ_Wλ_H), q_k = (1−α)e_k + α/K, Z = W H̄ (Hong & Ling 2023, arXiv 2309.09725; smoothing added). With
S = (softmax(Z + b) − Q) D^{1/2}/N it is the global minimum iff ‖S‖_op ≤ μ, ⟨S, Z D^{1/2}⟩ = −μ‖Z D^{1/2}‖_* and
Σ_k π_k (p_k − q_k) + λ_b b = 0.

The minimum is unique and permuting classes of one size leaves the problem as it is, hence so does the solution: on the
m classes of one size Z is α times the centring matrix plus a constant, and only the g different sizes are coupled. So
the unknowns are g numbers α ≥ 0 and g × g factors: L-BFGS comes near, Newton's method (conjugate gradients within a
trust region) takes the last digits. The certificate is that of the whole problem.

Minority collapse (derived): two or more classes of one size n_B share z and w iff (1−α)² n_B ≤ N²λ_Wλ_H (α the
smoothing), with any bias: where they share them, the part of S on their differences is −(1−α)√n_B/N.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TOLERANCE = 1e-7
"""Largest residual of a certificate that counts as solved."""
ROUNDS = 4
"""Rounds of L-BFGS and Newton; a residual above TOLERANCE after them is reported, not hidden."""


@dataclass(frozen=True)
class CrossEntropySolution:
    """The minimiser. `logits` is W H̄ (K x K, column k of class k), `residual` its certificate, relative to μ.

    `left` and `right` are W and H̄ᵀ up to a common rotation: W = left, H̄ = rightᵀ (K x r each), r the rank.
    `collapsed` are the sizes whose classes share one mean (minority collapse).
    """

    objective: float
    logits: Array
    bias: Array
    left: Array
    right: Array
    residual: float
    collapsed: tuple[int, ...]

    @property
    def feature_norm_sq(self) -> Array:
        """‖h_k‖² for each class."""
        return (self.right**2).sum(axis=1)

    @property
    def weight_norm_sq(self) -> Array:
        """‖w_k‖² for each class."""
        return (self.left**2).sum(axis=1)

    @property
    def rank(self) -> int:
        return self.left.shape[1]


@dataclass(frozen=True)
class _Problem:
    """The problem over the g different sizes: `sizes` n_A, `counts` m_A; `decay_b` None means no bias."""

    sizes: Array
    counts: Array
    mu: float
    decay_b: float | None
    smoothing: float

    @property
    def spread(self) -> NDArray[np.bool_]:
        """Sizes of several classes that differ at the minimum (see minority collapse above): those with α > 0."""
        return (self.counts > 1) & ((1 - self.smoothing) ** 2 * self.sizes > (self.total * self.mu) ** 2)

    @property
    def total(self) -> float:
        return float(self.sizes @ self.counts)

    @property
    def classes(self) -> float:
        return float(self.counts.sum())

    def split(self, theta: Array) -> tuple[Array, Array, Array, Array]:
        """(W, X, α, b): X stands for H̄D^{1/2} on the size averages; what is not free is zero."""
        g = len(self.sizes)
        w, x = theta[: g * g].reshape(g, g), theta[g * g : 2 * g * g].reshape(g, g)
        return w, x, theta[2 * g * g : 2 * g * g + g] * self.spread, theta[2 * g * g + g :] * (self.decay_b is not None)

    def joined(self, w: Array, x: Array, alpha: Array, bias: Array) -> Array:
        return np.concatenate([w.ravel(), x.ravel(), alpha * self.spread, bias * (self.decay_b is not None)])

    def logits(self, mean: Array, alpha: Array, bias: Array) -> tuple[Array, Array]:
        """(logit of the own class, logits of one other class of each size): z for a column of each size, with bias."""
        root = np.sqrt(self.counts)
        other = mean / root[:, None] / root[None, :] + bias[:, None]  # mean is in units of the normalised sums
        own = np.diag(other) + alpha * (1 - 1 / self.counts)
        other = other.copy()
        np.fill_diagonal(other, np.diag(other) - alpha / self.counts)
        return own, other

    @property
    def others(self) -> Array:
        """How many classes of each size a column of each size counts among the others."""
        return self.counts[:, None] - np.eye(len(self.counts))

    @property
    def targets(self) -> tuple[float, float]:
        """q of the own class and of another."""
        even = self.smoothing / self.classes
        return 1 - self.smoothing + even, even

    def loss(self, mean: Array, alpha: Array, bias: Array) -> tuple[float, Array, Array]:
        """The data term, and p for the own class and for one other class of each size."""
        own, other = self.logits(mean, alpha, bias)
        top = np.maximum(own, other.max(axis=0))
        e_own, e_other = np.exp(own - top), np.exp(other - top)
        norm = e_own + (self.others * e_other).sum(axis=0)
        q_own, q_other = self.targets
        dot = q_own * own + q_other * (self.others * other).sum(axis=0)
        share = self.sizes * self.counts / self.total
        return float(share @ (np.log(norm) + top - dot)), e_own / norm, e_other / norm

    def pulled(self, own: Array, other: Array) -> tuple[Array, Array, Array]:
        """S on the g size averages (g x g), on the differences inside a size (g), and Σ π_k (p_k − q_k) (g)."""
        root, share = np.sqrt(self.counts), np.sqrt(self.sizes) / self.total
        inner = own - np.diag(other)
        average = other * root[:, None] * root[None, :]
        np.fill_diagonal(average, own + (self.counts - 1) * np.diag(other))
        bias = (average / root[:, None] / root[None, :]) @ (self.sizes * self.counts / self.total)
        return average * share, inner * share, bias

    def _state(self, theta: Array) -> tuple[float, Array, Array, Array]:
        """The data term, and what it pulls by, at `theta`."""
        w, x, alpha, bias = self.split(theta)
        value, own, other = self.loss(w @ x / np.sqrt(self.sizes), alpha, bias)
        q_own, q_other = self.targets
        return value, *self.pulled(own - q_own, other - q_other)

    def __call__(self, theta: Array) -> tuple[float, Array]:
        w, x, alpha, bias = self.split(theta)
        decay_b = self.decay_b or 0.0
        value, s, inner, at_bias = self._state(theta)
        several = (self.counts - 1) * np.sqrt(self.sizes)
        value += self.mu / 2 * float((w**2).sum() + (x**2).sum()) + self.mu * float(several @ alpha)
        value += decay_b / 2 * float(self.counts @ bias**2)
        at_alpha, at_b = several * (inner + self.mu), self.counts * (at_bias + decay_b * bias)
        return value, self.joined(s @ x.T + self.mu * w, w.T @ s + self.mu * x, at_alpha, at_b)

    def curvature(self) -> Callable[[Array, Array], Array]:
        """The Hessian at a point times a step; many steps are asked of one point, so what they share is kept."""
        known: dict[str, tuple[Array, ...]] = {}

        def parts(theta: Array) -> tuple[Array, ...]:
            if "theta" not in known or not np.array_equal(known["theta"][0], theta):
                w, x, alpha, bias = self.split(theta)
                _, own, other = self.loss(w @ x / np.sqrt(self.sizes), alpha, bias)
                q_own, q_other = self.targets
                known["theta"] = (theta.copy(),)
                known["parts"] = (w, x, own, other, self.others * other, self.pulled(own - q_own, other - q_other)[0])
            return known["parts"]

        def times(theta: Array, step: Array) -> Array:
            w, x, own, other, weighted, s = parts(theta)
            dw, dx, d_alpha, d_bias = self.split(step)
            d_own, d_other = self.logits((dw @ x + w @ dx) / np.sqrt(self.sizes), d_alpha, d_bias)
            mean = own * d_own + (weighted * d_other).sum(axis=0)
            ds, inner, at_bias = self.pulled(own * (d_own - mean), other * (d_other - mean))
            at_w, at_x = ds @ x.T + s @ dx.T + self.mu * dw, dw.T @ s + w.T @ ds + self.mu * dx
            at_b = self.counts * (at_bias + (self.decay_b or 0.0) * d_bias)
            return self.joined(at_w, at_x, (self.counts - 1) * np.sqrt(self.sizes) * inner, at_b)

        return times

    def residual(self, theta: Array) -> float:
        """How far from the conditions of the minimum, relative to μ (and to 1 for the bias)."""
        w, x, alpha, bias = self.split(theta)
        product, several = w @ x, (self.counts - 1) * np.sqrt(self.sizes)
        _, s, inner, at_bias = self._state(theta)
        operator = max(float(np.linalg.norm(s, 2)), float(np.abs(inner[self.counts > 1]).max(initial=0.0)))
        nuclear = float(np.linalg.norm(product, "nuc") + several @ alpha)
        inside = float((s * product).sum() + (several * alpha) @ inner)
        gaps = [operator / self.mu - 1, abs(inside / self.mu + nuclear) / max(nuclear, 1.0)]
        if self.decay_b is not None:
            gaps.append(float(np.abs(at_bias + self.decay_b * bias).max()))
        return float(max(0.0, *gaps))

    def start(self) -> Array:
        """Each class at the gap that it had if all were of its size."""
        c = self.classes * self.mu * self.total / self.classes / np.sqrt(self.sizes)
        gap = np.log1p(self.classes * np.maximum(1 - c - self.smoothing, 0.05) / np.minimum(c + self.smoothing, 0.95))
        centred = np.eye(len(c)) - np.sqrt(np.outer(self.counts, self.counts)) / self.classes
        u, sigma, vt = np.linalg.svd(centred * (gap * np.sqrt(self.sizes)))
        root = np.sqrt(sigma + 1e-3 * sigma[0])
        return self.joined(u * root, root[:, None] * vt, gap, np.zeros_like(gap))

    def solve(self) -> tuple[Array, float]:
        from scipy.optimize import minimize

        near = {"maxiter": 40, "ftol": 0.0, "gtol": 1e-12, "maxcor": 12}
        last = {"gtol": 1e-2 * TOLERANCE * self.mu, "maxiter": 30}
        best, least = self.start(), math.inf
        for _ in range(ROUNDS):
            theta = minimize(self, best, jac=True, method="L-BFGS-B", options=near).x
            theta = minimize(self, theta, jac=True, hessp=self.curvature(), method="trust-ncg", options=last).x
            residual = self.residual(theta)
            if residual < least:
                best, least = theta, residual
            if least <= TOLERANCE / 2:
                break
            near["maxiter"] *= 2
        return best, least


def solve_cross_entropy(
    sizes: Sequence[int], decay_w: float, decay_h: float, decay_b: float | None = None, smoothing: float = 0.0
) -> CrossEntropySolution:
    """The minimiser for class sizes n_k ≥ 1 and positive λ_W, λ_H. λ_b: None without a bias, 0 for a free one."""
    distinct, place, counts = np.unique(np.asarray(sizes, dtype=float), return_inverse=True, return_counts=True)
    problem = _Problem(distinct, counts.astype(float), math.sqrt(decay_w * decay_h), decay_b, smoothing)
    theta, residual = problem.solve()
    w, x, alpha, bias = problem.split(theta)
    logits = _spread(w @ x / np.sqrt(distinct), alpha, problem.counts, place)
    left, right = _factors(logits, np.asarray(sizes, dtype=float), decay_w, decay_h)
    small = (counts > 1) & ~problem.spread
    return CrossEntropySolution(
        objective=float(problem(theta)[0]),
        logits=logits,
        bias=(bias - bias @ problem.counts / problem.classes)[
            place
        ],  # a constant does not matter; regularised, it is 0
        left=left,
        right=right,
        residual=residual,
        collapsed=tuple(int(n) for n in distinct[small]),
    )


def _spread(mean: Array, alpha: Array, counts: Array, place: NDArray[np.intp]) -> Array:
    """Z over all classes from its part on the sizes."""
    root = np.sqrt(counts)
    whole = (mean / root[:, None] / root[None, :])[np.ix_(place, place)]
    same = place[:, None] == place[None, :]
    whole -= same * (alpha / counts)[place]
    whole[np.diag_indices(len(place))] += alpha[place]
    return whole


def _factors(logits: Array, sizes: Array, decay_w: float, decay_h: float) -> tuple[Array, Array]:
    """W and H̄ᵀ of least norm with W H̄ = `logits`: the balanced halves of the singular value decomposition."""
    root = np.sqrt(sizes)
    u, sigma, vt = np.linalg.svd(logits * root)
    kept = sigma > 1e-6 * max(float(sigma[0]), 1e-300) if sigma[0] > 1e-6 else np.zeros(len(sigma), dtype=bool)
    scale = (decay_h / decay_w) ** 0.25
    half = np.sqrt(sigma[kept])
    return u[:, kept] * half * scale, vt[kept].T * half / scale / root[:, None]


def zero_threshold(sizes: Sequence[int], bias: bool, smoothing: float = 0.0) -> float:
    """The least μ = √(λ_Wλ_H) at which all is zero: ‖(p 1ᵀ − I)D^{1/2}‖_op/N, p = π with a free bias, 1/K without.

    With smoothing α it is 1 − α times as large.
    """
    n = np.asarray(sizes, dtype=float)
    p = n / n.sum() if bias else np.full(len(n), 1 / len(n))
    return (1 - smoothing) * float(np.linalg.norm((p[:, None] - np.eye(len(n))) * np.sqrt(n), 2) / n.sum())


def collapse_threshold(size: int, total: int, smoothing: float = 0.0) -> float:
    """The least λ_Wλ_H at which two or more classes of this size collapse: (1−α)² n_B/N²."""
    return (1 - smoothing) ** 2 * size / total**2


def seli(sizes: Sequence[int]) -> tuple[Array, Array]:
    """WWᵀ and H̄ᵀH̄ of the limit λ → 0, each up to a factor: the SELI geometry (Thrampoulidis et al. 2022).

    WWᵀ ∝ (PDP)^{1/2}, H̄ᵀH̄ ∝ D^{−1/2}(D^{1/2}PD^{1/2})^{1/2}D^{−1/2}. Convergence to it is logarithmic in λ.
    """
    n = np.asarray(sizes, dtype=float)
    centring = np.eye(len(n)) - 1 / len(n)
    root = np.sqrt(n)
    inner = _root(root[:, None] * centring * root)
    return _root(centring * n @ centring), inner / root[:, None] / root


def _root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
