"""ImageNet-1k's class lists, validation labels and hard splits, as they ship with the package."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from negprompt.data.classes import Classes
from negprompt.errors import DataError

HardSplit = Literal[1, 2, 3, 4]
NUM_CLASSES, NUM_VALIDATION, NUM_TRAIN = 1000, 50_000, 1_281_167
PER_CLASS = 50
VALIDATION_NAME = "ILSVRC2012_val_{:08d}"

_COUNTS = {1: (116, 166), 2: (30, 55), 3: (151, 164), 4: (100, 900)}
"""ID and OOD classes of each hard split (Palechor et al. 2023, NegPrompt): the files must agree."""


def _folder() -> Path:
    return Path(str(resources.files("negprompt.data") / "resources" / "imagenet"))


def _lines(name: str, count: int) -> tuple[str, ...]:
    lines = tuple((_folder() / name).read_text(encoding="utf-8").splitlines())
    if len(lines) != count:
        msg = f"{name} of the package has {len(lines)} lines and should have {count}: install the package again."
        raise DataError(msg)
    return lines


@functools.cache
def imagenet_classes() -> Classes:
    """WordNet ids in label order, and OpenAI's cleaned names; two of the names stand for two classes each."""
    return Classes(_lines("wordnet_ids.txt", NUM_CLASSES), _lines("class_names.txt", NUM_CLASSES))


@functools.cache
def hard_split(number: HardSplit) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """WordNet ids of the ID and of the OOD classes of a hard split, in label order."""
    id_classes, ood_classes = _COUNTS[number]
    return _lines(f"split{number}_id.txt", id_classes), _lines(f"split{number}_ood.txt", ood_classes)


@functools.cache
def validation_labels() -> npt.NDArray[np.uint16]:
    """Label of each validation picture (50000,): row i is `ILSVRC2012_val_` i + 1."""
    with np.load(_folder() / "validation_labels.npz", allow_pickle=False) as stored:
        labels: npt.NDArray[np.uint16] = stored["labels"]
    return labels


def validation_class(file_name: str) -> str | None:
    """True WordNet id of a validation picture, None for a name that is none of ILSVRC's.

    Example:
        >>> validation_class("ILSVRC2012_val_00000001.JPEG")
        'n01751748'
    """
    stem = file_name.partition(".")[0]
    number = stem.rpartition("_")[2]
    if not (number.isdecimal() and stem == VALIDATION_NAME.format(int(number))):
        return None
    if not 1 <= int(number) <= NUM_VALIDATION:
        return None
    return imagenet_classes().keys[int(validation_labels()[int(number) - 1])]
