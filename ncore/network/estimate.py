"""The memory a network's experiment will need and the largest share of it, from its spec alone and without torch."""

from __future__ import annotations

from itertools import pairwise

from ncore.spec import ConvNetModel, Data, MlpModel, NetworkSpec, ResNetModel

IMAGES = {
    "mnist": (60_000, 10_000),
    "fashion_mnist": (60_000, 10_000),
    "cifar10": (50_000, 10_000),
    "digits": (1442, 355),
}
"""Training and test images of the named data sets."""
ONE_CHANNEL = ("mnist", "fashion_mnist", "digits")
CLASSES, SYNTHETIC_SAMPLES = 10, 100
"""Classes of the named data sets, and of synthetic ones unless asked for; images a class of synthetic ones."""
EVALUATED_PIXELS, EVALUATED_IMAGES = 2**18, 256
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
COPIES = 4
"""Weights, gradients, velocities, and what a checkpoint or a step holds meanwhile."""
LEAST_BATCH = 2
PASSES = 1.5
"""Maps kept for the way back, and the gradients that are on their way."""
EVALUATED_MAPS = 3
"""Of the largest map at once, where nothing is kept for a way back."""
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
    classes = class_count(spec.data)
    channels = 1 if spec.data.name in ONE_CHANNEL else 3
    pictures = (train + test) * channels * spec.data.image_size**2
    kept, largest, _ = maps(spec, channels)
    trained = PASSES * min(spec.optimizer.batch_size, train or spec.optimizer.batch_size) * kept
    evaluated = EVALUATED_MAPS * evaluated_at_a_time(spec.data.image_size) * largest
    kept_features, sums = features_bytes(spec, train, channels, classes)
    keeps = keeps_features(spec, train, channels, classes)
    logits = 2 * (train + test) * classes
    weights = parameters(spec, channels, classes)
    return {
        "images": pictures,
        "weights": number * COPIES * weights,
        "maps": number * max(trained, evaluated),
        "features" if keeps else "sums": kept_features if keeps else sums,
        "logits": 8 * logits,
    }


def keeps_features(
    spec: NetworkSpec, samples: int, channels: int, classes: int, limit: int = KEPT_FEATURES_BYTES
) -> bool:
    """Whether a measurement keeps the features of so many training images: up to `limit` bytes, and where sums over
    them (`ncore.metrics.Accumulator`) would take no less."""
    kept, sums = features_bytes(spec, samples, channels, classes)
    return kept <= max(limit, sums)


def features_bytes(spec: NetworkSpec, samples: int, channels: int, classes: int) -> tuple[int, int]:
    """Of all measured layers: the features (N, d), and in their place the sums K × d and d × d in float64."""
    found = maps(spec, channels)[2]
    widths = [found[level] for level in spec.model.measured]
    # anchors and sums of each layer; of the layer whose statistics are taken also the scatter moved to the means
    sums = sum(d * (d + 2 * classes) for d in widths) + 2 * max(widths) ** 2
    return (8 if spec.precision == "float64" else 4) * samples * sum(widths), 8 * sums


def class_count(data: Data) -> int:
    n = data.samples_per_class
    return data.classes or (len(n) if isinstance(n, tuple) else CLASSES)


def images(data: Data) -> tuple[int, int]:
    """Training and test images that are kept."""
    n, classes = data.samples_per_class, class_count(data)
    asked = None if n is None else (n * classes if isinstance(n, int) else sum(n))
    if data.name in IMAGES:
        train, test = IMAGES[data.name]
        return (train, test) if asked is None else (min(asked, train), min(asked, test))
    if asked is None:
        asked = SYNTHETIC_SAMPLES * classes if data.name == "synthetic" else 0
    return asked, asked


def maps(spec: NetworkSpec, channels: int) -> tuple[int, int, dict[str, int]]:
    """Numbers of one image's maps that are kept for the way back, and of the largest map; each level's width."""
    model, size = spec.model, spec.data.image_size
    if isinstance(model, ResNetModel):
        kept, largest, widths = _resnet_maps(model, size)
    elif isinstance(model, ConvNetModel):
        kept, widths = 0, dict(zip(model.stages, model.channels, strict=True))
        for i, width in enumerate(model.channels):
            kept += 3 * width * (size >> i) ** 2  # convolved, normalised; a quarter pooled, with its places
        largest = max(width * (size >> i) ** 2 for i, width in enumerate(model.channels))
    else:
        kept, widths = 2 * sum(model.widths), dict(zip(model.stages, model.widths, strict=True))
        largest = max(model.widths)
    last = widths[model.stages[-1]]
    heads = [level for level in model.levels if level not in model.stages]
    pixels = channels * size**2
    return kept + pixels + 2 * last * len(heads), max(largest, pixels), widths | dict.fromkeys(heads, last)


def _resnet_maps(model: ResNetModel, size: int) -> tuple[int, int, dict[str, int]]:
    wide = 4 if model.depth == 50 else 1
    if model.stem == "cifar":
        side, kept = size, 2 * 64 * size**2
    else:
        half = -(-size // 2)
        side, kept = -(-half // 2), 2 * 64 * half**2
    largest = max(kept // 2, 64 * wide * side**2)
    for i, blocks in enumerate(BLOCKS[model.depth]):
        width = 64 << i
        of_block = (4 if wide == 1 else 4 + 2 * wide) * width
        kept += (blocks * of_block + 2 * wide * width) * side**2
        side = -(-side // 2)
    return kept, largest, {stage: wide * (64 << i) for i, stage in enumerate(model.stages)}


def parameters(spec: NetworkSpec, channels: int, classes: int) -> int:
    """Weights of linear and convolutional layers; biases and batch norms are left out."""
    model = spec.model
    if isinstance(model, MlpModel):
        sizes = (channels * spec.data.image_size**2, *model.widths)
        body = sum(before * after for before, after in pairwise(sizes))
        last = sizes[-1]
    elif isinstance(model, ConvNetModel):
        sizes = (channels, *model.channels)
        body = sum(9 * before * after for before, after in pairwise(sizes))
        last = sizes[-1]
    else:
        body, last = _resnet_parameters(model, channels)
    return body + model.head_layers * last**2 + last * classes


def _resnet_parameters(model: ResNetModel, channels: int) -> tuple[int, int]:
    wide = 4 if model.depth == 50 else 1
    total, before = channels * 64 * (9 if model.stem == "cifar" else 49), 64
    for i, blocks in enumerate(BLOCKS[model.depth]):
        width = 64 << i
        for _ in range(blocks):
            if wide == 1:
                total += 9 * before * width + 9 * width**2
            else:
                total += before * width + 9 * width**2 + wide * width**2
            if before != wide * width:
                total += before * wide * width
            before = wide * width
    return total, before


def largest_share(spec: NetworkSpec, limit_bytes: float) -> tuple[str, float, str]:
    """(dotted path of the field that would lower it, bytes, what they are for in words) of the largest share."""
    shares = network_shares(spec)
    largest = max(shares, key=lambda name: shares[name])
    train, test = images(spec.data)
    batch, size = spec.optimizer.batch_size, spec.data.image_size
    fields = {"weights": "model", "sums": "model", "maps": _field_of_maps(spec, limit_bytes)}
    words = {
        "images": f"{train + test} images of {size} x {size} pixels",
        "logits": f"the logits of {train + test} images",
        "features": f"the features of {train} images in {', '.join(spec.model.measured)} (model.layers)",
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
