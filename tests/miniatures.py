"""Miniatures of the public archives: their layouts and names, a few generated pictures, the same bytes every time."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.io
from PIL import Image

SEED = 0

# --- pictures ------------------------------------------------------------------------------------------------------


def _digest(*identity: object) -> bytes:
    """32 bytes that depend on nothing but the identity (numpy's generators may change with a release)."""
    return hashlib.sha256("\0".join(map(str, (SEED, *identity))).encode()).digest()


def _name(length: int, *identity: object) -> str:
    """Letters that look like the hash names of the archives."""
    return hashlib.sha256(_digest("name", *identity)).hexdigest()[:length]


def picture(*identity: object, kind: str = "JPEG", mode: str = "RGB", size: tuple[int, int] | None = None) -> bytes:
    """An encoded picture that is a function of its identity (set, class, ..., number).

    Pictures whose identities differ only in the last part look alike, so that the classes can be told apart.
    """
    own = _digest(*identity)
    # Nine colours: three fifths from the class, two fifths from the picture.
    colours = [(3 * a + 2 * b) // 5 for a, b in zip(_digest(*identity[:-1])[:27], own[:27], strict=True)]
    width_height = size or (40 + own[27] % 17, 36 + own[28] % 13)
    image = Image.frombytes("RGB", (3, 3), bytes(colours)).resize(width_height, Image.Resampling.BICUBIC)
    encoded = io.BytesIO()
    image.convert(mode).save(encoded, kind, **({"quality": 80} if kind == "JPEG" else {}))
    return encoded.getvalue()


def _write(path: Path, content: bytes | str) -> None:
    """Write a file below folders that need not be there; text with Unix line ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _lines(lines: Iterable[object]) -> str:
    return "".join(f"{line}\n" for line in lines)


# --- ImageNet ------------------------------------------------------------------------------------------------------

_DEVKIT_DOG = "n02084071"
_DEVKIT_ENTITY = "n00001740"


@cache
def _resource(name: str) -> tuple[str, ...]:
    """The lines of one of the lists that ship with the package."""
    folder = resources.files("negprompt.data") / "resources" / "imagenet"
    return tuple((folder / name).read_text("utf-8").splitlines())


@cache
def validation_labels() -> np.ndarray:
    """The true label of `ILSVRC2012_val_{index + 1:08d}.JPEG`."""
    path = resources.files("negprompt.data") / "resources" / "imagenet" / "validation_labels.npz"
    with resources.as_file(path) as file, np.load(file) as arrays:
        return arrays["labels"]


def _validation_numbers(label: int, first: int, last: int) -> list[int]:
    """Numbers of the class's validation pictures, counted from the lowest; there are 50."""
    return [int(index) + 1 for index in np.flatnonzero(validation_labels() == label)[first:last]]


def _validation_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def _train_names(wordnet_id: str, count: int) -> list[str]:
    """Names with gaps and without leading zeros, as in the archive: sorting by name is not sorting by number."""
    starts = np.frombuffer(_digest("train number", wordnet_id)[:2], ">u2")
    number, names = int(starts[0]) % 1200, []
    for step in range(count):
        number += 1 + _digest("train gap", wordnet_id, step)[0] * 37
        names.append(f"{wordnet_id}_{number}.JPEG")
    return names


def _write_train(folder: Path, wordnet_ids: Sequence[str], per_class: int) -> None:
    for wordnet_id in wordnet_ids:
        for name in _train_names(wordnet_id, per_class):
            _write(folder / wordnet_id / name, picture("imagenet", wordnet_id, name))


def _write_val(folder: Path, wordnet_ids: Sequence[str], per_class: int, *, in_class_folders: bool) -> None:
    labels = {wordnet_id: label for label, wordnet_id in enumerate(_resource("wordnet_ids.txt"))}
    for wordnet_id in wordnet_ids:
        for number in _validation_numbers(labels[wordnet_id], 0, per_class):
            name = _validation_name(number)
            path = folder / wordnet_id / name if in_class_folders else folder / name
            _write(path, picture("imagenet", wordnet_id, name))


def imagenet(
    root: Path,
    *,
    train_per_class: int = 2,
    val_per_class: int = 1,
    val: Literal["folders", "flat", "devkit", "kaggle"] = "folders",
    wordnet_ids: Sequence[str] | None = None,
) -> Path:
    """ILSVRC-2012; validation pictures are the lowest-numbered of each class, so that names and labels are the true ones.

    `val` says how the labels of validation pictures are given: by class folders, not at all, by the devkit's files or
    in the layout of the Kaggle competition. The label files cover all 50,000 pictures, as in the archives.
    """
    ids = _resource("wordnet_ids.txt") if wordnet_ids is None else wordnet_ids
    pictures = root / "ILSVRC" / "Data" / "CLS-LOC" if val == "kaggle" else root
    _write_train(pictures / "train", ids, train_per_class)
    _write_val(pictures / "val", ids, val_per_class, in_class_folders=val == "folders")
    if val == "devkit":
        _write_devkit(root / "ILSVRC2012_devkit_t12")
    elif val == "kaggle":
        _write_kaggle(root)
    return root


@cache
def devkit_order() -> tuple[str, ...]:
    """WordNet ids in the order of ILSVRC2012_ID = 1, 2, ...: made up here, but unsorted like the devkit's."""
    return tuple(sorted(_resource("wordnet_ids.txt"), key=lambda wordnet_id: _digest("devkit", wordnet_id)))


def _write_devkit(folder: Path) -> None:
    wordnet_ids = _resource("wordnet_ids.txt")
    numbers = {wordnet_id: number for number, wordnet_id in enumerate(devkit_order(), 1)}
    truth = _lines(numbers[wordnet_ids[label]] for label in validation_labels())
    _write(folder / "data" / "ILSVRC2012_validation_ground_truth.txt", truth)
    _write(folder / "data" / "meta.mat", _meta_mat())
    _write(folder / "readme.txt", "Development kit of the challenge, in miniature\n")


def _meta_mat() -> bytes:
    """The synsets with the devkit's fields; inner nodes of the hierarchy follow the 1,000 classes, as there."""
    names = dict(zip(_resource("wordnet_ids.txt"), _resource("class_names.txt"), strict=True))
    dogs = set(_resource("split1_id.txt"))
    leaves = list(enumerate(devkit_order(), 1))
    dog_numbers = [number for number, wordnet_id in leaves if wordnet_id in dogs]
    other_numbers = [number for number, wordnet_id in leaves if wordnet_id not in dogs]
    # number, WordNet id, words, gloss, children, height, training images
    nodes: list[tuple[int, str, str, str, list[int], int, int]] = [
        (number, wordnet_id, names[wordnet_id], f"a kind of {names[wordnet_id]}", [], 0, 1300)
        for number, wordnet_id in leaves
    ]
    nodes.append((1001, _DEVKIT_DOG, "dog, domestic dog, Canis familiaris", "a pet", dog_numbers, 1, 0))
    nodes.append((1002, _DEVKIT_ENTITY, "entity", "that which is", [1001, *other_numbers], 2, 0))

    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height")
    synsets = np.empty((len(nodes), 1), [(field, object) for field in (*fields, "num_train_images")])
    for row, (number, wordnet_id, words, gloss, children, height, train_images) in enumerate(nodes):
        numbers = np.array(children, np.uint16).reshape(1, -1)
        synsets[row, 0] = tuple(
            # MATLAB saves whole numbers in the smallest type that holds them.
            np.array([[value]], np.min_scalar_type(value)) if isinstance(value, int) else value
            for value in (number, wordnet_id, words, gloss, len(children), numbers, height, train_images)
        )
    file = io.BytesIO()
    scipy.io.savemat(file, {"synsets": synsets}, do_compression=True)
    # The header says when the file was written.
    header = b"MATLAB 5.0 MAT-file, Platform: GLNXA64, Created on: Thu Jun 14 12:00:00 2012"
    return header.ljust(116) + file.getvalue()[116:]


def _write_kaggle(root: Path) -> None:
    wordnet_ids, names = _resource("wordnet_ids.txt"), _resource("class_names.txt")
    mapping = (f"{wordnet_id} {name}" for wordnet_id, name in zip(wordnet_ids, names, strict=True))
    _write(root / "LOC_synset_mapping.txt", _lines(mapping))
    labels = validation_labels()
    rows = ["ImageId,PredictionString"]
    # 7,919 is coprime to 50,000: every picture once, in no order that a reader could rely on.
    for number in (step * 7_919 % 50_000 + 1 for step in range(50_000)):
        # One box or three; every box, the last too, is followed by a space.
        box = f"{wordnet_ids[labels[number - 1]]} {number % 90} {number % 70} {100 + number % 300} {80 + number % 290} "
        rows.append(f"ILSVRC2012_val_{number:08d},{box * (3 if number % 5 == 0 else 1)}")
    _write(root / "LOC_val_solution.csv", _lines(rows))
    for number in (1, 2):  # the competition's test pictures have no public label
        name = f"ILSVRC2012_test_{number:08d}.JPEG"
        _write(root / "ILSVRC" / "Data" / "CLS-LOC" / "test" / name, picture("imagenet test", number))


# --- the four conventional sets ------------------------------------------------------------------------------------

_TEXTURES = """
banded blotchy braided bubbly bumpy chequered cobwebbed cracked crosshatched crystalline dotted fibrous flecked
freckled frilly gauzy grid grooved honeycombed interlaced knitted lacelike lined marbled matted meshed paisley
perforated pitted pleated polka-dotted porous potholed scaly smeared spiralled sprinkled stained stratified striped
studded swirly veined waffled woven wrinkled zigzagged
"""
TEXTURES = tuple(_TEXTURES.split())


def conventional(root: Path, *, per_set: int = 6, per_texture: int = 1) -> Path:
    """The OOD sets of Huang & Li (2021): three flat folders of `per_set` pictures each, and the whole DTD."""
    scenes = ("badlands", "glacier", "lagoon", "cliff")
    for number in range(per_set):
        scene = scenes[number % len(scenes)]
        for folder, name in (
            ("iNaturalist", _name(32, "iNaturalist", number)),
            ("SUN", f"sun_a{_name(15, 'SUN', number).translate(_DIGITS_TO_LETTERS)}"),
            ("Places", f"{scene[0]}_{scene}_{100 + number * 37:08d}"),
        ):
            _write(root / folder / "images" / f"{name}.jpg", picture(folder, number))
    _write_textures(root / "dtd", per_texture)
    return root


_DIGITS_TO_LETTERS = str.maketrans("0123456789", "ghijklmnop")


def _write_textures(folder: Path, per_class: int) -> None:
    """DTD with its lists: ten partitions, each into train, val and test."""
    images = [f"{texture}/{texture}_{number:04d}.jpg" for texture in TEXTURES for number in range(1, per_class + 1)]
    for image in images:
        _write(folder / "images" / image, picture("dtd", *image.split("/")))
    for partition in range(1, 11):
        for part, split in enumerate(("train", "val", "test")):
            listed = (image for index, image in enumerate(images) if (index + partition) % 3 == part)
            _write(folder / "labels" / f"{split}{partition}.txt", _lines(listed))
    joint = (f"{image} {image.partition('/')[0]}" for image in images)
    _write(folder / "labels" / "labels_joint_anno.txt", _lines(joint))
    _write(folder / "imdb" / "imdb.mat", "")
