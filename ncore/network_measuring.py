"""All metrics of a network at one step: one pass over the training set and one over the test set, in pieces."""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
from torch import Tensor
from torch.nn import functional

from ncore.data import DataSet, Images
from ncore.features import Samples
from ncore.measurement import Series
from ncore.metrics import level_metrics
from ncore.metrics.nc4 import nc4
from ncore.network_estimate import evaluated_at_a_time
from ncore.networks import Network
from ncore.spec import NetworkSpec
from ncore.ufm.measuring import RANK_TOLERANCE


class NetworkGauge:
    """Measures networks on `data`. What takes long yields between its pieces, so that the caller may stop and go on."""

    def __init__(self, spec: NetworkSpec, data: DataSet, targets: Tensor) -> None:
        self.spec, self.data, self.classes = spec, data, data.classes
        self._targets = targets.double()

    def measure(self, network: Network) -> Generator[None, None, dict[Series, float]]:
        """Every series, of the network as it is in evaluation mode."""
        labels = self.data.train.labels
        features, logits = yield from self.evaluate(network, self.data.train)
        weight = network.classifier.weight.double()
        bias = None if network.classifier.bias is None else network.classifier.bias.double()
        values: dict[Series, Tensor] = {}
        for layer, x in features.items():
            samples = Samples(x, labels, self.classes)
            if layer == network.names[-1]:
                statistics, share = nc4(samples, weight, bias)
                found = level_metrics(statistics, weight) | {"nc4": share}
            else:
                found = level_metrics(samples.statistics)
            values |= {(name, layer): value for name, value in found.items()}
            values["feature_norm_sq", layer] = samples.means.square().sum(0).mean()
            yield
        values["rank", None] = self._rank(logits if bias is None else logits - bias)
        loss = self._mean_loss(logits, labels)
        values["loss", None] = loss
        values["objective", None] = loss + self.spec.optimizer.weight_decay / 2 * network.norm_sq()
        values["accuracy", None] = _accuracy(logits, labels)
        if self.data.test is not None:
            _, test_logits = yield from self.evaluate(network, self.data.test, measured=False)
            values["test_loss", None] = self._mean_loss(test_logits, self.data.test.labels)
            values["test_accuracy", None] = _accuracy(test_logits, self.data.test.labels)
        values["bias_norm", None] = logits.new_zeros(()) if bias is None else bias.norm()
        numbers = torch.stack([value.double() for value in values.values()]).tolist()
        return dict(zip(values, numbers, strict=True))

    def evaluate(
        self, network: Network, data: Images, *, measured: bool = True
    ) -> Generator[None, None, tuple[dict[str, Tensor], Tensor]]:
        """The measured layers' features (N, d) of all images, and their logits (N, K) in float64."""
        features: dict[str, Tensor] = {}
        logits = torch.empty(len(data), self.classes, dtype=torch.float64, device=data.labels.device)
        size = evaluated_at_a_time(self.spec.data.image_size)
        for start in range(0, len(data), size):
            rows = slice(start, start + size)
            images = self.data.standardise(data.images[rows])
            if measured:
                found, logits[rows] = network.features(images)
                for layer, x in found.items():
                    if not start:
                        features[layer] = x.new_empty(len(data), x.shape[1])
                    features[layer][rows] = x
            else:
                logits[rows] = network(images)
            yield
        return features, logits

    def _mean_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return data_loss(self.spec, logits, self._targets[labels]).mean()

    def _rank(self, products: Tensor) -> Tensor:
        """Numerical rank of W H̄ (the logit means without the bias), NaN where it is not finite."""
        means = Samples(products, self.data.train.labels, self.classes).means
        if not bool(means.isfinite().all()):
            return means.new_full((), math.nan)
        singular = torch.linalg.svdvals(means)
        return ((singular > RANK_TOLERANCE * singular[0]) & (singular > 0)).sum()


def data_loss(spec: NetworkSpec, logits: Tensor, targets: Tensor) -> Tensor:
    """The data term of each sample: ‖z − y‖²/K or −⟨y, log softmax z⟩.

    The mean over K, which ½‖z − y‖² of a UFM is K/2 times: with the paper's step 0.05 that diverges at once.
    """
    if spec.loss == "mse":
        return (logits - targets).square().mean(1)
    return functional.cross_entropy(logits, targets, reduction="none")


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).double().mean()
