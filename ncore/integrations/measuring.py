"""Common base of the callbacks: a Probe that is made once, when to measure, and where the values go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from torch import nn

from ncore.probe import Probe

Values = dict[tuple[str, str | None], float]


class Log(Protocol):
    """A logger: what `ncore.start` returns, or anything else with this method."""

    def log(self, step: int, values: Values) -> None: ...


class Measuring:
    """`rows` are (step, {(metric, layer): value}); with `log_to` each goes to `log_to.log(step, values)` too.

    `batches`: what is measured, None for the training data; `every_epochs` between measurements; the other arguments
    are those of Probe: layers, classifier, classes, pool, batch_to_inputs, max_batches, missing.
    """

    def __init__(
        self, log_to: Log | None = None, *, batches: Iterable[Any] | None = None, every_epochs: int = 1, **probe: Any
    ) -> None:
        super().__init__()
        if type(every_epochs) is not int or every_epochs < 1:
            raise ValueError(f"every_epochs: must be a whole number from 1; got {every_epochs!r}")
        self.rows: list[tuple[int, Values]] = []
        self._log_to, self._batches, self._every, self._options = log_to, batches, every_epochs, probe
        self._probe: Probe | None = None

    def measured(self, model: nn.Module, training: Iterable[Any] | None, step: int) -> Values:
        """The values of the model as it stands, kept and logged."""
        if self._probe is None:
            self._probe = Probe(model, **self._options)
        batches = training if self._batches is None else self._batches
        if batches is None:
            raise ValueError("batches: must be given, as the trainer has no training data to measure")
        values = self._probe(batches)
        self.rows.append((step, dict(values)))  # without the geometry, which grows
        if self._log_to is not None:
            self._log_to.log(step, values)
        return values

    def _is_due(self, epochs: float) -> bool:
        """Whether it is time after so many epochs."""
        return round(epochs) % self._every == 0
