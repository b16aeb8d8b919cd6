"""ID pictures of one's own: what they are for, and classes that are kept aside to choose settings with."""

from __future__ import annotations

import hashlib
from typing import Annotated

import numpy as np
from pydantic import Field

from negprompt.data.base import Declared, IDPictures, IDSets, OODSets, num_train_classes
from negprompt.data.classes import Classes
from negprompt.data.listed import ListedID
from negprompt.data.stored import TRAIN
from negprompt.errors import ConfigError, DataError
from negprompt.settings import LATER
from negprompt.types import OOD_LABEL, ImageSet

HELD_OUT_CLASSES = "held_out_classes"
_FEWEST = 2


class OwnID(Declared, ListedID):
    """Training and test pictures that a user brings.

    `holdout_classes`: share of the classes that is kept aside, drawn by `holdout_seed`: a run then knows the others
    only, tests them on training pictures that no shot was drawn from, and `ood=holdout_classes` has the pictures of
    those kept aside. Settings can be chosen so where there are no OOD pictures; test pictures are not looked at.
    """

    holdout_classes: Annotated[float, Field(ge=0, lt=1, json_schema_extra=LATER)] = 0.0
    holdout_seed: Annotated[int, Field(ge=0, json_schema_extra=LATER)] = 0

    @property
    def is_validation(self) -> bool:
        """As it was declared, or since classes are kept aside."""
        return self.validation or self.holdout_classes > 0

    def classes(self) -> Classes:
        """Classes of this benchmark in label order, without those kept aside."""
        every = super().classes()
        if not self.holdout_classes:
            return every
        aside = set(self._aside(every))
        return every.keep([key for key in every.keys if key not in aside], "data.keep_classes")

    def load(self, seed: int) -> IDPictures:
        """The few-shot pictures of a seed, and the test pictures or those that stand for them."""
        if not self.holdout_classes:
            return super().load(seed)
        test = self.left_over(seed)
        if test is None:
            msg = (
                f"data.holdout_classes={self.holdout_classes} tests training pictures that no shot was drawn from, and "
                f"data.num_shots={self.num_shots} leaves none: lower data.num_shots."
            )
            raise DataError(msg)
        classes = self.classes()
        trained = num_train_classes(len(classes.keys), self.class_fraction)
        train = self._images(self.draw(seed), TRAIN, classes, classes.keys[:trained])
        return IDPictures(classes.names, trained, train, test)

    def held_out(self, seed: int) -> ImageSet | None:
        """None where they are what is tested."""
        return None if self.holdout_classes else super().held_out(seed)

    def pictures_aside(self) -> ImageSet:
        """Training pictures of the classes that are kept aside, as OOD.

        Raises:
            ConfigError: no class is.
        """
        every = super().classes()
        if not self.holdout_classes:
            msg = "ood=holdout_classes has pictures of classes that are kept aside: set data.holdout_classes=0.2."
            raise ConfigError(msg)
        keys = self._aside(every)
        aside = every.keep(keys, "data.holdout_classes")
        images = self._images(self._of(self.listing(TRAIN), aside), TRAIN, aside, aside.keys)
        return images._replace(name=f"{self.name}/{HELD_OUT_CLASSES}", labels=[OOD_LABEL] * len(images.keys))

    def _aside(self, every: Classes) -> list[str]:
        """Keys of the classes kept aside: at least one, a function of the seed and of the keys."""
        keys = sorted(every.keys)
        count = max(1, round(len(keys) * self.holdout_classes))
        if len(keys) - count < _FEWEST:
            msg = (
                f"data.holdout_classes={self.holdout_classes} keeps {count} of {len(keys)} classes aside, and at least "
                f"{_FEWEST} must be left: lower it."
            )
            raise ConfigError(msg)
        digest = hashlib.sha256(f"holdout/{self.holdout_seed}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        return [keys[place] for place in sorted(rng.choice(len(keys), count, replace=False).tolist())]


class HeldOutClasses(OODSets):
    """Pictures of the classes that `data.holdout_classes` keeps aside, as the one OOD set; for choosing settings."""

    data: Annotated[IDSets, Field(exclude=True)]

    @property
    def is_validation(self) -> bool:
        """They are training pictures."""
        return True

    def check(self) -> None:
        """Refuse data sets that keep no class aside, and what they refuse themselves."""
        self._own().check()

    def load(self) -> dict[str, ImageSet]:
        """All training pictures of these classes."""
        return {HELD_OUT_CLASSES: self._own().pictures_aside()}

    def _own(self) -> OwnID:
        if not isinstance(self.data, OwnID) or not self.data.holdout_classes:
            msg = (
                f"ood=holdout_classes needs pictures of your own (data=folder, csv, imglist, webdataset) and "
                f"data.holdout_classes=0.2; here data={self.data.name}."
            )
            raise ConfigError(msg)
        return self.data
