"""What most of a network's memory is for, and the field of the spec that has most to do with it. Without torch."""

from __future__ import annotations

from ncore.network_estimate import images, network_bytes, network_shares
from ncore.spec import NetworkSpec

LEAST_BATCH = 2


def largest_share(spec: NetworkSpec, limit_bytes: float) -> tuple[str, float, str]:
    """(dotted path of the field, bytes, what they are for in words) of the largest share of the estimate."""
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
