"""Folders of one's own, as people have them."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from miniatures import CLASSES, folder, ood_folder
from torchvision.datasets import ImageFolder

from negprompt.data.base import load_split
from negprompt.data.folder import FolderID, FolderOOD
from negprompt.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return folder(tmp_path_factory.mktemp("folder") / "data", train=10, test=2)


@pytest.fixture
def root(tmp_path, source) -> Path:
    return Path(shutil.copytree(source, tmp_path / "data"))


def settings(root: Path | None, /, **others) -> FolderID:
    root = None if root is None else str(root)
    return FolderID(**{"name": "folder", "num_shots": 2, "root": root, **others})


def load(root: Path, seed=1, **others):
    return settings(root, **others).load(seed)


def ood(root: Path, /, **others) -> FolderOOD:
    return FolderOOD(name="folder", root=str(root), **others)


def labels(images) -> dict[str, int]:
    return dict(zip(images.keys, images.labels, strict=True))


def by_torchvision(root: Path) -> dict[str, int]:
    return {Path(path).relative_to(root).as_posix(): label for path, label in ImageFolder(str(root)).samples}


# --- train and test ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_labels_are_those_of_torchvision(root, name):
    (root / "test").rename(root / name)
    pictures = load(root, num_shots=10)
    assert labels(pictures.train) == by_torchvision(root / "train")
    assert labels(pictures.test) == by_torchvision(root / name)
    assert pictures.class_names == ("cat", "dog breed", "t-rex")


def test_where_there_are_test_and_val_the_test_is_the_test(root):
    shutil.copytree(root / "train", root / "val")
    assert labels(load(root).test) == by_torchvision(root / "test")


def test_validation_pictures_are_those_of_val_and_never_of_the_test(root):
    with pytest.raises(DataError, match="needs train/ and val/"):
        settings(root, validation=True).check()
    shutil.copytree(root / "test", root / "val")
    next((root / "val" / "cat").iterdir()).unlink()
    assert len(load(root, validation=True).test.keys) == len(load(root).test.keys) - 1
    assert (settings(root, validation=True).is_validation, settings(root).is_validation) == (True, False)


def test_a_share_of_class_folders_is_for_the_test_alone(root):
    with pytest.raises(DataError, match="the share that is kept of class folders is for the test"):
        settings(root / "train", validation=True).check()


def test_pictures_are_read_from_their_files(root):
    test = load(root).test
    assert [test.encoded[row] for row in range(6)] == [(root / "test" / key).read_bytes() for key in test.keys]


@pytest.mark.parametrize(
    ("name", "content"),
    [("n.txt", "kitty\nmutt\nrex\n"), ("n.csv", "class,name\nt-rex,rex\ncat,kitty\ndog_breed,mutt\n")],
)
def test_classes_can_be_called_otherwise(root, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    before, after = load(root), load(root, class_names=str(tmp_path / name))
    assert after.class_names == ("kitty", "mutt", "rex")
    assert labels(after.train) == labels(before.train)


def test_kept_classes_get_new_labels_and_the_same_pictures(root):
    some, everything = load(root, keep_classes=["t-rex", "cat"]), load(root)
    assert some.class_names == ("cat", "t-rex")
    assert labels(some.test) == {key: label // 2 for key, label in labels(everything.test).items() if label != 1}
    assert list(some.train.keys) == [key for key in everything.train.keys if not key.startswith("dog")]


def test_training_folders_without_a_test_name_the_two_ways_out(root):
    shutil.rmtree(root / "test")
    with pytest.raises(DataError, match=r"has train/ and no test/ .*data\.root=.*train .*data\.test_fraction"):
        settings(root).check()
    assert load(root / "train").class_names == ("cat", "dog breed", "t-rex")


def test_an_empty_training_folder_is_named(root):
    (root / "train" / "axolotl").mkdir()
    with pytest.raises(DataError, match=r"axolotl \(0\)\. A class needs pictures: .*data\.keep_classes"):
        load(root)
    assert load(root, keep_classes=list(CLASSES)).class_names == ("cat", "dog breed", "t-rex")


def test_a_class_without_test_pictures_is_named(root):
    shutil.rmtree(root / "test" / "cat")
    with pytest.raises(DataError, match=r"folder/test has no picture of 1 of 3 classes: cat\. .*data\.keep_classes"):
        load(root)


def test_a_test_folder_of_no_training_class_is_said_and_left_out(root, caplog):
    (root / "test" / "cat").rename(root / "test" / "Cat")
    shutil.copytree(root / "test" / "t-rex", root / "test" / "cat")
    test = load(root).test
    assert not any(key.startswith("Cat") for key in test.keys)
    assert "not in the list of classes: Cat (did you mean 'cat'?" in caplog.text


def test_a_picture_beside_the_class_folders_is_said_and_left_out(root, caplog):
    shutil.copy(root / "test" / "cat" / "cat_0.jpg", root / "test" / "lost.jpg")
    assert "lost.jpg" not in load(root).test.keys
    assert re.search(r"no class: \S*lost\.jpg", caplog.text)


# --- class folders only --------------------------------------------------------------------------------------------


def parts(root: Path, **others) -> tuple[set[str], set[str]]:
    chosen = settings(root, **others)
    return set(chosen.list_train().keys), set(chosen.list_test().keys)


@pytest.mark.parametrize(
    ("fraction", "tests"), [(0.2, 2), (0.25, 2), (0.31, 3), (0.01, 1), (0.99, 9), (0.5, 5)]
)  # a half is rounded to the even number
def test_a_share_of_each_class_is_test_and_never_all_or_nothing(source, fraction, tests):
    train, test = parts(source / "train", test_fraction=fraction)
    assert not train & test
    assert train | test == by_torchvision(source / "train").keys()
    assert Counter(key.partition("/")[0] for key in test) == dict.fromkeys(CLASSES, tests)


def test_the_share_follows_its_own_seed_and_not_the_runs(source):
    tests = [set(load(source / "train", seed).test.keys) for seed in (1, 2, 3)]
    assert tests[0] == tests[1] == tests[2]
    assert len({tuple(load(source / "train", seed).train.keys) for seed in (1, 2, 3)}) == 3
    assert len({frozenset(parts(source / "train", split_seed=seed)[1]) for seed in range(6)}) == 6


def test_the_share_of_a_class_depends_on_no_other_class(root):
    before = parts(root / "train")[1]
    (root / "train" / "cat").rename(root / "train" / "zebra")
    after = parts(root / "train")[1]
    assert {key for key in before if "cat" not in key} == {key for key in after if "zebra" not in key}
    assert parts(root / "train", keep_classes=["t-rex"])[1] == {key for key in before if key.startswith("t-rex")}


def test_every_picture_is_test_under_some_seed(source):
    tested = {key for seed in range(60) for key in parts(source / "train", split_seed=seed)[1]}
    assert tested == by_torchvision(source / "train").keys()


def test_two_pictures_are_one_on_each_side(tmp_path):
    root = folder(tmp_path, train=2, test=1)
    train, test = parts(root / "train", test_fraction=0.9)
    assert Counter(key.partition("/")[0] for key in train) == dict.fromkeys(CLASSES, 1)
    assert Counter(key.partition("/")[0] for key in test) == dict.fromkeys(CLASSES, 1)


@pytest.mark.parametrize(("left", "message"), [(1, "one picture, which cannot be both"), (0, "no picture")])
def test_a_class_too_small_for_both_sides_is_named_and_can_be_left_out(root, left, message):
    for number in range(left, 10):
        (root / "train" / "cat" / f"cat_{number}.png").unlink()
    with pytest.raises(DataError, match=rf"Class cat has {message}.*data\.keep_classes"):
        load(root / "train")
    assert load(root / "train", keep_classes=["dog_breed", "t-rex"]).class_names == ("dog breed", "t-rex")


@pytest.mark.parametrize("fraction", [0, 1, -0.1])
def test_a_share_that_leaves_nothing_is_refused(fraction):
    with pytest.raises(ValueError, match="test_fraction"):
        settings(None, test_fraction=float(fraction))


def test_folders_in_class_folders_belong_to_the_class(root):
    (root / "train" / "cat" / "indoor").mkdir()
    (root / "train" / "cat" / "cat_3.png").rename(root / "train" / "cat" / "indoor" / "cat_3.png")
    train, test = parts(root / "train")
    assert "cat/indoor/cat_3.png" in train | test
    assert settings(root / "train").classes().keys == CLASSES


# --- no such folder ------------------------------------------------------------------------------------------------


def test_no_root_and_a_missing_root_name_the_setting(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.root=<folder"):
        settings(None).check()
    with pytest.raises(DataError, match=r"data\.root=.*nowhere: there is no such folder"):
        settings(tmp_path / "nowhere").check()


def test_pictures_without_folders_are_sent_to_the_ood_side(tmp_path):
    root = ood_folder(tmp_path) / "nature"
    with pytest.raises(DataError, match=r"has no folders: .*ood=folder ood\.root"):
        settings(root).check()


# --- OOD sets ------------------------------------------------------------------------------------------------------


def test_each_folder_is_a_set(tmp_path):
    root = ood_folder(tmp_path)
    sets = ood(root).load()
    assert list(sets) == ["nature", "textures"]
    for name, images in sets.items():
        assert sorted(images.keys) == sorted(path.name for path in (root / name).iterdir())
        assert images.labels == [-1] * 4


def test_a_folder_with_pictures_is_one_set_called_as_the_folder(tmp_path, monkeypatch):
    root = ood_folder(tmp_path) / "nature"
    (tmp_path / "nature" / "deep").mkdir()
    shutil.copy(root / "000.jpg", root / "deep" / "004.jpg")
    monkeypatch.chdir(root)
    for place in (root, Path()):
        (pair,) = ood(place).load().items()
        assert pair[0] == "nature"
        assert len(pair[1].keys) == 5


def test_sets_are_chosen_in_the_order_asked_for(tmp_path):
    root = ood_folder(tmp_path)
    assert list(ood(root, sets=["textures", "nature"]).load()) == ["textures", "nature"]
    with pytest.raises(ConfigError, match=r"ood\.sets: unknown OOD set 'texture'; did you mean 'textures'"):
        ood(root, sets=["texture"]).check()
    with pytest.raises(ConfigError, match=r"ood\.sets=\[\]"):
        ood(root, sets=[]).check()


def test_a_set_without_pictures_is_named(tmp_path):
    (ood_folder(tmp_path) / "empty").mkdir()
    with pytest.raises(DataError, match="OOD set empty has no picture"):
        ood(tmp_path).load()


def test_no_ood_root_a_missing_and_an_empty_one_name_the_setting(tmp_path):
    with pytest.raises(ConfigError, match=r"ood\.root=<folder"):
        FolderOOD(name="folder").check()
    with pytest.raises(DataError, match=r"ood\.root=.*nowhere: there is no such folder"):
        ood(tmp_path / "nowhere").check()
    with pytest.raises(DataError, match=r"ood\.root=.* has neither pictures nor folders"):
        ood(tmp_path).check()


def test_a_damaged_picture_is_counted_where_it_is_left_out(root, tmp_path):
    sets = ood_folder(tmp_path / "ood")
    (sets / "nature" / "001.png").write_bytes(b"")
    (root / "test" / "cat" / "cat_0.jpg").write_bytes(b"")
    split = load_split(settings(root, corrupt="skip"), ood(sets, corrupt="skip"), 1)
    assert (split.train.dropped, split.test.dropped) == (0, 1)
    assert {name: images.dropped for name, images in split.ood.items()} == {"nature": 1, "textures": 0}
