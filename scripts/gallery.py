"""Makes the pictures of the gallery, `docs/gallery`, and its page: `python -m scripts.gallery [NAME…]`.

A test draws them again and compares, so that no picture changes unseen.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from ncore import figure, train
from ncore.presets import Spec, spec_of
from ncore.spec import ExternalSpec

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "gallery"


@dataclass(frozen=True)
class Exhibit:
    """A preset, or a spec, with changes, and how it is drawn."""

    name: str
    text: str
    given: str | Mapping[str, Any]
    changes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def spec(self) -> Spec:
        spec = spec_of({"preset": self.given, "set": self.changes} if isinstance(self.given, str) else self.given)
        assert not isinstance(spec, ExternalSpec)
        return spec

    def png(self) -> bytes:
        """The experiment is run and drawn."""
        return figure(self.spec, list(train(self.spec)), **self.options).as_bytes("png")

    @property
    def code(self) -> str:
        """What a reader types for this picture."""
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        if isinstance(self.given, str) and not self.changes:
            lines = [f"figure({self.given!r}, train({self.given!r}){options})"]
        else:
            body = {"preset": self.given, "set": self.changes} if isinstance(self.given, str) else self.given
            lines = [f"spec = {body!r}", f"figure(spec, train(spec){options})"]
        return "\n".join(lines).replace("'", '"')


DIGITS = {
    "name": "digits",
    "model": {"kind": "mlp", "widths": [64, 32]},
    "data": {"name": "digits", "image_size": 8},
    "loss": "cross_entropy",
    "optimizer": {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9, "epochs": 60, "batch_size": 64},
    "measure": {"every_epochs": 2},
    "precision": "float64",
}
EXHIBITS = {
    one.name: one
    for one in (
        Exhibit("fig1", "The plain model without bias converges to an orthogonal frame.", "fig1"),
        Exhibit("fig2", "With a bias that is not regularised it converges to a simplex ETF.", "fig2"),
        Exhibit("fig3", "Two linear layers: both levels collapse at the same pace.", "fig3"),
        Exhibit("fig4", "A ReLU between them: the level before it lags behind.", "fig4"),
        Exhibit(
            "fig1-paper",
            "Figure 1 in the size and style of a paper's column, names at the ends of the curves.",
            "fig1",
            options={"style": "paper", "legend": "direct"},
        ),
        Exhibit(
            "fig3-dark",
            "Other panels, dark: the gap to the predicted optimum, the gradient, norms and angles.",
            "fig3",
            {"optimizer.steps": 20_000},
            {"theme": "dark", "panels": ["gap", "gradient", "norms", "angles"]},
        ),
        Exhibit(
            "minority-collapse", "Cross-entropy with unequal classes: the small ones share a mean.", "minority-collapse"
        ),
        Exhibit(
            "digits",
            "A network with two hidden layers on scikit-learn's digits, each layer a curve.",
            DIGITS,
            options={"panels": ["nc1", "nc2", "accuracy", "nc0"]},
        ),
        Exhibit(
            "low-rank-bias",
            "32 seeds of a deep ReLU model: where their objectives and ranks end.",
            "low-rank-bias",
        ),
    )
}


def page() -> str:
    """The page of the gallery."""
    head = "# Gallery\n\nMade by `python -m scripts.gallery`: each picture is one run and one call of `ncore.figure`.\n"
    shown = (
        f"\n## {one.name}\n\n{one.text}\n\n![{one.text}](gallery/{one.name}.png)\n\n```python\n{one.code}\n```\n"
        for one in EXHIBITS.values()
    )
    return head + "".join(shown)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or EXHIBITS:
        image = Image.open(BytesIO(EXHIBITS[name].png())).convert("RGB")
        image.quantize(64).save(FOLDER / f"{name}.png", optimize=True)  # a sixth of the bytes
        print(name)
    (DOCS / "gallery.md").write_text(page())


if __name__ == "__main__":
    main()
