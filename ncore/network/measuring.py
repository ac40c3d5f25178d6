"""All metrics of a network at one step: one pass over the training set (two where its features do not fit) and one over
the test set, in pieces."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import torch
from torch import Tensor

from ncore.metrics import Accumulator, level_metrics
from ncore.metrics.nc4 import Decisions, nc4
from ncore.metrics.rank import numerical_rank
from ncore.metrics.samples import Samples
from ncore.metrics.statistics import ClassStatistics
from ncore.network.data import DataSet, Images
from ncore.network.estimate import KEPT_FEATURES_BYTES, evaluated_at_a_time, features_bytes, keeps_features
from ncore.network.models import Network
from ncore.run import Series
from ncore.spec import NetworkSpec


class NetworkMeasurer:
    """Measures networks on `data`. What takes long yields between its pieces, so that the caller may stop and go on.

    The features are kept where they fit (see `keeps_features`); where not, each layer is summed up batch by batch, and
    the last one's nc4 is counted in a second pass.
    """

    def __init__(
        self, spec: NetworkSpec, data: DataSet, targets: Tensor, kept_features_bytes: int = KEPT_FEATURES_BYTES
    ) -> None:
        self.spec, self.data, self.classes = spec, data, data.classes
        self._targets = targets.double()
        size = len(data.train), data.classes
        self.keeps_features = keeps_features(spec, *size, kept_features_bytes)
        self.features_bytes = features_bytes(spec, *size)[0]

    def measure(self, network: Network) -> Generator[None, None, dict[Series, float]]:
        """Every series, of the network as it is in evaluation mode."""
        labels = self.data.train.labels
        bias = None if network.classifier.bias is None else network.classifier.bias.double()
        of_levels = self._of_kept_features if self.keeps_features else self._of_sums
        values, logits = yield from of_levels(network, network.classifier.weight.double(), bias)
        values["rank", None] = self._rank(logits if bias is None else logits - bias)
        loss = self._mean_loss(logits, labels)
        values["loss", None] = loss
        values["objective", None] = loss + self.spec.optimizer.weight_decay / 2 * network.norm_sq()
        values["accuracy", None] = _accuracy(logits, labels)
        if self.data.test is not None:
            test_logits = yield from self.evaluate(network, self.data.test)
            values["test_loss", None] = self._mean_loss(test_logits, self.data.test.labels)
            values["test_accuracy", None] = _accuracy(test_logits, self.data.test.labels)
        values["nc0", None] = network.classifier.weight.double().sum(0).norm()
        values["bias_norm", None] = logits.new_zeros(()) if bias is None else bias.norm()
        numbers = torch.stack([value.double() for value in values.values()]).tolist()
        return dict(zip(values, numbers, strict=True))

    def features(self, network: Network) -> Generator[None, None, tuple[dict[str, Tensor], Tensor]]:
        """The measured layers' features (N, d) of all training images, and their logits (N, K) in float64."""
        data, features = self.data.train, dict[str, Tensor]()
        logits = self._empty_logits(data)
        for rows, images in self._batches(data):
            found, logits[rows] = network.features(images)
            for layer, x in found.items():
                if not rows.start:
                    features[layer] = x.new_empty(len(data), x.shape[1])
                features[layer][rows] = x
            yield
        return features, logits

    def evaluate(self, network: Network, data: Images) -> Generator[None, None, Tensor]:
        """The logits (N, K) of all images in float64."""
        logits = self._empty_logits(data)
        for rows, images in self._batches(data):
            logits[rows] = network(images)
            yield
        return logits

    def _of_kept_features(
        self, network: Network, weight: Tensor, bias: Tensor | None
    ) -> Generator[None, None, tuple[dict[Series, Tensor], Tensor]]:
        """The series of all levels, and the logits."""
        features, logits = yield from self.features(network)
        values: dict[Series, Tensor] = {}
        for layer, x in features.items():
            samples = Samples(x, self.data.train.labels, self.classes)
            if layer == network.names[-1]:
                statistics, share = nc4(samples, weight, bias)
                values |= _of_level(layer, statistics, weight) | {("nc4", layer): share}
            else:
                values |= _of_level(layer, samples.statistics)
            yield
        return values, logits

    def _of_sums(
        self, network: Network, weight: Tensor, bias: Tensor | None
    ) -> Generator[None, None, tuple[dict[Series, Tensor], Tensor]]:
        """As `_of_kept_features`, in the memory of one batch."""
        data, last = self.data.train, network.names[-1]
        sums = {layer: Accumulator(self.classes) for layer in network.layers}
        logits = self._empty_logits(data)
        for rows, images in self._batches(data):
            found, logits[rows] = network.features(images)
            for layer, x in found.items():
                sums[layer].add(x, data.labels[rows])
            yield
        values: dict[Series, Tensor] = {}
        for layer, accumulator in sums.items():
            statistics = accumulator.statistics()
            values |= _of_level(layer, statistics, weight if layer == last else None)
            yield
            if layer == last:
                decisions = Decisions(accumulator.class_means, weight, bias)
                yield from self._look(network, accumulator, decisions)
                values["nc4", layer] = decisions.share(statistics)
        return values, logits

    def _look(self, network: Network, sums: Accumulator, decisions: Decisions) -> Generator[None, None, None]:
        """Shows all training images to `decisions`, in a pass of its own."""
        for rows, images in self._batches(self.data.train):
            x, labels = network.features(images)[0][network.names[-1]], self.data.train.labels[rows]
            deviations = sums.deviations(x, labels)
            lengths = torch.linalg.vector_norm(deviations, dim=1)
            decisions.look(deviations, labels, lengths, sums.class_means.inverse @ deviations.mT)
            yield

    def _batches(self, data: Images) -> Iterator[tuple[slice, Tensor]]:
        """Rows, and their standardised images."""
        size = evaluated_at_a_time(self.spec.data.image_size)
        for start in range(0, len(data), size):
            rows = slice(start, start + size)
            yield rows, self.data.standardise(data.images[rows])

    def _empty_logits(self, data: Images) -> Tensor:
        return torch.empty(len(data), self.classes, dtype=torch.float64, device=data.labels.device)

    def _mean_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return data_loss(self.spec, logits, self._targets[labels]).mean()

    def _rank(self, products: Tensor) -> Tensor:
        """Numerical rank of W H̄, the logit means without the bias."""
        return numerical_rank(Samples(products, self.data.train.labels, self.classes).means)


def _of_level(layer: str, statistics: ClassStatistics, weight: Tensor | None = None) -> dict[Series, Tensor]:
    values: dict[Series, Tensor] = {
        (name, layer): v for name, v in level_metrics(statistics, weight, more=True).items()
    }
    return values | {("feature_norm_sq", layer): statistics.means.square().sum(0).mean()}


def data_loss(spec: NetworkSpec, logits: Tensor, targets: Tensor) -> Tensor:
    """The data term of each sample (N), from logits and targets (N, K)."""
    return spec.criterion.of_network(logits, targets)


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).double().mean()
