"""The names under which people save features, labels, weight and bias."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ncore.saved.contents import UnreadableError, listed

ROLES = {
    "features": ("features", "feature", "feats", "embeddings", "embedding", "activations", "penultimate", "h", "x"),
    "labels": ("labels", "label", "targets", "target", "y", "class", "classes"),
    "weight": ("weight", "weights", "w"),
    "bias": ("bias", "b"),
}
"""Names of each role, in any letter case; the first is the documented one."""
LAYERED = ROLES["features"][:6]
"""`features.layer4`, `activations/layer4`: features of a layer."""
HEADS = ("classifier", "fc", "head", "linear", "last", "last_layer", "output", "logits")
"""`fc.weight`, `model.head.bias`: weight and bias of the classifier, as in a state dict."""


@dataclass(frozen=True)
class Found:
    """The name in the file of each role; features by layer, None where they have no name."""

    features: dict[str | None, str]
    labels: str | None
    weight: str | None
    bias: str | None


def found_in(names: tuple[str, ...], chosen: Mapping[str, str]) -> Found:
    """Which name is what; `chosen` names some by role.

    Raises UnreadableError naming the role where several names could be meant, or where a chosen name is not there.
    """
    for role, name in chosen.items():
        if name not in names:
            raise UnreadableError(f"{role}: there is no {name!r}; it has {listed(names)}")
    one = {role: chosen.get(role) or _one(role, names) for role in ("labels", "weight", "bias")}
    if "features" in chosen:
        layers: dict[str | None, str] = {None: chosen["features"]}
    else:
        plain = _one("features", names)
        layers = {None: plain} if plain is not None else _layers(names)
    return Found(layers, one["labels"], one["weight"], one["bias"])


def _one(role: str, names: tuple[str, ...]) -> str | None:
    """The name of a role: by the documented one, else by its other names, else by the classifier's in a state dict."""
    for is_meant in (_is_documented, _is_known, _is_of_a_head):
        meant = [name for name in names if is_meant(role, name)]
        if len(meant) > 1:
            raise UnreadableError(f"{role}: could be {listed(tuple(meant))}; choose one ({role}=NAME)")
        if meant:
            return meant[0]
    return None


def _is_documented(role: str, name: str) -> bool:
    return name == ROLES[role][0]


def _is_known(role: str, name: str) -> bool:
    return name.lower() in ROLES[role]


def _is_of_a_head(role: str, name: str) -> bool:
    *above, last = re.split(r"[./]|_(?=weight$|bias$)", name.lower())
    return role in ("weight", "bias") and last == role and bool(above) and above[-1] in HEADS


def _layers(names: tuple[str, ...]) -> dict[str | None, str]:
    found: dict[str | None, str] = {}
    for name in names:
        head, _, layer = re.sub("[/:]", ".", name, count=1).partition(".")
        if head.lower() in LAYERED and layer:
            found[layer] = name
    return found
