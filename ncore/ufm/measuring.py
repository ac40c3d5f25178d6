"""All metrics of a batch of UFMs, in float64, from the columns it is trained in; several steps at a time.

A level's samples are known either one by one (full form) or as h_i = h̄_{y_i} + F q_i (sample-free form, where
`q` holds the samples that are known one by one: all of them, or EXPLICIT a class of a very large set).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ncore.geometry import packed
from ncore.metrics import level_metrics
from ncore.metrics.balance import balance
from ncore.metrics.central_path import CentralPath
from ncore.metrics.margin import MOST_CLASSES as MARGIN_CLASSES
from ncore.metrics.margin import margin
from ncore.metrics.rank import numerical_rank, ranks_before
from ncore.metrics.statistics import ClassStatistics
from ncore.run import Series
from ncore.spec import UfmSpec
from ncore.ufm.batch import Batch
from ncore.ufm.start import class_targets
from ncore.ufm.steps import tangent
from ncore.ufm.together import loss_of

VANISHED = 1e-2
"""A sample has vanished when its last features are shorter than this share of the root mean square length."""
MAX_SLOTS = 16
"""Steps measured as one batch: 16 take 2.4 ms at K=4 d=20 n=50, one alone takes 1.1."""
MEASURED_NUMBERS = 2**16
"""Numbers in the largest tensor of all slots together, about what stays in a core's cache."""
MOST_WIDTH = 64
"""Of wider levels what needs a d x d matrix is not measured: it would take longer than all the rest."""


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


