"""The data sets: of each where its images come from, how many there are, and how a caption words it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, StrictBool, Tag, model_validator

from ncore.kinds.fields import (
    MAX_CLASSES,
    Entries,
    Int,
    Label,
    OneOf,
    Options,
    Part,
    Plain,
    PluginName,
    Real,
    Reference,
    number_or_list,
)

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
    is_plugin: bool = False
    """Whether `data.plugin` says whose it is."""
    needs_classes: bool = False
    """Whether `data.classes` must be a list."""


DATA_SETS: dict[str, Source] = {
    source.name: source
    for source in (
        Source("mnist", "MNIST", "ncore.network.sources:mnist", 10, (60_000, 10_000), channels=1),
        Source(
            "fashion_mnist", "Fashion-MNIST", "ncore.network.sources:fashion_mnist", 10, (60_000, 10_000), channels=1
        ),
        Source("cifar10", "CIFAR-10", "ncore.network.sources:cifar10", 10, (50_000, 10_000), flips=True),
        Source("cifar100", "CIFAR-100", "ncore.network.sources:cifar100", 100, (50_000, 10_000), flips=True),
        Source("svhn", "SVHN", "ncore.network.sources:svhn", 10, (73_257, 26_032)),
        Source("stl10", "STL-10", "ncore.network.sources:stl10", 10, (5000, 8000), flips=True),
        Source("kmnist", "KMNIST", "ncore.network.sources:kmnist", 10, (60_000, 10_000), 1),
        Source(
            "tiny_imagenet", "Tiny ImageNet", "ncore.network.folder:tiny_imagenet", 200, (100_000, 10_000), flips=True
        ),
        Source("digits", "digits", "ncore.network.sources:digits", 10, (1442, 355), channels=1),
        Source(
            "imagenet_subset",
            "a subset of ImageNet",
            "ncore.network.folder:imagenet_subset",
            flips=True,
            has_path=True,
            needs_classes=True,
        ),
        Source("folder", "a folder of images", "ncore.network.folder:folder", flips=True, has_path=True),
        Source("synthetic", "synthetic images", "ncore.network.sources:synthetic", any_classes=True),
        Source("plugin", "images of a package", "ncore.network.plugins:images", is_plugin=True),
    )
}
"""The data sets by their name."""

Several = Annotated[Int, Field(ge=2, le=10**8, description="of one image nothing varies within its class")]
ImagesPerClass = Annotated[
    Annotated[Several, Tag("number")] | Annotated[tuple[Several, ...], Entries(2, MAX_CLASSES), Tag("list")],
    Discriminator(number_or_list),
]


class Imbalance(Part):
    """Class sizes from n, which is `samples_per_class`, down to n/ratio in the training set.

    `long_tail`: n ratio^(−k/(K − 1)) for k = 0 … K − 1 (Cui et al. 2019); `step`: n for the first half of the classes,
    n/ratio for the others (Buda et al. 2018).
    """

    kind: Literal["step", "long_tail"]
    """The form of the class sizes."""
    ratio: Real = Field(ge=1, le=1e6)
    """Largest over smallest class."""

    def sizes(self, n: int, classes: int) -> tuple[int, ...]:
        if self.kind == "step":
            return tuple(n if 2 * k < classes else round(n / self.ratio) for k in range(classes))
        return tuple(round(n * self.ratio ** (-k / (classes - 1))) for k in range(classes))


ClassName = Annotated[
    Annotated[Int, Field(ge=0, lt=MAX_CLASSES), Tag("class index")] | Annotated[Label, Tag("class name")],
    Discriminator(lambda value: "class name" if isinstance(value, str) else "class index"),
]
SomeClasses = Annotated[
    Annotated[Int, Field(ge=2, le=MAX_CLASSES), Tag("number")]
    | Annotated[tuple[ClassName, ...], Entries(2, MAX_CLASSES), Tag("list")],
    Discriminator(number_or_list),
]


class Chosen(Part):
    """Which images: a data set, and what of it."""

    name: Annotated[str, OneOf(DATA_SETS)]
    """The data set."""
    path: Annotated[str, Field(min_length=1, max_length=1024), Plain()] | None = None
    """Path of a folder of images, below NCORE_DATA_DIR."""
    samples_per_class: ImagesPerClass | None = None
    """Images of each class in training, or a list of K; null: all."""
    classes: SomeClasses | None = Field(
        default=None,
        description="a list: only these classes, in this order, by index from 0 or by name; a number: synthetic only",
    )

    plugin: PluginName | None = None
    """Of the data set `plugin`: a function that an installed package offers by the entry point `ncore.datasets`, by the
    entry point's name or the function's, package.module:function."""
    options: Options = Field(default_factory=dict, description="arguments of the plugin's function")

    @property
    def source(self) -> Source:
        return DATA_SETS[self.name]

    @property
    def known_classes(self) -> int | None:
        """K where the spec or the data set says it."""
        n, asked = self.samples_per_class, self.classes
        if isinstance(asked, tuple):
            return len(asked)
        return self.source.classes or asked or (len(n) if isinstance(n, tuple) else None)

    @property
    def class_count(self) -> int:
        """K where the spec or the data set says it, else 10."""
        return self.known_classes or CLASSES

    @model_validator(mode="after")
    def _plugin_is_named(self) -> Self:
        if self.source.is_plugin != (self.plugin is not None):
            named = ", ".join(repr(source.name) for source in DATA_SETS.values() if source.is_plugin)
            raise ValueError(f"plugin: must be given for the data set {named}, and only for it")
        if self.options and self.plugin is None:
            raise ValueError("options: may be given beside data.plugin only")
        return self

    @model_validator(mode="after")
    def _source_has_what_is_asked_for(self) -> Self:
        if self.source.has_path != (self.path is not None):
            named = ", ".join(repr(source.name) for source in DATA_SETS.values() if source.has_path)
            raise ValueError(f"path: must be given for the data set {named}, and only for it")
        if self.path is not None and (self.path.startswith("/") or ".." in self.path.split("/")):
            raise ValueError("path: must be relative to NCORE_DATA_DIR and without '..'")
        if isinstance(self.classes, int) and not self.source.any_classes:
            named = ", ".join(repr(source.name) for source in DATA_SETS.values() if source.any_classes)
            raise ValueError(f"classes: may be a number for the data set {named} only; else a list of classes")
        if isinstance(self.classes, tuple) and self.source.any_classes:
            raise ValueError(f"classes: must be a number for the data set {self.name!r}, whose classes are alike")
        if self.classes is None and self.source.needs_classes:
            raise ValueError(f"classes: must be a list of the classes wanted of the data set {self.name!r}")
        if isinstance(self.classes, tuple) and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: must not repeat")
        return self


class OutOfDistribution(Chosen):
    """Images from outside the distribution: the test part of a data set, its training part where it has no other."""

    def is_apart_from(self, data: Chosen) -> bool:
        """Whether no image can be of both."""
        if (self.name, self.path, self.plugin) != (data.name, data.path, data.plugin):
            return True
        mine, others = self.classes, data.classes
        return isinstance(mine, tuple) and isinstance(others, tuple) and not set(mine) & set(others)


class Data(Chosen):
    image_size: Int = Field(default=32, ge=4, le=512)
    """Side of the images in pixels; others are scaled."""
    augment: StrictBool = False
    """Whether training images are shifted and, where that keeps the class, mirrored."""
    random_labels: StrictBool = False
    """Whether labels are drawn by chance."""
    label_noise: Real = Field(default=0.0, ge=0, lt=1)
    """Share of each class's training images whose label is another's."""
    imbalance: Imbalance | None = None
    """Class sizes that fall from `samples_per_class`."""
    ood: OutOfDistribution | None = None
    """Images from outside the distribution, for nc5 and ood_auroc."""

    def train_sizes(self, classes: int) -> tuple[int, ...] | None:
        """Training images of each class, None for all there are."""
        n = self.samples_per_class
        if isinstance(n, int):
            return (n,) * classes if self.imbalance is None else self.imbalance.sizes(n, classes)
        return n

    @property
    def words(self) -> str:
        """The data set in a caption."""
        n = "" if self.samples_per_class is None else f", n = {self.samples_per_class}"
        uneven = ""
        if self.imbalance is not None:
            uneven = f" down to 1/{self.imbalance.ratio:g} ({self.imbalance.kind.replace('_', ' ')})"
        some = f", {len(self.classes)} of its classes" if isinstance(self.classes, tuple) else ""
        noise = f", {self.label_noise:.3g} of the labels flipped" if self.label_noise else ""
        return f"{self.source.title}{some}{n}{uneven}{noise}"

    @model_validator(mode="after")
    def _data_fit(self) -> Self:
        if self.imbalance is not None and not isinstance(self.samples_per_class, int):
            raise ValueError("imbalance: needs samples_per_class as a number, that of the largest class")
        if self.label_noise and self.random_labels:
            raise ValueError("label_noise: must be 0 while data.random_labels is true")
        if self.ood is not None and not self.ood.is_apart_from(self):
            raise ValueError("ood: must be another data set, or other classes of this one in a list of each")
        return self
