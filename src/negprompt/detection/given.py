"""Images that a user has at hand as a benchmark: what training needs of one, without a file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import PrivateAttr
from torch import Tensor

from negprompt.data.base import Augmentation, IDPictures, IDSets, OODSets
from negprompt.data.decoding import as_rgb, decode
from negprompt.detection.pixels import Picture
from negprompt.errors import DataError
from negprompt.types import ImageSet

NAME = "images"


class GivenID(IDSets):
    """Few-shot images in memory; those that were kept aside are tested, or, where there are none, the same again.

    Their content is part of the run's hash like that of any split.
    """

    _class_names: tuple[str, ...] = PrivateAttr()
    _train: ImageSet = PrivateAttr()
    _held_out: ImageSet | None = PrivateAttr()

    @classmethod
    def of(
        cls, class_names: Sequence[str], train: ImageSet, held_out: ImageSet | None, augmentation: Augmentation
    ) -> GivenID:
        """A benchmark of these images."""
        fewest = max(1, min(np.bincount(train.labels, minlength=len(class_names)).tolist()))
        one = cls(name=NAME, num_shots=fewest, augmentation=augmentation)
        one._class_names, one._train, one._held_out = tuple(class_names), train, held_out
        return one

    def load(self, seed: int) -> IDPictures:
        """What was given, whatever the seed."""
        del seed
        test = self._train if self._held_out is None else self._held_out
        return IDPictures(self._class_names, len(self._class_names), self._train, test)

    def held_out(self, seed: int) -> ImageSet | None:
        """What was kept aside."""
        del seed
        return self._held_out


class NoOOD(OODSets):
    """No OOD set: a detector is trained on ID images alone."""

    name: str = "none"

    def load(self) -> dict[str, ImageSet]:
        """Nothing."""
        return {}


def image_set(images: Iterable[Picture], labels: Sequence[int], num_classes: int) -> ImageSet:
    """Images with their labels, encoded as files are; pixels without loss, floats rounded to 8 bits.

    Args:
        images: any of `Picture`.
        labels: (N,) whole numbers from 0.
        num_classes: K.

    Raises:
        DataError: labels do not fit the images or the classes, a class has no image, or one cannot be read.
    """
    encoded = [encoded_of(image, place) for place, image in enumerate(images)]
    wrong = [
        label for label in labels if isinstance(label, bool) or int(label) != label or not 0 <= label < num_classes
    ]
    if len(encoded) != len(labels) or wrong:
        what = f"{wrong[0]!r} among them" if wrong else f"{len(labels)} of them for {len(encoded)} images"
        msg = f"labels: {what}; give one whole number from 0 to {num_classes - 1} for each image."
        raise DataError(msg)
    whole = [int(label) for label in labels]
    if lacking := sorted(set(range(num_classes)) - set(whole)):
        msg = f"No image has the label {lacking[0]}: every class needs at least one, or leave it out of class_names."
        raise DataError(msg)
    return ImageSet(NAME, [f"{place:06d}" for place in range(len(encoded))], encoded, whole)


def encoded_of(image: Picture, place: int) -> bytes:
    """File content of an image; of a path the file's own.

    Raises:
        DataError: it cannot be read, or is none; names it.
    """
    if isinstance(image, str | Path):
        try:
            content = Path(image).read_bytes()
        except OSError as error:
            msg = f"Picture {str(image)!r} cannot be read ({error.strerror})."
            raise DataError(msg) from error
        decode(content, str(image), "the given images")
        return content
    if isinstance(image, Tensor):
        image = image.detach().cpu().movedim(0, -1).numpy()
    if isinstance(image, np.ndarray):
        values = image
        if np.issubdtype(values.dtype, np.floating):
            if not (values.size and values.min() >= 0 and values.max() <= 1):
                msg = f"Picture {place} of the given images: floats are in [0, 1] (divide 0..255 by 255)."
                raise DataError(msg)
            values = np.rint(255 * values).astype(np.uint8)
        try:
            image = Image.fromarray(np.ascontiguousarray(values))
        except (TypeError, ValueError) as error:
            msg = f"Picture {place} of the given images has shape {values.shape}: give (H, W, 3) or (3, H, W) tensors."
            raise DataError(msg) from error
    buffer = io.BytesIO()
    as_rgb(image, f"{place}", "the given images").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def take(images: ImageSet, rows: Sequence[int], name: str = NAME) -> ImageSet:
    """Some of the images, in that order."""
    keys, encoded, labels = images.keys, images.encoded, images.labels
    return ImageSet(name, [keys[row] for row in rows], [encoded[row] for row in rows], [labels[row] for row in rows])


def kept_aside(labels: Sequence[int], share: float, seed: int) -> list[int]:
    """Rows to hold out: a share of each class, rounded, never its last image; a function of seed and places."""
    rng = np.random.default_rng([seed, 1])
    rows: list[int] = []
    for label in sorted(set(labels)):
        own = [row for row, one in enumerate(labels) if one == label]
        count = min(len(own) - 1, round(len(own) * share))
        rows += sorted(own[place] for place in rng.permutation(len(own))[:count].tolist())
    return rows


def folds_of(labels: Sequence[int], folds: int, seed: int) -> list[int]:
    """Fold (N,) of each image: classes are dealt out one after the other, so that folds and classes mix evenly."""
    rng = np.random.default_rng([seed, 2])
    fold = [0] * len(labels)
    dealt = 0
    for label in sorted(set(labels)):
        own = [row for row, one in enumerate(labels) if one == label]
        for place in rng.permutation(len(own)).tolist():
            fold[own[place]] = dealt % folds
            dealt += 1
    return fold


def pixels_in(images: ImageSet) -> list[Image.Image]:
    """The images decoded, for a detector."""
    return [decode(one, key, images.name) for one, key in zip(images.encoded, images.keys, strict=True)]
