"""All metrics of a batch of UFMs at one step, in float64, from the columns it is trained in.

A level's samples are known either one by one (full form) or as h_i = h̄_{y_i} + F q_i (sample-free form, where
`q` holds the samples that are known one by one: all of them, or EXPLICIT a class of a very large set).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ncore.metrics import level_metrics
from ncore.metrics.rank import numerical_rank
from ncore.metrics.statistics import ClassStatistics
from ncore.run import Series
from ncore.spec import UfmSpec
from ncore.ufm.steps import layers

VANISHED = 1e-2
"""A sample has vanished when its last features are shorter than this share of the root mean square length."""


@dataclass(frozen=True)
class Level:
    """Features of one level: class means (S, d, K), root (S, d, r) of the within-class scatter, Σ‖h − h̄_k‖² (S, K)."""

    means: Tensor
    root: Tensor
    within: Tensor
    q: Tensor | None

    def deviations(self, rows: Tensor) -> Tensor:
        """rows (h_i − h̄_{y_i}) for each known sample: (S, K, m) of rows (S, K, d)."""
        projected = rows @ self.root
        return projected if self.q is None else projected @ self.q


class Gauge:
    """Measures a batch; holds what does not change during a run."""

    def __init__(self, batch: dict[str, Tensor], specs: Sequence[UfmSpec]) -> None:
        self.spec = specs[0]
        self.batch = batch
        self.classes = self.spec.model.classes
        x = batch["columns"]
        self.counts = _per_replica(x, [spec.model.class_sizes for spec in specs])
        self.samples = self.counts.sum(-1)
        self.labels = batch["labels"]
        known = (self.labels >= 0).to(torch.float64)
        self.some_unknown = not bool(known.all())
        self.indicator = known[..., None] * torch.nn.functional.one_hot(self.labels.clamp(min=0), self.classes)
        drawn = self.indicator.sum(1).clamp(min=1)  # per class the samples known one by one
        share = self.counts / drawn / self.samples[:, None]
        self.share = (self.indicator * share[:, None, :]).sum(-1)  # of the whole set, that a known sample stands for
        self.decays = _per_replica(x, [spec.weight_decays for spec in specs])
        self.feature_decay = _per_replica(x, [(spec.regularization.features,) for spec in specs])[:, 0]
        self.bias_decay = _per_replica(x, [(spec.regularization.bias,) for spec in specs])[:, 0]

    def measure(self) -> dict[Series, Tensor]:
        """Every series of theory.md for this batch: {(metric, layer): (S,)}."""
        x = self.batch["columns"].double()
        weights = [w.double() for w in layers(self.batch)]
        b = self.batch["b"].double()
        values: dict[Series, Tensor] = {}
        columns = [x]
        for w in weights[:-1]:
            columns.append(self._activate(w @ columns[-1]))
        passed = weights[-1]
        for j in reversed(range(len(columns))):
            level = self.level(columns[j])
            statistics = ClassStatistics.from_root(self.counts, level.means, level.root, level.within)
            for name, value in level_metrics(statistics, passed).items():
                values[name, f"h{j + 1}"] = value
            values["feature_norm_sq", f"h{j + 1}"] = level.means.square().sum(1).mean(-1)
            if j == len(columns) - 1:
                values |= self._of_logits(level, weights[-1], b)
            passed = passed @ weights[j - 1] if j else passed
        logits = weights[-1] @ columns[-1] + b[:, :, None] * self.batch["ones"].double()[:, None, :]
        values |= self._of_objective(columns, weights, b, logits)
        if self.spec.model.activation == "relu" and len(columns) > 1:
            dead = torch.stack([(h <= 0).all(dim=1) for h in columns[1:]]).any(dim=0)
            values["dead_samples", None] = (dead & (self.labels >= 0)).sum(-1).double()
            values["vanished_samples", None] = self._vanished(columns[-1])
        return values

    def _vanished(self, h: Tensor) -> Tensor:
        """Samples that no unit of their own class answers to: not dead by the letter, but pulled to zero for good."""
        squares, known = h.square().sum(1), self.labels >= 0
        mean = (squares * known).sum(-1, keepdim=True) / known.sum(-1, keepdim=True)
        return ((squares < VANISHED**2 * mean) & known).sum(-1).double()

    def _activate(self, h: Tensor) -> Tensor:
        return h.relu() if self.spec.model.activation == "relu" else h

    def level(self, h: Tensor) -> Level:
        """Class means, scatter root and within-class sums of features (S, d, C) in the run's columns."""
        if "q" in self.batch:
            means = h[:, :, : self.classes] / self.counts.sqrt()[:, None, :]
            root = h[:, :, self.classes :]
            # Σ_{i∈k} ‖F q_i‖² = ⟨FᵀF, Σ q_i q_iᵀ⟩
            squares = torch.einsum("sab,skab->sk", root.mT @ root, self.batch["gram"])
            return Level(means, root, squares.clamp(min=0), self.batch["q"])
        means = (h @ self.indicator) / self.counts[:, None, :]
        centred = torch.baddbmm(h, means, self.indicator.mT, alpha=-1)
        if self.some_unknown:
            centred = centred * (self.labels >= 0)[:, None, :]
        lengths = torch.linalg.vector_norm(centred, dim=1)
        within = torch.einsum("sc,sck->sk", lengths.square(), self.indicator)
        return Level(means, centred, within, None)

    def _of_logits(self, level: Level, weight: Tensor, b: Tensor) -> dict[Series, Tensor]:
        """accuracy, nc4 (theory.md: argmax of the logits ≠ nearest class mean) and rank."""
        logit_means = weight @ level.means + b[:, :, None]
        predicted = self._argmax(logit_means, level.deviations(weight))
        centred = level.means - level.means.mean(dim=2, keepdim=True)
        products = centred.mT @ centred
        # ‖h − h̄_l‖² = const − 2 (h̄_l·h − ‖h̄_l‖²/2), measured from the centre of the means
        scores = products - products.diagonal(dim1=1, dim2=2)[:, :, None] / 2
        nearest = self._argmax(scores, level.deviations(centred.mT))
        differ = (self.share * (predicted != nearest)).sum(-1)
        finite = logit_means.flatten(1).isfinite().all(-1)
        spread = products.diagonal(dim1=1, dim2=2).sum(-1)
        nan = torch.full_like(differ, torch.nan)
        return {
            ("accuracy", None): torch.where(finite, 1 - (self.share * (predicted != self.labels)).sum(-1), nan),
            ("nc4", f"h{len(self.spec.model.widths)}"): torch.where(finite & (spread > 0), differ, nan),
            ("rank", None): numerical_rank(weight @ level.means),
        }

    def _argmax(self, class_part: Tensor, deviations: Tensor) -> Tensor:
        """argmax over K of the class's column plus the sample's own part, for each known sample: (S, m)."""
        index = self.labels.clamp(min=0)[:, None, :].expand(-1, class_part.shape[1], -1)
        return (class_part.gather(2, index) + deviations).argmax(dim=1)

    def _of_objective(
        self, columns: list[Tensor], weights: list[Tensor], b: Tensor, logits: Tensor
    ) -> dict[Series, Tensor]:
        """loss (data term), objective, bias_norm and grad_norm over all parameters (features in any basis)."""
        targets = self.batch["targets"].double()
        known = (self.labels >= 0).double()[:, None, :] if "q" not in self.batch else torch.ones_like(logits[:, :1])
        if self.spec.loss == "mse":
            residual = (logits - targets) * known
            loss = residual.square().sum((1, 2)) / (2 * self.samples)
        else:
            log_shares = logits.log_softmax(dim=1)
            residual = (log_shares.exp() - targets) * known
            loss = -(targets * log_shares).sum((1, 2)) / self.samples
        penalty = self.feature_decay * _square(columns[0]) + self.bias_decay * b.square().sum(-1)
        for j, w in enumerate(weights):
            penalty = penalty + self.decays[:, j] * _square(w)
        return {
            ("loss", None): loss,
            ("objective", None): loss + penalty / 2,
            ("grad_norm", None): self._gradient_norm(columns, weights, b, residual),
            ("bias_norm", None): b.norm(dim=-1),
            ("weight_norm_sq", None): _square(weights[-1]) / self.classes,
        }

    def _gradient_norm(self, columns: list[Tensor], weights: list[Tensor], b: Tensor, residual: Tensor) -> Tensor:
        backward = residual / self.samples[:, None, None]
        squares = torch.zeros_like(self.samples)
        if self.spec.model.bias:
            ones = self.batch["ones"].double()
            squares = (torch.einsum("skc,sc->sk", backward, ones) + self.bias_decay[:, None] * b).square().sum(-1)
        for j in reversed(range(len(weights))):
            gradient = backward @ columns[j].mT + self.decays[:, j, None, None] * weights[j]
            squares = squares + _square(gradient)
            backward = weights[j].mT @ backward
            if j and self.spec.model.activation == "relu":
                backward = backward * (columns[j] > 0)
        return (squares + _square(backward.addcmul_(self.feature_decay[:, None, None], columns[0]))).sqrt()


def _per_replica(like: Tensor, rows: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor([list(row) for row in rows], dtype=torch.float64, device=like.device)


def _square(tensor: Tensor) -> Tensor:
    """Squared Frobenius norm of each replica's matrix, in one pass over it."""
    flat = tensor.flatten(1)
    return (flat[:, None, :] @ flat[:, :, None])[:, 0, 0]