class UfmMeasurer:
    """Measures a batch; holds what does not change during a run.

    A small measurement costs calls of torch, not arithmetic, so the states of several steps are measured as one batch:
    `take` copies the batch as it is into a slot, `measure` gives the metrics of all slots. What stands in the other
    slots does not change the numbers of one.
    """

    def __init__(self, batch: Batch, specs: Sequence[UfmSpec]) -> None:
        self.spec = specs[0]
        self.batch = batch
        self.classes = self.spec.model.classes
        self.replicas = len(specs)
        largest = max(tensor.numel() for tensor in batch.named().values())
        self.slots = max(1, min(MAX_SLOTS, MEASURED_NUMBERS // largest))
        specs = list(specs) * self.slots
        self.loss = loss_of(specs)
        self._state = _float64(batch, self.slots)
        self.counts = self._per_replica([spec.model.class_sizes for spec in specs])
        self.samples = self.counts.sum(-1)
        self.labels = self._state.labels
        self._class_means: dict[str, Tensor] = {}  # of each level, as measured last
        self.is_known = self.labels >= 0
        known = self.is_known.to(torch.float64)
        self.some_unknown = not bool(known.all())
        self.indicator = self._indicator(self.labels)
        self.given = None if self._state.given is None else self._indicator(self._state.given)
        self.readout = None if self.spec.model.targets is None else class_targets(self.spec).to(batch.columns.device)
        # (S, 1, C): in the sample-free form every column counts
        self.known_columns = torch.ones_like(self._state.ones) if batch.sample_free else known
        drawn = self.indicator.sum(1).clamp(min=1)  # per class the samples known one by one
        weights = self.counts / drawn / self.samples[:, None]
        self.sample_weight = (self.indicator * weights[:, None, :]).sum(-1)  # a known sample's share of the whole set
        self.decays = self._per_replica([spec.weight_decays for spec in specs])
        self.feature_decay = self._per_replica([(spec.regularization.features,) for spec in specs])[:, 0]
        self.bias_decay = self._per_replica([(spec.regularization.bias,) for spec in specs])[:, 0]
        self.logit_scale = self._per_replica([(spec.model.logit_scale,) for spec in specs])[:, 0]

    def take(self, slot: int) -> None:
        """Copies the batch as it is now into a slot, counted from 0."""
        where = slice(slot * self.replicas, (slot + 1) * self.replicas)
        for kept, now in zip(self._state.trained().values(), self.batch.trained().values(), strict=True):
            kept[where].copy_(now)

    def measure(self) -> list[dict[Series, Tensor]]:
        """Every series of theory.md for each slot: {(metric, layer): (S,)}, in float64."""
        values = dict(sorted(self._measure().items(), key=_place))
        split = torch.stack(list(values.values())).unflatten(1, (self.slots, self.replicas))
        return [dict(zip(values, split[:, slot], strict=True)) for slot in range(self.slots)]

    def geometry(self, slots: Sequence[int]) -> dict[int, list[bytes | None]]:
        """Each replica's, packed, of these slots as they were measured; how many they are changes no digit."""
        if not slots:
            return {}
        rows = torch.tensor([slot * self.replicas + i for slot in slots for i in range(self.replicas)])
        levels = {layer: means[rows].cpu().numpy() for layer, means in self._class_means.items()}
        shapes = packed(levels, self._state.weights[-1][rows].cpu().numpy(), f"h{len(levels)}")
        return {slot: shapes[i * self.replicas : (i + 1) * self.replicas] for i, slot in enumerate(slots)}

    def first_level(self) -> Level:
        """H₁ of the batch as it is now, in float64."""
        self.take(0)
        level, s = self.level(self._state.columns), self.replicas
        return Level(level.means[:s], level.root[:s], level.within[:s], None if level.q is None else level.q[:s])

    def _measure(self) -> dict[Series, Tensor]:
        state = self._state
        weights, b = state.weights, state.bias
        values: dict[Series, Tensor] = {}
        columns = [state.columns]
        for j, w in enumerate(weights[:-1]):
            before = w @ columns[-1]
            columns.append(self._activate(before))
            if self.spec.model.activation == "relu":
                ranks = ranks_before(self._means(before, self.indicator, self.counts))
                values |= {(name, f"h{j + 2}"): value for name, value in ranks.items()}
        passed = self._of_classes(weights[-1])
        means: dict[str, Tensor] = {}
        for j in reversed(range(len(columns))):
            level = self.level(columns[j])
            means[f"h{j + 1}"] = level.means
            statistics = ClassStatistics.from_root(self.counts, level.means, level.root, level.within)
            found = level_metrics(statistics, passed)
            del found["nc0"]  # of the classifier alone, below
            values |= {(name, f"h{j + 1}"): value for name, value in found.items()}
            values["feature_norm_sq", f"h{j + 1}"] = level.means.square().sum(1).mean(-1)
            if j == len(columns) - 1:
                values |= self._of_logits(level, weights[-1], b)
                values |= self._of_classifier(statistics, level, weights[-1], b) if self.given is None else {}
            if self.given is not None:
                values |= self._by_given_labels(columns[j], passed, b, j)
            passed = passed @ weights[j - 1] if j else passed
        self._class_means = dict(reversed(means.items()))
        logits = self.logit_scale[:, None, None] * (weights[-1] @ columns[-1]) + b[:, :, None] * state.ones[:, None, :]
        values |= self._of_objective(columns, weights, b, logits)
        values |= self._balances(columns[0], weights)
        values["nc0", None] = weights[-1].sum(1).norm(dim=-1)
        if self.spec.model.activation == "relu" and len(columns) > 1:
            dead = torch.stack([(h <= 0).all(dim=1) for h in columns[1:]]).any(dim=0)
            values["dead_samples", None] = (dead & self.is_known).sum(-1).double()
            values["vanished_samples", None] = self._vanished(columns[-1])
        return values

    def _indicator(self, labels: Tensor) -> Tensor:
        """(S, m, K): which class each known sample is of."""
        known = (labels >= 0).to(torch.float64)
        return known[..., None] * torch.nn.functional.one_hot(labels.clamp(min=0), self.classes)

    def _of_classes(self, matrix: Tensor) -> Tensor:
        """A row for each class of what has one for each output (S, t, …): t_kᵀ times it where targets are given."""
        return matrix if self.readout is None else self.readout.mT @ matrix

    def _by_given_labels(self, h: Tensor, weight: Tensor, b: Tensor, j: int) -> dict[Series, Tensor]:
        """The metrics of level j as the labels that were given see it, their names with _given behind."""
        assert self.given is not None  # noqa: S101
        counts = self.given.sum(1)
        level = self._level_of(h, self.given, counts)
        statistics = ClassStatistics.from_root(counts, level.means, level.root, level.within)
        found = level_metrics(statistics, weight)
        del found["nc0"]
        values: dict[Series, Tensor] = {(name, f"h{j + 1}"): value for name, value in found.items()}
        if j == len(self.spec.model.widths) - 1:
            values |= self._of_classifier(statistics, level, weight, b)
        return {(f"{name}_given", layer): value for (name, layer), value in values.items()}

    def _of_classifier(
        self, statistics: ClassStatistics, level: Level, weight: Tensor, b: Tensor
    ) -> dict[Series, Tensor]:
        """The central path of the last level (MSE towards one-hot targets), and the margin of normalized models."""
        model, layer, d = self.spec.model, f"h{len(self.spec.model.widths)}", weight.shape[-1]
        if model.normalized and d + 1 < self.classes <= MARGIN_CLASSES:
            return {("margin", layer): torch.stack([margin(one) for one in weight]).to(weight.device)}
        plain = self.loss.linear_gradient and self.readout is None and model.classifier == "free"
        if not plain or d > MOST_WIDTH:
            return {}
        scatter, decay = level.root @ level.root.mT, self.decays[:, -1]
        path = CentralPath(statistics, scatter, weight, b if model.bias else None, decay, self.bias_decay, regular=True)
        known = decay > 0
        return {(name, layer): torch.where(known, value, torch.nan) for name, value in path.losses.items()}

    def _balances(self, features: Tensor, weights: tuple[Tensor, ...]) -> dict[Series, Tensor]:
        """How far each trained weight of a linear model is from balance with what is below it."""
        model = self.spec.model
        trained = weights if model.classifier == "free" else weights[:-1]
        if model.normalized or (model.activation == "relu" and len(weights) > 1) or max(model.widths) > MOST_WIDTH:
            return {}
        values: dict[Series, Tensor] = {}
        for j, weight in enumerate(trained):
            lower, decay = (weights[j - 1], self.decays[:, j - 1]) if j else (features, self.feature_decay)
            ratio = torch.where(decay > 0, self.decays[:, j] / decay, torch.nan)
            values["balance", f"h{j + 1}"] = balance(weight, lower @ lower.mT, ratio[:, None, None])
        return values

    def _vanished(self, h: Tensor) -> Tensor:
        """Samples that no unit of their own class answers to: not dead by the letter, but pulled to zero for good."""
        squares, known = h.square().sum(1), self.is_known
        mean = (squares * known).sum(-1, keepdim=True) / known.sum(-1, keepdim=True)
        return ((squares < VANISHED**2 * mean) & known).sum(-1).double()

    def _activate(self, h: Tensor) -> Tensor:
        return h.relu() if self.spec.model.activation == "relu" else h

    def level(self, h: Tensor) -> Level:
        """Class means, scatter root and within-class sums of features (S, d, C) in the run's columns."""
        if self._state.sample_free:
            means = h[:, :, : self.classes] / self.counts.sqrt()[:, None, :]
            root = h[:, :, self.classes :]
            # Σ_{i∈k} ‖F q_i‖² = ⟨FᵀF, Σ q_i q_iᵀ⟩
            squares = torch.einsum("sab,skab->sk", root.mT @ root, self._state.gram)
            return Level(means, root, squares.clamp(min=0), self._state.q)
        return self._level_of(h, self.indicator, self.counts)

    def _means(self, h: Tensor, indicator: Tensor, counts: Tensor) -> Tensor:
        return (h @ indicator) / counts[:, None, :]

    def _level_of(self, h: Tensor, indicator: Tensor, counts: Tensor) -> Level:
        means = self._means(h, indicator, counts)
        centred = torch.baddbmm(h, means, indicator.mT, alpha=-1)
        if self.some_unknown:
            centred = centred * self.is_known[:, None, :]
        lengths = torch.linalg.vector_norm(centred, dim=1)
        within = torch.einsum("sc,sck->sk", lengths.square(), indicator)
        return Level(means, centred, within, None)

    def _of_logits(self, level: Level, weight: Tensor, b: Tensor) -> dict[Series, Tensor]:
        """accuracy, nc4 (theory.md: argmax of the logits ≠ nearest class mean) and rank.

        Where targets are given the nearest one decides, as the largest logit does for one-hot targets.
        """
        logit_means = self._of_classes(weight @ level.means + b[:, :, None])
        if self.readout is not None:
            logit_means = logit_means - self.readout.square().sum(0)[:, None] / 2
        predicted = self._argmax(logit_means, level.deviations(self._of_classes(weight)))
        centred = level.means - level.means.mean(dim=2, keepdim=True)
        products = centred.mT @ centred
        # ‖h − h̄_l‖² = const − 2 (h̄_l·h − ‖h̄_l‖²/2), measured from the centre of the means
        scores = products - products.diagonal(dim1=1, dim2=2)[:, :, None] / 2
        nearest = self._argmax(scores, level.deviations(centred.mT))
        differ = (self.sample_weight * (predicted != nearest)).sum(-1)
        finite = logit_means.flatten(1).isfinite().all(-1)
        spread = products.diagonal(dim1=1, dim2=2).sum(-1)
        nan = torch.full_like(differ, torch.nan)
        return {
            ("accuracy", None): torch.where(finite, 1 - (self.sample_weight * (predicted != self.labels)).sum(-1), nan),
            ("nc4", f"h{len(self.spec.model.widths)}"): torch.where(finite & (spread > 0), differ, nan),
            ("rank", None): numerical_rank(weight @ level.means),
        }

    def _per_replica(self, rows: Sequence[Sequence[float]]) -> Tensor:
        return torch.tensor([list(row) for row in rows], dtype=torch.float64, device=self.batch.columns.device)

    def _argmax(self, class_part: Tensor, deviations: Tensor) -> Tensor:
        """argmax over K of the class's column plus the sample's own part, for each known sample: (S, m)."""
        index = self.labels.clamp(min=0)[:, None, :].expand(-1, class_part.shape[1], -1)
        return (class_part.gather(2, index) + deviations).max(dim=1).indices  # 26 times as fast as argmax

    def _of_objective(
        self, columns: list[Tensor], weights: tuple[Tensor, ...], b: Tensor, logits: Tensor
    ) -> dict[Series, Tensor]:
        """loss (data term), objective, bias_norm and grad_norm over all parameters (features in any basis)."""
        targets = self._state.targets
        loss = (self.loss.values(logits, targets, -2) * self.known_columns).sum(-1) / self.samples
        residual = self.loss.residual(logits, targets, -2) * self.known_columns[:, None, :]
        penalty = self.feature_decay * _square(columns[0]) + self.bias_decay * b.square().sum(-1)
        for j, w in enumerate(weights):
            penalty = penalty + self.decays[:, j] * _square(w)
        return {
            ("loss", None): loss,
            ("objective", None): loss + penalty / 2,
            ("grad_norm", None): self._gradient_norm(columns, weights, b, residual),
            ("bias_norm", None): b.norm(dim=-1),
            ("weight_norm_sq", None): _square(weights[-1]) / weights[-1].shape[1],
        }

    def _gradient_norm(self, columns: list[Tensor], weights: tuple[Tensor, ...], b: Tensor, residual: Tensor) -> Tensor:
        model = self.spec.model
        backward = residual * (self.logit_scale / self.samples)[:, None, None]
        if model.normalized:
            of_w, of_h = backward @ columns[0].mT, weights[0].mT @ backward
            return (_square(tangent(of_w, weights[0], -1)) + _square(tangent(of_h, columns[0], -2))).sqrt()
        squares = torch.zeros_like(self.samples)
        if model.bias:
            gradient = torch.einsum("skc,sc->sk", backward, self._state.ones) + self.bias_decay[:, None] * b
            squares = gradient.square().sum(-1)
        for j in reversed(range(len(weights))):
            if j < len(weights) - 1 or model.classifier == "free":
                gradient = backward @ columns[j].mT + self.decays[:, j, None, None] * weights[j]
                squares = squares + _square(gradient)
            backward = weights[j].mT @ backward
            if j and model.activation == "relu":
                backward = backward * (columns[j] > 0)
        return (squares + _square(backward.addcmul_(self.feature_decay[:, None, None], columns[0]))).sqrt()


def _float64(batch: Batch, slots: int) -> Batch:
    """A copy of the batch for each slot, one after the other, in float64 (labels: integers)."""

    def repeat(tensor: Tensor) -> Tensor:
        tensor = tensor if tensor.dtype == torch.int64 else tensor.double()
        return tensor.repeat(slots, *[1] * (tensor.ndim - 1))

    return Batch.from_named({name: repeat(tensor) for name, tensor in batch.named().items()})


def _square(tensor: Tensor) -> Tensor:
    """Squared Frobenius norm of each replica's matrix, in one pass over it."""
    flat = tensor.flatten(1)
    return (flat[:, None, :] @ flat[:, :, None])[:, 0, 0]


def _place(item: tuple[Series, Tensor]) -> tuple[bool, int, str]:
    """Layers in the order of the forward pass, as every measurement has them; what belongs to none behind."""
    layer = item[0][1]
    return layer is None, len(layer or ""), layer or ""
