"""All metrics of a network at one step: one pass over the training set (two where its features do not fit) and one over
the test set and over images from outside the distribution, in pieces."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ncore.geometry import packed
from ncore.metrics import Accumulator, level_metrics
from ncore.metrics.central_path import CentralPath
from ncore.metrics.nc4 import Decisions, nc4
from ncore.metrics.nc5 import nc5
from ncore.metrics.neco import auroc, neco
from ncore.metrics.rank import numerical_rank
from ncore.metrics.samples import Samples
from ncore.metrics.scatter import Scatter
from ncore.metrics.statistics import ClassStatistics
from ncore.network.data import DataSet, Images
from ncore.network.decay import norm_sq
from ncore.network.estimate import KEPT_FEATURES_BYTES, evaluated_at_a_time, features_bytes, keeps_features
from ncore.network.models import Network
from ncore.run import Series
from ncore.spec import NetworkSpec

TEST = "@test"
"""Behind a layer's name: of the test set's features there."""
MOST_WIDTH = 2048
"""Of a wider last layer the central path, which needs a d x d matrix, is not measured."""


@dataclass
class Seen:
    """The results of a pass over images: series, logits (N, K) in float64, and each layer's statistics by class."""

    logits: Tensor
    values: dict[Series, Tensor] = field(default_factory=dict)
    statistics: dict[str, ClassStatistics] = field(default_factory=dict)

    def norm_sq(self, layer: str) -> Tensor:
        """Σ_i ‖h_i‖² over all images."""
        found = self.statistics[layer]
        return (found.within + found.counts * found.means.square().sum(0)).nansum()


