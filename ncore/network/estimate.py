"""The memory a network's experiment will need and the largest share of it, from its spec alone and without torch."""

from __future__ import annotations

from ncore.kinds.data_sets import SYNTHETIC_SAMPLES, Data
from ncore.kinds.networks import Maps
from ncore.spec import NetworkSpec

EVALUATED_PIXELS, EVALUATED_IMAGES = 2**18, 256
LEAST_BATCH = 2
PASSES = 1.5
"""Activations kept for the backward pass (1) and gradients in flight (½)."""
EVALUATED_MAPS = 3
"""Copies of the largest map that are held at once where nothing is kept for a backward pass."""
KEPT_FEATURES_BYTES = 2**31
"""Features of the training set, of all measured layers, that a measurement keeps in memory. A constant, not a setting:
by it the way to sum is chosen, and the same spec shall give the same bits everywhere."""


def evaluated_at_a_time(image_size: int) -> int:
    """Images in one piece of a pass over the data: fewer where they are large."""
    return max(1, min(EVALUATED_IMAGES, EVALUATED_PIXELS // image_size**2))


def network_bytes(spec: NetworkSpec) -> int:
    """Peak memory of one seed's tensors with the data set; of a folder without `samples_per_class` no images count."""
    return int(sum(network_shares(spec).values()))


def network_shares(spec: NetworkSpec) -> dict[str, float]:
    """Bytes at the peak, by what they are for."""
    number = 8 if spec.precision == "float64" else 4
    train, test = images(spec.data)
    classes, found = spec.data.class_count, maps(spec)
    pictures = (train + test + outside(spec.data)) * spec.data.source.channels * spec.data.image_size**2
    trained = PASSES * min(spec.optimizer.batch_size, train or spec.optimizer.batch_size) * found.kept
    evaluated = EVALUATED_MAPS * evaluated_at_a_time(spec.data.image_size) * found.largest
    measured = max(train, test) if spec.measure.test else train  # one after the other
    kept_features, sums = features_bytes(spec, measured, classes)
    keeps = keeps_features(spec, measured, classes)
    sums *= 2 if spec.data.label_noise else 1  # by both labellings
    logits = 2 * (train + test) * classes
    weights = parameters(spec, classes)
    return {
        "images": spec.devices * pictures,
        "weights": spec.devices * number * spec.optimizer.copies * weights,
        "maps": number * max(trained, evaluated),
        "features" if keeps else "sums": kept_features if keeps else sums,
        "logits": 8 * logits,
    }


def keeps_features(spec: NetworkSpec, samples: int, classes: int, limit: int = KEPT_FEATURES_BYTES) -> bool:
    """Whether a measurement keeps the features of so many training images: up to `limit` bytes, and where sums over
    them (`ncore.metrics.Accumulator`) would take no less."""
    kept, sums = features_bytes(spec, samples, classes)
    return kept <= max(limit, sums)


def features_bytes(spec: NetworkSpec, samples: int, classes: int) -> tuple[int, int]:
    """Bytes for all measured layers: of features (N, d), and of the sums K × d and d × d in float64 in their place."""
    found = maps(spec).widths
    widths = [found[level] for level in spec.model.measured]
    # anchors and sums (two numbers each) of each layer; of the one that statistics are taken of, copies of the scatter
    sums = sum(d * (d + 3 * classes) for d in widths) + 2 * max(widths) ** 2
    return (8 if spec.precision == "float64" else 4) * samples * sum(widths), 8 * sums


def images(data: Data) -> tuple[int, int]:
    """Training and test images that are kept; 0 where only the files say how many there are."""
    n, classes = data.samples_per_class, data.class_count
    sizes = data.train_sizes(classes)
    asked = None if sizes is None else sum(sizes)
    asked_test = n * classes if isinstance(n, int) else asked
    if data.source.images is not None:
        share = classes / (data.source.classes or classes)
        train, test = (round(part * share) for part in data.source.images)
        return (train, test) if asked is None or asked_test is None else (min(asked, train), min(asked_test, test))
    if asked is None or asked_test is None:
        asked = asked_test = SYNTHETIC_SAMPLES * classes if data.source.any_classes else 0
    return asked, asked_test


def outside(data: Data) -> int:
    """Images of `data.ood` that are kept; 0 without it, and where only its files say how many there are."""
    if data.ood is None:
        return 0
    train, test = images(Data(**data.ood.model_dump()))
    return test or train


def maps(spec: NetworkSpec) -> Maps:
    """The maps of the whole network with its images and extra layers, and the widths of all levels."""
    model, channels, size = spec.model, spec.data.source.channels, spec.data.image_size
    stages, pixels = model.maps(channels, size), channels * size**2
    last = stages.widths[model.stages[-1]]
    heads = [level for level in model.levels if level not in model.stages]
    return Maps(
        kept=stages.kept + pixels + 2 * last * len(heads),
        largest=max(stages.largest, pixels),
        widths=stages.widths | dict.fromkeys(heads, last),
    )


def parameters(spec: NetworkSpec, classes: int) -> int:
    """Weights of linear and convolutional layers; biases and batch norms are left out."""
    model, channels, size = spec.model, spec.data.source.channels, spec.data.image_size
    last = model.maps(channels, size).widths[model.stages[-1]]
    return model.parameters(channels, size) + model.head_layers * last**2 + last * classes


def largest_share(spec: NetworkSpec, limit_bytes: float) -> tuple[str, float, str]:
    """(dotted path of the field that would lower it, bytes, what they are for in words) of the largest share."""
    shares = network_shares(spec)
    largest = max(shares, key=lambda name: shares[name])
    train, test = images(spec.data)
    measured = max(train, test) if spec.measure.test else train
    total = train + test + outside(spec.data)
    batch, size = spec.optimizer.batch_size, spec.data.image_size
    fields = {"weights": "model", "sums": "model", "maps": _field_of_maps(spec, limit_bytes)}
    words = {
        "images": f"{total} images of {size} x {size} pixels",
        "logits": f"the logits of {train + test} images",
        "features": f"the features of {measured} images in {', '.join(spec.model.measured)} (model.layers)",
        "sums": f"the sums over the features in {', '.join(spec.model.measured)} (model.layers)",
        "weights": f"the weights and their gradients, of images of {size} x {size} pixels",
        "maps": f"the maps of images of {size} x {size} pixels, {min(batch, train or batch)} in a batch",
    }
    return fields.get(largest, "data.samples_per_class"), shares[largest], words[largest]


def _field_of_maps(spec: NetworkSpec, limit_bytes: float) -> str:
    """The batch's size where a smaller one would do, else the images' size."""
    least = spec.optimizer.model_copy(update={"batch_size": LEAST_BATCH})
    fits = network_bytes(spec.model_copy(update={"optimizer": least})) <= limit_bytes
    return "optimizer.batch_size" if fits else "data.image_size"
