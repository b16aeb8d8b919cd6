"""The miniatures against what the archives' own readers expect, and against themselves."""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from miniatures import (
    TEXTURES,
    conventional,
    devkit_order,
    imagenet,
    picture,
    validation_labels,
)
from PIL import Image
from torchvision.datasets import DTD, ImageFolder
from torchvision.datasets import imagenet as torchvision_imagenet

FOLDER = Path(str(resources.files("negprompt.data"))) / "resources" / "imagenet"
WORDNET_IDS = (FOLDER / "wordnet_ids.txt").read_text().split()
SOME = (WORDNET_IDS[0], WORDNET_IDS[207], WORDNET_IDS[999])


def digest(root: Path) -> str:
    """One hash of all relative paths and bytes below a folder."""
    sha = hashlib.sha256()
    for path in files(root):
        sha.update(f"{path.relative_to(root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()


def files(root: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in root.rglob(pattern) if path.is_file())


def true_label(name: str) -> int:
    return int(validation_labels()[int(name.removesuffix(".JPEG").rpartition("_")[2]) - 1])


# --- pictures ------------------------------------------------------------------------------------------------------


def test_a_picture_is_a_function_of_its_identity():
    assert picture("a", 1) == picture("a", 1)
    assert len({picture("set", f"class {c}", n) for c in range(20) for n in range(20)}) == 400


def test_pictures_of_a_class_are_nearer_to_each_other_than_to_another_class(tmp_path):
    def colours(*identity: object) -> np.ndarray:
        (tmp_path / "p.jpg").write_bytes(picture(*identity))
        with Image.open(tmp_path / "p.jpg") as image:
            return np.asarray(image.convert("RGB").resize((3, 3)), float)

    shown = np.stack([[colours("set", c, n) for n in range(6)] for c in range(6)])
    within = np.abs(shown[:, 1:] - shown[:, :-1]).mean()
    between = np.abs(shown[1:] - shown[:-1]).mean()
    assert between > 1.3 * within


@pytest.mark.parametrize(
    "write",
    [
        *(lambda root, val=val: imagenet(root, val=val, wordnet_ids=SOME) for val in ("folders", "flat")),
        *(lambda root, val=val: imagenet(root, val=val, wordnet_ids=SOME) for val in ("devkit", "kaggle")),
        conventional,
    ],
)
def test_a_tree_has_the_same_bytes_every_time(tmp_path, write: Callable[[Path], Path]):
    one, two = tmp_path / "deep" / "one", tmp_path / "two"
    assert write(one) == one
    assert digest(one) == digest(write(two))
    bytes_of_pictures = [p.read_bytes() for s in ("*.JPEG", "*.jpg", "*.jpeg", "*.png") for p in files(one, s)]
    assert len(set(bytes_of_pictures)) == len(bytes_of_pictures) > 0


# --- ImageNet ------------------------------------------------------------------------------------------------------


def test_all_thousand_classes_as_torchvision_reads_folders(tmp_path):
    imagenet(tmp_path)
    train, val = ImageFolder(str(tmp_path / "train")), ImageFolder(str(tmp_path / "val"))
    assert train.classes == val.classes == WORDNET_IDS
    assert Counter(train.targets) == dict.fromkeys(range(1000), 2)
    assert Counter(val.targets) == dict.fromkeys(range(1000), 1)
    assert all(true_label(Path(path).name) == label for path, label in val.samples)
    assert all(Path(path).name.startswith(f"{WORDNET_IDS[label]}_") for path, label in train.samples)
    image, _ = train[0]
    assert 40 <= image.width <= 56
    assert 36 <= image.height <= 48


def test_training_numbers_have_gaps(tmp_path):
    imagenet(tmp_path, wordnet_ids=SOME, train_per_class=9)
    for wordnet_id in SOME:
        numbers = [int(p.stem.partition("_")[2]) for p in files(tmp_path / "train" / wordnet_id)]
        assert len(numbers) == 9
        assert max(numbers) - min(numbers) > 9


def test_flat_validation_pictures_are_the_lowest_of_their_class(tmp_path):
    imagenet(tmp_path, val="flat", val_per_class=3, wordnet_ids=SOME)
    assert [p.name for p in tmp_path.iterdir() if p.name != "train"] == ["val"]
    names = [p.name for p in (tmp_path / "val").iterdir()]
    assert Counter(true_label(name) for name in names) == {0: 3, 207: 3, 999: 3}
    numbers = [int(name[15:23]) for name in names if true_label(name) == 207]
    assert sorted(numbers) == (np.flatnonzero(validation_labels() == 207)[:3] + 1).tolist()


def test_torchvision_reads_the_devkit(tmp_path, monkeypatch):
    imagenet(tmp_path / "data", val="devkit", wordnet_ids=SOME)
    archive = tmp_path / "ILSVRC2012_devkit_t12.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "data" / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(torchvision_imagenet.ARCHIVE_META, "devkit", (archive.name, md5))

    torchvision_imagenet.parse_devkit_archive(tmp_path)
    words, val_wordnet_ids = torch.load(tmp_path / torchvision_imagenet.META_FILE, weights_only=True)
    assert sorted(words) == WORDNET_IDS
    assert words["n01440764"] == ("tench",)
    assert val_wordnet_ids == [WORDNET_IDS[label] for label in validation_labels()]


def test_the_devkit_numbers_the_classes_its_own_way():
    assert sorted(devkit_order()) == WORDNET_IDS
    assert sum(a == b for a, b in zip(devkit_order(), WORDNET_IDS, strict=True)) < 10


def test_kaggle_solution_gives_the_true_labels_in_no_order(tmp_path):
    imagenet(tmp_path, val="kaggle", wordnet_ids=SOME)
    pictures = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    assert ImageFolder(str(pictures / "train")).classes == list(SOME)
    assert len(files(pictures / "val")) == 3
    header, *rows = (tmp_path / "LOC_val_solution.csv").read_text().splitlines()
    assert header == "ImageId,PredictionString"
    names = [row.partition(",")[0] for row in rows]
    assert len(set(names)) == 50_000
    assert names != sorted(names)
    for row in rows:
        name, _, boxes = row.partition(",")
        parts = boxes.split()
        assert len(parts) in (5, 15)
        assert set(parts[::5]) == {WORDNET_IDS[true_label(name)]}
    mapping = (tmp_path / "LOC_synset_mapping.txt").read_text().splitlines()
    assert mapping[:2] == ["n01440764 tench", "n01443537 goldfish"]
    assert [line.partition(" ")[0] for line in mapping] == WORDNET_IDS


# --- the four conventional sets ------------------------------------------------------------------------------------


def test_conventional_sets(tmp_path):
    conventional(tmp_path, per_set=8)
    for name in ("iNaturalist", "SUN", "Places"):
        assert len(list((tmp_path / name / "images").glob("*.jpg"))) == 8
    textures = ImageFolder(str(tmp_path / "dtd" / "images"))
    assert textures.classes == list(TEXTURES)
    assert len(textures) == len(TEXTURES) == 47


def test_torchvision_reads_the_textures(tmp_path):
    conventional(tmp_path / "dtd", per_texture=3)  # torchvision expects dtd/dtd
    parts = [DTD(str(tmp_path), split=split, partition=10) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [47] * 3
    assert parts[0][0][0].mode == "RGB"