class NetworkMeasurer:
    """Measures networks on `data`. What takes long yields between its pieces, so that the caller may stop and go on.

    The features are kept where they fit (see `keeps_features`); where not, each layer is summed up batch by batch, and
    the last one's nc4 is counted in a second pass.
    """

    def __init__(
        self, spec: NetworkSpec, data: DataSet, targets: Tensor, kept_features_bytes: int = KEPT_FEATURES_BYTES
    ) -> None:
        self.spec, self.data, self.classes = spec, data, data.classes
        self._targets, self._kept_features_bytes = targets.double(), kept_features_bytes
        size = len(data.train), data.classes
        self.keeps_features = keeps_features(spec, *size, kept_features_bytes)
        self.features_bytes = features_bytes(spec, *size)[0]
        self._class_means: dict[str, Tensor] = {}  # of each layer, as measured last

    def measure(self, network: Network) -> Generator[None, None, dict[Series, float]]:
        """Every series, of the network as it is in evaluation mode."""
        train, test, bias = self.data.train, self.data.test, network.classifier.bias
        seen = yield from self._levels(network, train)
        self._class_means = {layer: one.means for layer, one in seen.statistics.items()}
        values = seen.values
        values["rank", None] = self._rank(seen.logits if bias is None else seen.logits - bias.double())
        loss = self._mean_loss(seen.logits, train)
        values["loss", None] = loss
        values["objective", None] = loss + self._decays(network, seen)
        for suffix, labels in train.labellings.items():
            values[f"accuracy{suffix}", None] = _accuracy(seen.logits, labels)
        if test is not None:
            if self.spec.measure.test:
                of_test = yield from self._levels(network, test, TEST)
                values |= of_test.values
                logits = of_test.logits
            else:
                logits = yield from self.evaluate(network, test)
            values["test_loss", None] = self._mean_loss(logits, test)
            values["test_accuracy", None] = _accuracy(logits, test.labels)
        if self.data.ood is not None:
            values |= yield from self._outside(network, self.data.ood, seen)
        weight = network.weight.double()
        values["nc0", None] = weight.sum(0).norm()
        values["weight_norm_sq", None] = weight.square().sum(1).mean()
        values["bias_norm", None] = loss.new_zeros(()) if bias is None else bias.double().norm()
        numbers = torch.stack([value.double() for value in values.values()]).tolist()
        return dict(zip(values, numbers, strict=True))

    def geometry(self, network: Network) -> bytes | None:
        """Packed, of the network as it was measured last."""
        means = {layer: one[None].cpu().numpy() for layer, one in self._class_means.items()}
        return packed(means, network.weight.detach()[None].double().cpu().numpy(), network.names[-1])[0]

    def _decays(self, network: Network, seen: Seen) -> Tensor:
        """The terms of weight decay and feature decay in the objective."""
        optimizer = self.spec.optimizer
        weights, features = optimizer.weight_decay / 2 * norm_sq(network, optimizer), optimizer.feature_decay
        return weights if features is None else weights + features.value / 2 * seen.norm_sq(features.layer)

    def features(self, network: Network, data: Images) -> Generator[None, None, tuple[dict[str, Tensor], Tensor]]:
        """The measured layers' features (N, d) of all images, and their logits (N, K) in float64."""
        features, logits = dict[str, Tensor](), self._empty_logits(data)
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

    def _levels(self, network: Network, data: Images, at: str = "") -> Generator[None, None, Seen]:
        """The series of all levels, the layers' names with `at` behind, by each labelling of the images."""
        kept = keeps_features(self.spec, len(data), self.classes, self._kept_features_bytes)
        seen = yield from (self._of_kept_features if kept else self._of_sums)(network, data)
        seen.values = {(metric, f"{layer}{at}"): value for (metric, layer), value in seen.values.items()}
        return seen

    def _of_kept_features(self, network: Network, data: Images) -> Generator[None, None, Seen]:
        features, logits = yield from self.features(network, data)
        seen, weight, bias = Seen(logits), *_classifier(network)
        for layer, x in features.items():
            for suffix, labels in data.labellings.items():
                samples = Samples(x, labels, self.classes)
                if layer == network.names[-1]:
                    scatter = self._scatter(labels, data, x)
                    statistics, share = nc4(samples, weight, bias, scatter)
                    found = _of_level(statistics, weight) | {"nc4": share}
                    found |= {} if scatter is None else self._central_path(statistics, scatter.matrix(), weight, bias)
                else:
                    statistics = samples.statistics
                    found = _of_level(statistics)
                seen.values |= {(f"{name}{suffix}", layer): value for name, value in found.items()}
                seen.statistics.setdefault(layer, statistics)
            yield
        return seen

    def _of_sums(self, network: Network, data: Images) -> Generator[None, None, Seen]:
        """The same as `_of_kept_features`, in the memory of one batch."""
        sums = {(layer, suffix): Accumulator(self.classes) for layer in network.layers for suffix in data.labellings}
        seen = Seen(self._empty_logits(data))
        for rows, images in self._batches(data):
            found, seen.logits[rows] = network.features(images)
            for (layer, suffix), accumulator in sums.items():
                accumulator.add(found[layer], data.labellings[suffix][rows])
            yield
        weight, bias = _classifier(network)
        for (layer, suffix), accumulator in sums.items():
            is_last, statistics = layer == network.names[-1], accumulator.statistics()
            values = _of_level(statistics, weight if is_last else None)
            seen.statistics.setdefault(layer, statistics)
            yield
            if is_last:
                decisions = Decisions(accumulator.class_means, weight, bias, found[layer].dtype)
                yield from self._look(network, data, data.labellings[suffix], accumulator, decisions)
                values["nc4"] = decisions.share(statistics)
                if self._scatter(data.labellings[suffix], data, weight) is not None:
                    values |= self._central_path(statistics, accumulator.scatter(), weight, bias)
            seen.values |= {(f"{name}{suffix}", layer): value for name, value in values.items()}
        return seen

    def _scatter(self, labels: Tensor, data: Images, like: Tensor) -> Scatter | None:
        """An empty one of d x d where the central path is measured: with MSE, of the images and labels of training."""
        is_path = self.spec.criterion.linear_gradient and not self.spec.model.fixed_etf and data is self.data.train
        is_small = like.shape[1] <= MOST_WIDTH
        return Scatter(like.shape[1], like.device) if is_path and is_small and labels is data.taught else None

    def _central_path(
        self, statistics: ClassStatistics, scatter: Tensor, weight: Tensor, bias: Tensor | None
    ) -> dict[str, Tensor]:
        """Of the network's loss, which is 2/K of ½‖·‖² a sample, so that its λ are K/2 times as large in that."""
        optimizer, scale = self.spec.optimizer, 2 / self.classes
        decay = optimizer.weight_decay / scale
        of_bias = decay if optimizer.decays == "all" else 0.0
        path = CentralPath(statistics, scatter, weight, bias, decay, of_bias, regular=decay > 0)
        return {name: scale * value for name, value in path.losses.items()}

    def _look(
        self, network: Network, data: Images, labels: Tensor, sums: Accumulator, decisions: Decisions
    ) -> Generator[None, None, None]:
        """Shows all images to `decisions`, in a pass of its own."""
        last = network.names[-1]
        for rows, images in self._batches(data):
            x, some = network.features(images, (last,))[0][last], labels[rows]
            deviations = sums.deviations(x, some)
            lengths = torch.linalg.vector_norm(deviations, dim=1)
            decisions.look(x, some, lengths, sums.class_means.inverse @ deviations.mT)
            yield

    def _outside(self, network: Network, ood: Images, seen: Seen) -> Generator[None, None, dict[Series, Tensor]]:
        """nc5 of every measured layer, and how well NECO's score separates test images from those outside."""
        last, inside = network.names[-1], self.data.test or self.data.train
        scored = (last,) if last in seen.statistics else ()
        totals, scores = dict[str, Tensor](), list[Tensor]()
        for _, images in self._batches(ood):
            for layer, x in network.features(images)[0].items():
                totals[layer] = totals.get(layer, 0.0) + x.double().sum(0)
                if layer in scored:
                    scores.append(neco(seen.statistics[layer], x))
            yield
        values: dict[Series, Tensor] = {
            ("nc5", layer): nc5(seen.statistics[layer], total[None]) for layer, total in totals.items()
        }
        if scored:
            of_inside = []
            for _, images in self._batches(inside):
                of_inside.append(neco(seen.statistics[last], network.features(images, scored)[0][last]))
                yield
            values["ood_auroc", last] = auroc(torch.cat(of_inside), torch.cat(scores))
        return values

    def _batches(self, data: Images) -> Iterator[tuple[slice, Tensor]]:
        """Rows, and their standardised images."""
        size = evaluated_at_a_time(self.spec.data.image_size)
        for start in range(0, len(data), size):
            rows = slice(start, start + size)
            yield rows, self.data.standardise(data.images[rows])

    def _empty_logits(self, data: Images) -> Tensor:
        return torch.empty(len(data), self.classes, dtype=torch.float64, device=data.labels.device)

    def _mean_loss(self, logits: Tensor, data: Images) -> Tensor:
        return data_loss(self.spec, logits, self._targets[data.taught]).mean()

    def _rank(self, products: Tensor) -> Tensor:
        """Numerical rank of W H̄, the logit means without the bias."""
        return numerical_rank(Samples(products, self.data.train.labels, self.classes).means)


def _classifier(network: Network) -> tuple[Tensor, Tensor | None]:
    """Weight (K, d) and bias (K,) in float64."""
    bias = network.classifier.bias
    return network.weight.double(), None if bias is None else bias.double()


def _of_level(statistics: ClassStatistics, weight: Tensor | None = None) -> dict[str, Tensor]:
    values = level_metrics(statistics, weight)
    return values | {"feature_norm_sq": statistics.means.square().sum(0).mean()}


def data_loss(spec: NetworkSpec, logits: Tensor, targets: Tensor) -> Tensor:
    """The data term of each sample (N), from logits and targets (N, K)."""
    return spec.criterion.of_network(logits, targets)


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).double().mean()
