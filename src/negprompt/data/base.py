"""What every data set and every group of OOD sets offers: settings that load pictures."""

from __future__ import annotations

import abc
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from negprompt.data.contents import digests
from negprompt.data.listing import Listing, in_memory
from negprompt.errors import ConfigError
from negprompt.settings import Settings
from negprompt.types import ImageSet, Split


class Augmentation(Settings):
    """Random resized crop and horizontal flip of training pictures (method: CoOp).

    `scale`: smallest and largest share of the area that a crop keeps; `flip`: probability of a mirror image.
    """

    scale_min: Annotated[float, Field(gt=0, le=1)] = 0.08
    scale_max: Annotated[float, Field(gt=0, le=1)] = 1.0
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale_min > self.scale_max:
            msg = (
                f"data.augmentation.scale_min={self.scale_min} is above data.augmentation.scale_max={self.scale_max}: "
                "lower the one or raise the other."
            )
            raise ConfigError(msg)
        return self


VALIDATION_SETS = (
    "data=icons_val, data=openood data.part=val, and pictures of your own with data.validation=true ood.validation=true"
)
"""Data sets with pictures that settings may be chosen on, for messages."""


MOST_HELD_OUT = 1000
"""Pictures that `IDSets.held_out` gives at most: they cost a pass of the backbone, and promise shares down to 0.001."""


class IDPictures(NamedTuple):
    """Everything on the ID side of a benchmark.

    `class_names` in label order; `train` holds pictures of the first `num_train_classes` of them; `shifted` are sets of
    the same classes from elsewhere (full-spectrum protocol), by name.
    """

    class_names: tuple[str, ...]
    num_train_classes: int
    train: ImageSet
    test: ImageSet
    shifted: Mapping[str, ImageSet] = MappingProxyType({})


class Problem(NamedTuple):
    """Something wrong with a set: what, and what to do. A problem that is not `severe` is a warning.

    `examples`: the first few pictures or folders that it is about.
    """

    set_name: str
    what: str
    fix: str
    severe: bool = True
    examples: tuple[str, ...] = ()


class Expected(NamedTuple):
    """What a protocol counts in a set, and where to get it: pictures, pictures a class, None where it does not say."""

    total: int | None = None
    per_class: int | None = None
    fix: str = ""


class Source(NamedTuple):
    """One set of a benchmark as it lies on the disk, for looking at it.

    `side`: what it is used for. `read` lists all its pictures, also those that no few-shot draw takes. `classes`: keys
    of the classes that are used, None where it has none; `known`: keys that may stand there without being used.
    `expected`: what the protocol counts; `at_least`: pictures that a class needs.
    """

    name: str
    side: Literal["train", "test", "shifted", "ood"]
    read: Callable[[], Listing]
    classes: tuple[str, ...] | None = None
    known: tuple[str, ...] = ()
    expected: Expected = Expected()
    at_least: int = 0


class IDSets(Settings):
    """Training and test pictures of the ID classes, before OOD sets are added."""

    name: str
    num_shots: Annotated[int, Field(ge=1)]
    class_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    augmentation: Augmentation = Augmentation()

    @property
    def is_validation(self) -> bool:
        """Whether the pictures it tests are for choosing settings; by default they are for the figures of a paper."""
        return False

    @abc.abstractmethod
    def load(self, seed: int) -> IDPictures:
        """The few-shot pictures of this seed and the test pictures.

        Raises:
            DataError: something is missing or damaged.
        """

    def held_out(self, seed: int) -> ImageSet | None:  # noqa: ARG002 -- for those that have some
        """ID pictures that the run of a seed neither trains on nor tests, for thresholds; None where there are none.

        They show all classes. By default there are none.

        Raises:
            DataError: something is missing or damaged.
        """
        return None

    def names(self) -> tuple[str, ...]:
        """Class names in label order; where it can be, without a look at the pictures."""
        return self.load(seed=1).class_names

    def sources(self) -> list[Source]:
        """Its sets as they lie on the disk, for `data verify` and `data prepare`; by default as a run loads them."""
        pictures = self.load(seed=1)
        sides: list[tuple[Literal["train", "test", "shifted"], str, ImageSet]] = [
            ("train", "train", pictures.train),
            ("test", "test", pictures.test),
            *(("shifted", name, images) for name, images in pictures.shifted.items()),
        ]
        names = pictures.class_names
        return [
            Source(name, side, functools.partial(in_memory, images, names), names, at_least=int(side != "shifted"))
            for side, name, images in sides
        ]

    def doubts(self) -> list[Problem]:
        """What can be seen to be wrong without reading pictures, beyond counts; nothing by default."""
        return []


