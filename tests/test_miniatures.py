"""The miniatures against what the archives' own readers expect, and against themselves."""

from __future__ import annotations

import csv
import hashlib
import tarfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from miniatures import (
    CORRUPTIONS,
    IMAGENET_R,
    TEXTURES,
    TEXTURES_IN_IMAGENET,
    TINY_IMAGENET,
    conventional,
    csv_file,
    devkit_order,
    empty,
    folder,
    imagenet,
    imglist_files,
    not_a_picture,
    ood_folder,
    openood,
    picture,
    resource,
    tiny_imagenet,
    truncate,
    validation_labels,
)
from PIL import Image, ImageFile, UnidentifiedImageError
from torchvision.datasets import DTD, ImageFolder
from torchvision.datasets import imagenet as torchvision_imagenet
from torchvision.datasets.folder import IMG_EXTENSIONS

WORDNET_IDS = list(resource("wordnet_ids.txt"))
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


TREES: dict[str, Callable[[Path], Path]] = {
    **{
        f"imagenet-{val}": partial(imagenet, val=val, wordnet_ids=SOME)
        for val in ("folders", "flat", "devkit", "kaggle")
    },
    **{tree.__name__: tree for tree in (conventional, tiny_imagenet, openood)},
    **{tree.__name__: tree for tree in (folder, ood_folder, csv_file, imglist_files)},
}


@pytest.mark.parametrize("tree", TREES)
def test_a_tree_has_the_same_bytes_every_time(tmp_path, tree):
    write = TREES[tree]
    one, two = tmp_path / "deep" / "one", tmp_path / "two"
    assert write(one) == one
    assert digest(one) == digest(write(two))
    contents = [path.read_bytes() for path in files(one) if path.suffix.lower() in IMG_EXTENSIONS]
    assert len(set(contents)) == len(contents) > 0


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


# --- TinyImageNet --------------------------------------------------------------------------------------------------


def test_tiny_imagenet(tmp_path):
    tiny_imagenet(tmp_path, val_per_class=2)
    root = tmp_path / "tiny-imagenet-200"
    wordnet_ids = (root / "wnids.txt").read_text().splitlines()
    assert len(set(wordnet_ids)) == 200
    assert wordnet_ids != sorted(wordnet_ids)
    assert set(wordnet_ids) <= set(WORDNET_IDS)
    train = ImageFolder(str(root / "train"))
    assert train.classes == sorted(wordnet_ids)
    assert Counter(train.targets) == dict.fromkeys(range(200), 2)
    assert train[0][0].size == (64, 64)
    assert len((root / "train" / "n02124075" / "n02124075_boxes.txt").read_text().splitlines()) == 2
    assert len(list((root / "test" / "images").iterdir())) == 6

    rows = [line.split("\t") for line in (root / "val" / "val_annotations.txt").read_text().splitlines()]
    assert {len(row) for row in rows} == {6}
    assert Counter(row[1] for row in rows) == dict.fromkeys(wordnet_ids, 2)
    assert {row[0] for row in rows} == {path.name for path in (root / "val" / "images").iterdir()}
    words = dict(line.split("\t") for line in (root / "words.txt").read_text().splitlines())
    assert len(words) > 1000
    assert words["n02124075"] == "Egyptian Mau"


def test_tiny_imagenet_begins_and_ends_as_the_archive():
    assert TINY_IMAGENET[:2] == ("n02124075", "n04067472")
    assert TINY_IMAGENET[-1] == "n02504458"
    assert sorted(TINY_IMAGENET)[-1] == "n12267677"


# --- OpenOOD v1.5 --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def openood_root(tmp_path_factory) -> Path:
    return openood(tmp_path_factory.mktemp("openood"))


def read_list(root: Path, name: str) -> dict[str, int]:
    """The rows of one list, checked for the format."""
    content = (root / "benchmark_imglist" / "imagenet" / f"{name}.txt").read_bytes()
    assert b"\r" not in content
    assert content.endswith(b"\n")
    rows = [line.split(" ") for line in content.decode().splitlines()]
    assert {len(row) for row in rows} == {2}
    assert not any(path.startswith("/") for path, _ in rows)
    listed = {path: int(label) for path, label in rows}
    assert len(listed) == len(rows)
    return listed


def test_openood_lists_and_pictures_belong_together(openood_root):
    lists = {path.stem: read_list(openood_root, path.stem) for path in files(openood_root / "benchmark_imglist")}
    assert {name: len(rows) for name, rows in lists.items()} == {
        "train_imagenet": 1000,
        "val_imagenet": 1000,
        "test_imagenet": 1000,
        "val_openimage_o": 6,
        "test_openimage_o": 12,
        "test_ssb_hard": 12,
        "test_ninco": 16,
        "test_inaturalist": 10,
        "test_textures": 43,
        "test_imagenet_v2": 10,
        "test_imagenet_c": 15,
        "test_imagenet_r": 20,
    }
    folders = [openood_root / "images_largescale", openood_root / "images_classic"]
    present = {path.relative_to(top).as_posix() for top in folders for path in files(top)}
    listed = {path for rows in lists.values() for path in rows}
    assert {path.split("/")[1] for path in present - listed} == set(TEXTURES_IN_IMAGENET)
    assert not listed - present
    assert all((folders[path.startswith("texture/")] / path).is_file() for path in listed)


