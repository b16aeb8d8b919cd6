"""What every data set and every group of OOD sets offers: settings that load pictures."""

from __future__ import annotations

import abc
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

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


class IDSets(Settings):
    """Training and test pictures of the ID classes, before OOD sets are added."""

    name: str
    num_shots: Annotated[int, Field(ge=1)]
    class_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    augmentation: Augmentation = Augmentation()

    @abc.abstractmethod
    def load(self, seed: int) -> tuple[tuple[str, ...], int, ImageSet, ImageSet]:
        """Class names, number of training classes, few-shot training pictures, test pictures."""


class OODSets(Settings):
    """A group of named OOD test sets."""

    name: str

    @abc.abstractmethod
    def load(self) -> dict[str, ImageSet]:
        """Pictures by set name, in the order of the table's columns; all labels are -1."""


def num_train_classes(num_classes: int, class_fraction: float) -> int:
    """First classes that training sees in the open-vocabulary protocol: floor(k * fraction), at least one.

    Example:
        >>> num_train_classes(116, 0.1), num_train_classes(4, 0.1)
        (11, 1)
    """
    # The product is rounded before the floor: 0.1 * 30 must be 3 although 0.1 has no exact binary form.
    return max(1, int(round(num_classes * class_fraction, 9)))


def load_split(id_sets: IDSets, ood_sets: OODSets, seed: int) -> Split:
    """Load one benchmark: few-shot draw of this seed, ID test pictures and the OOD sets."""
    class_names, train_classes, train, test = id_sets.load(seed)
    ood = ood_sets.load()
    return Split(
        name=id_sets.name,
        class_names=class_names,
        num_train_classes=train_classes,
        train=train,
        test=test,
        ood=ood,
        sha256=_split_sha256(class_names, train, test, ood),
    )


def _split_sha256(class_names: tuple[str, ...], train: ImageSet, test: ImageSet, ood: Mapping[str, ImageSet]) -> str:
    listing = {
        "class_names": class_names,
        "train": _listing(train),
        "test": _listing(test),
        "ood": {name: _listing(images) for name, images in ood.items()},
    }
    return hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()


def _listing(images: ImageSet) -> list[tuple[str, int, str]]:
    """Name, label and content of each picture."""
    content = [hashlib.sha256(encoded).hexdigest() for encoded in images.encoded]
    return list(zip(images.keys, images.labels, content, strict=True))
