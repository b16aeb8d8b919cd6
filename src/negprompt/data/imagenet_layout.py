"""Where ImageNet-1k lies in the folders that people have, and what its flat validation pictures are labelled by."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from negprompt.data.imagenet_lists import NUM_VALIDATION, VALIDATION_NAME, imagenet_classes, validation_class
from negprompt.data.listing import Listing, of_rows
from negprompt.data.tree import Tree
from negprompt.errors import DataError

log = logging.getLogger(__name__)

TRUTH = "ILSVRC2012_validation_ground_truth.txt"
NAMES = ("imagenet_1k", "imagenet", "imagenet1k", "ImageNet", "ILSVRC2012", "ilsvrc2012", "ILSVRC")
_BELOW = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC", "images_largescale/imagenet_1k")
_TRAIN = ("train", "ILSVRC2012_img_train")
_VAL = ("val", "validation", "ILSVRC2012_img_val")
_SOLUTION = "LOC_val_solution.csv"
_META = "meta.mat"


class Layout(NamedTuple):
    """Folders of one ImageNet: training and validation pictures, and the folder that everything was found below."""

    root: Path
    train: Path
    val: Path


def find_layout(root: str | None, data_root: str) -> Layout:
    """Find ImageNet's folders.

    Args:
        root: folder that a user names, None to look for the usual names in `data_root`.
        data_root: folder of all data sets.

    Raises:
        DataError: neither training nor validation folder is there; names all places that were looked at.
    """
    tops = [Path(root)] if root is not None else [Path(data_root) / name for name in NAMES]
    for top in tops:
        for below in _BELOW:
            folder = top / below
            train, val = _first(folder, _TRAIN), _first(folder, _VAL)
            if train is not None and val is not None:
                return Layout(top, train, val)
    half = [top / below for top in tops for below in _BELOW if _first(top / below, _TRAIN + _VAL) is not None]
    found = f"{half[0]} has only one of train and val. " if half else ""
    where = f"in {root}" if root is not None else f"in {data_root} (looked for {', '.join(NAMES)})"
    msg = (
        f"No ImageNet {where}. {found}It needs a folder train/ with one folder a WordNet id and a folder val/: set "
        "data.root to the folder that holds both, paths.data_root (NEGPROMPT_DATA) to the folder that holds all data "
        "sets, or data.shards to prepared shards. docs/data.md says where to get the archives."
    )
    raise DataError(msg)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def val_listing(tree: Tree, layout: Layout) -> Listing:
    """Validation pictures, sorted by file name, which is their key in every layout.

    In class folders the folder is the class. Flat ones are labelled by the devkit's file where it lies beside them,
    else by Kaggle's csv, else by the list in the package.

    Raises:
        DataError: a label file is damaged, or two pictures have the same file name.
    """
    label_of: Callable[[str], str | None] | None = None
    rows: list[tuple[str, str, str | None]] = []
    for path in tree.paths:
        folder, _, name = path.rpartition("/")
        if not folder and label_of is None:
            label_of = _flat_labels(layout)
        class_key = folder.partition("/")[0] if folder or label_of is None else label_of(name)
        rows.append((name, path, class_key))
    return of_rows(tree.root, sorted(rows))


def _flat_labels(layout: Layout) -> Callable[[str], str | None]:
    """The label of a flat validation picture by its file name."""
    if (truth := beside(layout, TRUTH)) is not None and (labels := _devkit(truth)) is not None:
        return lambda name: labels.get(name.partition(".")[0])
    if (solution := beside(layout, _SOLUTION)) is not None:
        listed = _kaggle(solution)
        return lambda name: listed.get(name.partition(".")[0])
    return validation_class


def beside(layout: Layout, name: str) -> Path | None:
    """A label file near the pictures."""
    folders = [layout.val.parent, *layout.val.parent.parents, layout.root]
    inside = ("", "data", "devkit/data", "ILSVRC2012_devkit_t12/data")
    below = [folder for folder in folders if layout.root in (folder, *folder.parents)]
    return next((path for folder in below for part in inside if (path := folder / part / name).is_file()), None)


def _kaggle(path: Path) -> Mapping[str, str]:
    """Labels by file stem from `ImageId,PredictionString` rows: the first word of the string is the class."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    except (OSError, KeyError, IndexError, AttributeError, csv.Error, UnicodeDecodeError) as error:
        msg = (
            f"{path} is not Kaggle's list (header ImageId,PredictionString; {error}): download it again, or remove it."
        )
        raise DataError(msg) from error


def _devkit(path: Path) -> Mapping[str, str] | None:
    """Labels by file stem from the devkit: one ILSVRC2012_ID a line, in the order of the pictures' numbers.

    The devkit numbers the classes in its own order, which `meta.mat` beside it translates. Without that file (or
    without SciPy to read it) the devkit is left aside, and the package's list is used.
    """
    try:
        numbers = [int(line) for line in path.read_text().split()]
    except (OSError, ValueError) as error:
        msg = f"{path} is damaged ({error}): it must hold one class number a line; unpack the devkit again."
        raise DataError(msg) from error
    if len(numbers) != NUM_VALIDATION:
        msg = (
            f"{path} has {len(numbers)} lines and should have {NUM_VALIDATION}: unpack the devkit again, or remove it."
        )
        raise DataError(msg)
    ids = _meta(path.with_name(_META))
    if ids is None:
        log.info("%s is not used: no meta.mat that can be read beside it; labels come from the package", path)
        return None
    unknown = set(numbers) - set(ids)
    if unknown:
        msg = f"{path} holds the class number {min(unknown)}, which {_META} does not: unpack the devkit again."
        raise DataError(msg)
    return {VALIDATION_NAME.format(row): ids[number] for row, number in enumerate(numbers, start=1)}


def _meta(path: Path) -> Mapping[int, str] | None:
    """WordNet id by ILSVRC2012_ID."""
    if not path.is_file():
        return None
    try:
        from scipy.io import loadmat  # here: wanted by this file alone, and no dependency of the package
    except ImportError:
        return None
    try:
        synsets = loadmat(path, squeeze_me=True)["synsets"]
        known = set(imagenet_classes().keys)
        pairs = {int(one["ILSVRC2012_ID"]): str(one["WNID"]) for one in synsets}
    except Exception as error:
        msg = f"{path} cannot be read ({error}): unpack the devkit again, or remove it."
        raise DataError(msg) from error
    return {number: wordnet_id for number, wordnet_id in pairs.items() if wordnet_id in known}