def test_openood_labels(openood_root):
    for name in ("openimage_o", "ssb_hard", "ninco", "inaturalist", "textures"):
        assert set(read_list(openood_root, f"test_{name}").values()) == {-1}
    assert set(read_list(openood_root, "val_openimage_o").values()) == {-1}
    for path, label in read_list(openood_root, "train_imagenet").items():
        assert path.split("/")[2] == WORDNET_IDS[label]
    for split in ("val", "test"):
        rows = read_list(openood_root, f"{split}_imagenet")
        assert sorted(rows.values()) == list(range(1000))
        assert all(true_label(path) == label for path, label in rows.items())
    rows = read_list(openood_root, "test_imagenet_c")
    assert all(true_label(path) == label for path, label in rows.items())
    assert {path.split("/")[1] for path in rows} == set(CORRUPTIONS)
    for path, label in read_list(openood_root, "test_imagenet_v2").items():
        assert path.split("/")[1] == str(label)
    for path, label in read_list(openood_root, "test_imagenet_r").items():
        assert path.split("/")[1] == WORDNET_IDS[label]
    assert len(set(IMAGENET_R)) == 200
    assert not {path.split("/")[1] for path in read_list(openood_root, "test_ssb_hard")} & set(WORDNET_IDS)


def test_openood_shares_pictures_with_the_conventional_sets(openood_root, tmp_path):
    conventional(tmp_path)
    for ours, theirs in (("iNaturalist", "images_largescale/inaturalist"), ("dtd/images", "images_classic/texture")):
        contents = {path.read_bytes() for path in files(openood_root / theirs)}
        assert {path.read_bytes() for path in files(tmp_path / ours)} <= contents


def test_openood_in_a_larger_scale(tmp_path):
    openood(tmp_path, scale=2)
    assert len(read_list(tmp_path, "test_imagenet")) == 2000
    assert len(read_list(tmp_path, "test_textures")) == 86
    assert len(read_list(tmp_path, "test_imagenet_r")) == 40
    assert not read_list(tmp_path, "val_imagenet").keys() & read_list(tmp_path, "test_imagenet").keys()


# --- a user's own pictures -----------------------------------------------------------------------------------------


def test_own_folders_hold_modes_and_suffixes_of_all_kinds(tmp_path):
    train = ImageFolder(str(folder(tmp_path) / "train"))
    assert train.classes == ["cat", "dog_breed", "t-rex"]
    assert len(train) == 12
    assert len(ImageFolder(str(tmp_path / "test"))) == 6
    modes = set()
    for path, _ in train.samples:
        with Image.open(path) as image:
            modes.add(image.mode)
    assert modes == {"RGB", "L", "P", "RGBA"}
    assert len(ImageFolder(str(ood_folder(tmp_path / "ood")))) == 8
    assert {path.suffix for path in files(tmp_path / "ood")} == {".jpg", ".png", ".jpeg", ".webp"}


def test_csv_files(tmp_path):
    csv_file(tmp_path)
    listed = []
    for name, count in (("dataset.csv", 18), ("ood.csv", 4)):
        with (tmp_path / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == count
        assert all((tmp_path / row["path"]).is_file() for row in rows)
        listed += [row["path"] for row in rows]
    assert len(set(listed)) == 22 == len(files(tmp_path / "pictures"))


def test_imglist_files(tmp_path):
    imglist_files(tmp_path)
    counts = {}
    for path in files(tmp_path / "lists"):
        if path.stem != "class_names":
            rows = [line.split(" ") for line in path.read_text().splitlines()]
            assert all((tmp_path / "pictures" / picture_path).is_file() for picture_path, _ in rows)
            counts[path.stem] = Counter(int(label) for _, label in rows)
    assert counts == {
        "train": {0: 4, 1: 4, 2: 4},
        "test": {0: 2, 1: 2, 2: 2},
        "nature": {-1: 2},
        "textures": {-1: 2},
    }


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_picture_opens_and_does_not_load(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    path = tmp_path / f"cat.{suffix}"
    path.write_bytes(picture("cat", 1, kind=suffix.upper().replace("JPG", "JPEG")))
    with Image.open(truncate(path)) as image:
        assert image.width >= 40
        with pytest.raises(OSError, match="truncated"):
            image.load()


@pytest.mark.parametrize("damage", [empty, not_a_picture])
def test_damaged_files_are_no_pictures(tmp_path, damage):
    path = tmp_path / "cat.jpg"
    path.write_bytes(picture("cat", 1))
    with pytest.raises(UnidentifiedImageError):
        Image.open(damage(path))