class OODSets(Settings):
    """A group of named OOD test sets."""

    name: str

    @property
    def is_validation(self) -> bool:
        """Whether its pictures are for choosing settings; by default they are for the figures of a paper."""
        return False

    @abc.abstractmethod
    def load(self) -> dict[str, ImageSet]:
        """Pictures by set name, in the order of the table's columns; all labels are -1."""

    def sources(self) -> list[Source]:
        """Its sets as they lie on the disk, for `data verify` and `data prepare`; by default as a run loads them."""
        return [Source(name, "ood", functools.partial(in_memory, images, ())) for name, images in self.load().items()]

    def doubts(self) -> list[Problem]:
        """What can be seen to be wrong without reading pictures, beyond counts; nothing by default."""
        return []

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Sets whose mean is reported under a name of its own (near, far); none by default."""
        return {}


class Declared(Settings):
    """Pictures of one's own: who has them says what they are for.

    `validation`: true where the tested pictures are for choosing settings, and others are kept for the test.
    """

    validation: Annotated[bool, Field(exclude=True)] = False

    @property
    def is_validation(self) -> bool:
        """As it was declared."""
        return self.validation


def refuse_test_pictures(id_sets: IDSets, ood_sets: OODSets) -> None:
    """Let settings be chosen on validation pictures only, on both sides.

    Raises:
        ConfigError: a side has test pictures; the message says which sets have others.
    """
    for group, sets in (("data", id_sets), ("ood", ood_sets)):
        if not sets.is_validation:
            declared = f"where they are validation pictures, {group}.validation=true says so. "
            fix = f"set {group}.part=val. " if hasattr(sets, "part") else declared if isinstance(sets, Declared) else ""
            msg = (
                f"{group}={sets.name} has test pictures, and settings are chosen on validation pictures: {fix}"
                f"Such sets are {VALIDATION_SETS}."
            )
            raise ConfigError(msg)


def num_train_classes(num_classes: int, class_fraction: float) -> int:
    """First classes that training sees in the open-vocabulary protocol: floor(k * fraction), at least one.

    Example:
        >>> num_train_classes(116, 0.1), num_train_classes(4, 0.1)
        (11, 1)
    """
    # The product is rounded before the floor: 0.1 * 30 must be 3 although 0.1 has no exact binary form.
    return max(1, int(round(num_classes * class_fraction, 9)))


def load_split(id_sets: IDSets, ood_sets: OODSets, seed: int) -> Split:
    """Load one benchmark: few-shot draw of this seed, ID test pictures and the OOD sets.

    Raises:
        DataError: something is missing or damaged, or there is no OOD set.
    """
    pictures = id_sets.load(seed)
    ood = ood_sets.load()
    groups = {name: sets for name, sets in ood_sets.groups().items() if all(one in ood for one in sets)}
    return Split(
        name=id_sets.name,
        class_names=pictures.class_names,
        num_train_classes=pictures.num_train_classes,
        train=pictures.train,
        test=pictures.test,
        ood=ood,
        sha256=_split_sha256(pictures, ood),
        shifted=pictures.shifted,
        groups=groups,
    )


def _split_sha256(pictures: IDPictures, ood: Mapping[str, ImageSet]) -> str:
    listing: dict[str, Any] = {
        "class_names": pictures.class_names,
        "train": _listing(pictures.train),
        "test": _listing(pictures.test),
        "ood": {name: _listing(images) for name, images in ood.items()},
    }
    if pictures.shifted:
        listing["shifted"] = {name: _listing(images) for name, images in pictures.shifted.items()}
    return hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()


def _listing(images: ImageSet) -> list[tuple[str, int, str]]:
    """Name, label and content of each picture."""
    content = [digest.tobytes().hex() for digest in digests(images.encoded)]
    return list(zip(images.keys, images.labels, content, strict=True))
