"""The tensors of replicas that are trained together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ncore.ufm.start import Start

STATIC = ("targets", "ones", "labels", "q", "gram", "given")
"""Fields that training does not change."""
MEASURED_ONLY = ("labels", "q", "gram", "given")
"""Fields that only measurements read: they stay in float64 (labels: integers) whatever the training's precision."""


@dataclass(frozen=True)
class Batch:
    """S replicas of one shape. Letters as in `ncore.ufm.start`; `replica` gives views without the dimension S."""

    columns: Tensor
    """X (S, d_1, C)."""
    weights: tuple[Tensor, ...]
    """W_j (S, d_{j+1}, d_j)."""
    bias: Tensor
    """b (S, K), or (S, t) for given targets of t rows."""
    targets: Tensor
    """T (S, K, C), or (S, t, C)."""
    ones: Tensor
    """The all-ones vector of R^N in the coordinates of the columns (S, C)."""
    labels: Tensor
    """Labels (S, m) of the samples known one by one; −1 marks a padding column."""
    q: Tensor | None = None
    """Coordinates (S, r, m) of the known samples' deviations; None in the full form."""
    gram: Tensor | None = None
    """Σ_{i∈k} q_i q_iᵀ (S, K, r, r); None in the full form."""
    given: Tensor | None = None
    """Labels (S, m) as they were given, with label noise; −1 marks a padding column."""

    @classmethod
    def stack(cls, starts: Sequence[Start]) -> Batch:
        """One batch of all starts; shorter ones are padded by zero columns, whose label is −1."""
        named = {}
        for name in ("columns", *STATIC):
            parts = [getattr(start, name) for start in starts]
            if parts[0] is not None:
                length = max(part.shape[-1] for part in parts)
                fill = -1 if name in ("labels", "given") else 0
                padded = [torch.nn.functional.pad(part, (0, length - part.shape[-1]), value=fill) for part in parts]
                named[name] = torch.stack(padded)
        weights = tuple(torch.stack(layer) for layer in zip(*(start.weights for start in starts), strict=True))
        return cls(weights=weights, bias=torch.stack([start.bias for start in starts]), **named)

    @classmethod
    def from_named(cls, tensors: Mapping[str, Tensor]) -> Batch:
        """The batch whose `named` tensors these are, among others."""
        levels = sum(name.startswith("W_") for name in tensors)
        weights = tuple(tensors[f"W_{j + 1}"].clone() for j in range(levels))
        rest = {name: tensors[name].clone() for name in ("columns", *STATIC) if name in tensors}
        return cls(weights=weights, bias=tensors["b"].clone(), **rest)

    def named(self) -> dict[str, Tensor]:
        """Every tensor by the name it has in checkpoints: columns, W_1, …, b, targets, ones, labels, q, gram."""
        static = {name: getattr(self, name) for name in STATIC}
        return self.trained() | {name: tensor for name, tensor in static.items() if tensor is not None}

    def trained(self) -> dict[str, Tensor]:
        """The trained tensors by name: columns, W_1, …, W_M, b."""
        layers = {f"W_{j + 1}": w for j, w in enumerate(self.weights)}
        return {"columns": self.columns} | layers | {"b": self.bias}

    @property
    def outputs(self) -> int:
        """Rows of W_M: classes, or those of given targets."""
        return self.bias.shape[-1]

    @property
    def sample_free(self) -> bool:
        return self.q is not None

    @property
    def largest_product(self) -> int:
        """An upper bound of the multiplications of any matrix product in a replica's step."""
        return max(w.shape[-2] * w.shape[-1] for w in self.weights) * self.columns.shape[-1]

    def place(self, device: str, dtype: torch.dtype) -> Batch:
        """The batch on a device, in the training's precision but for what only measurements read."""
        placed = {}
        for name, tensor in self.named().items():
            placed[name] = tensor.to(device) if name in MEASURED_ONLY else tensor.to(device, dtype)
        return Batch.from_named(placed)

    def replica(self, i: int) -> Batch:
        """Views of the i-th replica's tensors."""
        rest = {name: getattr(self, name)[i] for name in ("columns", "bias", "targets", "ones", "labels")}
        q, gram, given = (None if tensor is None else tensor[i] for tensor in (self.q, self.gram, self.given))
        return Batch(weights=tuple(w[i] for w in self.weights), q=q, gram=gram, given=given, **rest)

    def by_samples(self) -> Batch:
        """The same, with the numbers of a sample side by side in memory: a block of columns is then without gaps."""
        return replace(self, columns=self.columns.mT.contiguous().mT)

    def padded(self, panel: int) -> tuple[Batch, Batch]:
        """A copy with rows of zeros behind the outputs, up to a multiple of `panel`, and this batch as views of it."""
        outputs = self.outputs
        rows = -(-outputs // panel) * panel

        def pad(tensor: Tensor) -> Tensor:
            larger = tensor.new_zeros(len(tensor), rows, *tensor.shape[2:])
            larger[:, :outputs] = tensor
            return larger

        larger = replace(
            self,
            weights=(*self.weights[:-1], pad(self.weights[-1])),
            bias=pad(self.bias),
            targets=pad(self.targets),
        )
        views = replace(
            self,
            weights=(*self.weights[:-1], larger.weights[-1][:, :outputs]),
            bias=larger.bias[:, :outputs],
            targets=larger.targets[:, :outputs],
        )
        return larger, views
