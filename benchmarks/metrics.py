"""`measure` on the features of a network against one float32 product XᵀX of their size."""

from __future__ import annotations

import torch

from benchmarks import Row, best_seconds
from ncore.metrics import measure

SAMPLES, WIDTH, CLASSES = 60_000, 512, 10
SMALLEST_SAMPLES = 100


def run(smallest: bool = False) -> list[Row]:
    samples = SMALLEST_SAMPLES if smallest else SAMPLES
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (samples,), generator=generator)
    means = torch.randn(CLASSES, WIDTH, generator=generator)
    features = torch.randn(samples, WIDTH, generator=generator) + means[labels]
    weight, bias = torch.randn(CLASSES, WIDTH, generator=generator), torch.zeros(CLASSES)
    ordered = labels.argsort()
    product = best_seconds(lambda: features.mT @ features)
    shuffled = best_seconds(lambda: measure(features, labels, weight, bias))
    x, y = features[ordered], labels[ordered]
    sorted_ = best_seconds(lambda: measure(x, y, weight, bias))
    return [
        Row(f"measure, {samples} x {WIDTH} float32, all of NC1–NC4", shuffled, product, "s", "<= 1.2"),
        Row("the same with samples ordered by class", sorted_, product, "s", "<= 1.2"),
    ]
