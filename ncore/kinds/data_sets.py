"""The data sets: of each where its images come from, how many there are, and how a caption words it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Discriminator, Field, StrictBool, Tag, model_validator

from ncore.kinds.fields import Int, OneOf, Part, Reference, number_or_list

CLASSES, SYNTHETIC_SAMPLES = 10, 100
"""Classes of synthetic images unless asked for, and images a class."""


@dataclass(frozen=True)
class Source:
    """A data set as `data.name` names it; to add one is to put it into DATA_SETS.

    `load` is called with (data, directory or None, check) and returns `ncore.network.sources.Stored` for training and
    for testing (or None), and the number of classes. `classes` and `images` (training, test) are None where the spec
    or the files say them. `flips`: a mirror image is one of the same class.
    """

    name: str
    title: str
    load: Reference
    classes: int | None = None
    images: tuple[int, int] | None = None
    channels: int = 3
    flips: bool = False
    has_path: bool = False
    """Whether `data.path` says where it is."""
    any_classes: bool = False
    """Whether `data.classes` may be any number."""


DATA_SETS: dict[str, Source] = {
    source.name: source
    for source in (
        Source("mnist", "MNIST", "ncore.network.sources:mnist", 10, (60_000, 10_000), channels=1),
        Source(
            "fashion_mnist", "Fashion-MNIST", "ncore.network.sources:fashion_mnist", 10, (60_000, 10_000), channels=1
        ),
        Source("cifar10", "CIFAR-10", "ncore.network.sources:cifar10", 10, (50_000, 10_000), flips=True),
        Source("digits", "digits", "ncore.network.sources:digits", 10, (1442, 355), channels=1),
        Source("folder", "a folder of images", "ncore.network.folder:folder", flips=True, has_path=True),
        Source("synthetic", "synthetic images", "ncore.network.sources:synthetic", any_classes=True),
    )
}
"""The data sets by their name."""

PATH = r"^[^\x00-\x1F\x7F-\x9F\u2028\u2029\uFDD0-\uFDEF\uFFFE\uFFFF]*$"
"""No control characters, no separators of lines, no characters that are none."""
Several = Annotated[Int, Field(ge=2, le=10**8, description="of one image nothing varies within its class")]
ImagesPerClass = Annotated[
    Annotated[Several, Tag("number")] | Annotated[tuple[Several, ...], Tag("list")], Discriminator(number_or_list)
]


class Data(Part):
    name: Annotated[str, OneOf(DATA_SETS)]
    path: Annotated[str, Field(min_length=1, max_length=1024, pattern=PATH)] | None = None
    samples_per_class: ImagesPerClass | None = None
    image_size: Int = Field(default=32, ge=4, le=512)
    augment: StrictBool = False
    random_labels: StrictBool = False
    classes: Int | None = Field(default=None, ge=2, le=10_000, description="synthetic only; 10 if null")

    @property
    def source(self) -> Source:
        return DATA_SETS[self.name]

    @property
    def class_count(self) -> int:
        """K where the spec or the data set says it, else 10."""
        n = self.samples_per_class
        return self.source.classes or self.classes or (len(n) if isinstance(n, tuple) else CLASSES)

    @property
    def words(self) -> str:
        """The data set in a caption."""
        n = "" if self.samples_per_class is None else f", n = {self.samples_per_class}"
        return f"{self.source.title}{n}"

    @model_validator(mode="after")
    def _source_has_what_is_asked_for(self) -> Self:
        if self.source.has_path != (self.path is not None):
            named = ", ".join(repr(source.name) for source in DATA_SETS.values() if source.has_path)
            raise ValueError(f"path: must be given for the data set {named}, and only for it")
        if self.path is not None and (self.path.startswith("/") or ".." in self.path.split("/")):
            raise ValueError("path: must be relative to NCORE_DATA_DIR and without '..'")
        if self.classes is not None and not self.source.any_classes:
            named = ", ".join(repr(source.name) for source in DATA_SETS.values() if source.any_classes)
            raise ValueError(f"classes: may be given for the data set {named} only")
        return self
