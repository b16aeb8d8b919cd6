"""Every kind of damage to pictures and folders is found by `verify`, with what to do; a whole tree passes."""

from __future__ import annotations

import shutil

import miniatures
import pytest
from damage import (
    GOLDFISH,
    SHARK,
    TENCH,
    delete_class,
    first,
    found,
    imagenet,
    leave_one_picture,
    look,
    own,
    photo,
    save,
    truncate,
)
from PIL import Image

from negprompt.data.verification.verify import Wanted


def test_a_whole_tree_has_no_problem_and_every_picture_was_read(whole, tmp_path):
    report = look(whole, folders={"paths.cache_dir": tmp_path / "cache"})
    assert report.problems == ()
    assert {one.name: (one.pictures, one.read, one.unreadable) for one in report.sets} == {
        "train": (9, 9, 0),
        "test": (6, 6, 0),
        "iNaturalist": (3, 3, 0),
        "SUN": (5, 5, 0),
        "Places": (3, 3, 0),
        "Texture": (47, 47, 0),
    }
    assert [(one.classes, one.used_classes) for one in report.sets[:3]] == [(3, 3), (3, 3), (0, 0)]
    assert list(tmp_path.iterdir()) == []


def empty_class(root):
    delete_class(root)
    (root / "imagenet_1k" / "train" / TENCH).mkdir()


def empty_test_class(root):
    for path in (root / "imagenet_1k" / "val" / SHARK).iterdir():
        path.unlink()


def rename_class(root):
    (root / "imagenet_1k" / "train" / GOLDFISH).rename(root / "imagenet_1k" / "train" / "n0144353")


def exchange_classes(root):
    train = root / "imagenet_1k" / "train"
    (train / TENCH).rename(train / "aside")
    (train / GOLDFISH).rename(train / TENCH)
    (train / "aside").rename(train / GOLDFISH)


def exchange_two_test_pictures(root):
    val = root / "imagenet_1k" / "val"
    one, other = first(val / TENCH), first(val / SHARK)
    one.rename(val / SHARK / one.name)
    other.rename(val / TENCH / other.name)


def unlabelled_test_picture(root):
    path = own(first(root / "imagenet_1k" / "val" / TENCH))
    path.rename(root / "imagenet_1k" / "val" / "picture.JPEG")


def empty_file(root):
    miniatures.empty(own(first(root / "imagenet_1k" / "val" / TENCH)))


def web_page(root):
    miniatures.not_a_picture(own(first(root / "Places" / "images")))


def dangling_link(root):
    (root / "Places" / "images" / "gone.jpg").symlink_to(root / "nowhere.jpg")


def no_sun(root):
    shutil.rmtree(root / "SUN")


def empty_sun(root):
    shutil.rmtree(root / "SUN")
    (root / "SUN" / "images").mkdir(parents=True)


def empty_texture(root):
    for path in (root / "dtd" / "images" / "banded").iterdir():
        path.unlink()


def ood_into_test(root):
    shutil.copy(root / "SUN" / "images" / "sun_photo0.jpg", root / "imagenet_1k" / "val" / TENCH / "new.JPEG")


def train_into_test(root):
    shutil.copy(first(root / "imagenet_1k" / "train" / TENCH), root / "imagenet_1k" / "val" / TENCH / "new.JPEG")


def train_into_ood(root):
    shutil.copy(first(root / "imagenet_1k" / "train" / TENCH), root / "iNaturalist" / "images" / "new.jpg")


DAMAGE = {
    "a class folder is deleted": (delete_class, "train", "1 of 3 classes has no picture", TENCH, "image-net.org"),
    "a class folder is emptied": (empty_class, "train", "1 of 3 classes has no picture", TENCH, "image-net.org"),
    "a test class is emptied": (empty_test_class, "test", "1 of 3 classes has no picture", SHARK, "image-net.org"),
    "too few for the draw": (leave_one_picture, "train", f"fewer than 2 pictures: {TENCH} (1)", "num_shots to 1"),
    "two classes are exchanged": (exchange_classes, "train", "6 pictures lie under another class", TENCH, "and 3 more"),
    "two test pictures are exchanged": (
        *(exchange_two_test_pictures, "test", "2 of 6 validation pictures have another label"),
        *(f"is under {SHARK} and belongs to {TENCH}", "Sort them again"),
    ),
    "a picture without class": (unlabelled_test_picture, "test", "1 picture has no class", "picture.JPEG", "Move them"),
    "a truncated picture": (truncate, "train", "1 of 9 pictures is corrupt", SHARK, "corrupt=skip", "Get them again"),
    "a file of 0 bytes": (empty_file, "test", "1 of 6 pictures is empty (0 bytes)", TENCH, "Get them again"),
    "a page named .jpg": (web_page, "Places", "1 of 3 pictures is corrupt", "Places/images", "ood.corrupt=skip"),
    "a link to nothing": (dangling_link, "Places", "1 of 4 pictures is missing", "gone.jpg", "Put them back"),
    "an OOD set is missing": (no_sun, "SUN", "SUN is not in", "Unpack its archive there", "ood.sets="),
    "an OOD set is empty": (empty_sun, "SUN", "no picture", "Unpack the archive again"),
    "a folder of an OOD set is empty": (empty_texture, "Texture", "1 folder has no picture", "dtd/images/banded"),
    "an OOD picture in the test": (
        *(ood_into_test, "test and SUN", "1 picture of SUN is in test too"),
        *("sun_photo0.jpg", "new.JPEG", "Remove from SUN"),
    ),
    "a training picture in the test": (
        *(train_into_test, "train and test", "1 picture of test is in train too", "new.JPEG", "Remove from one"),
    ),
    "a training picture in an OOD set": (train_into_ood, "train and iNaturalist", "is in train too", "new.jpg"),
}


@pytest.mark.parametrize(("damage", "set_name", "fragments"), [(d, s, f) for d, s, *f in DAMAGE.values()], ids=DAMAGE)
def test_damage_is_found_and_nothing_else(tree, damage, set_name, fragments):
    damage(tree)
    report = look(tree)
    problem = found(report, set_name, *fragments)
    assert problem.severe
    assert problem.fix
    assert report.problems == (problem,)


def test_a_renamed_class_is_unknown_and_leaves_a_gap(tree):
    rename_class(tree)
    report = look(tree)
    unknown = found(report, "train", "1 class name is not in the list", f"n0144353 (did you mean '{GOLDFISH}'?)")
    assert "3 pictures left aside" in unknown.what
    assert "Rename the folder" in unknown.fix
    found(report, "train", "1 of 3 classes has no picture", GOLDFISH)
    found(report, "train", "3 pictures lie under another class", f"n0144353/{GOLDFISH}_", "rename them back")
    assert len(report.severe) == 3


def test_a_second_folder_of_unknown_pictures_is_not_used(tree):
    miniatures._write_picture(tree / "imagenet_1k" / "train" / "cats" / "a.jpg", "cats", 1)
    report = look(tree)
    found(report, "train", "1 class name is not in the list of classes: cats; 1 picture left aside")
    assert len(report.problems) == 1
    assert report.sets[0].pictures == 9


def test_no_imagenet_at_all_is_said_once(tree):
    shutil.rmtree(tree / "imagenet_1k")
    report = look(tree)
    found(report, "train, test", "No ImageNet in", "NEGPROMPT_DATA", "docs/data.md")
    assert len(report.problems) == 1
    assert [one.name for one in report.sets] == ["iNaturalist", "SUN", "Places", "Texture"]


def test_counts_of_the_protocol_are_a_problem_unless_any_will_do(whole):
    report = look(whole, Wanted(pictures="none"))
    found(report, "test", "6 pictures, not the protocol's 150", "image-net.org")
    found(report, "test", "3 classes do not have the protocol's 50 pictures", f"{TENCH} (2)")
    found(report, "SUN", "5 pictures, not the protocol's 10,000", "Unpack the archive again")
    assert look(whole, Wanted("none", "any")).problems == ()


def test_a_picture_saved_again_and_smaller_is_a_warning(tree):
    smaller = photo(1).resize((64, 48), Image.Resampling.BICUBIC)
    save(smaller, tree / "imagenet_1k" / "val" / TENCH / "again.JPEG", quality=60)
    report = look(tree)
    near = found(report, "test and SUN", "1 picture of SUN looks like one of test", "again.JPEG", "sun_photo1.jpg")
    assert not near.severe
    assert "Look at them" in near.fix
    assert report.problems == (near,)


def test_copies_inside_a_set_are_a_warning(tree):
    images = tree / "SUN" / "images"
    shutil.copy(images / "sun_photo0.jpg", images / "sun_twin.jpg")
    shutil.copy(images / "sun_photo0.jpg", images / "sun_triplet.jpg")
    report = look(tree)
    copies = found(report, "SUN", "2 pictures are copies of others", "sun_triplet.jpg", "Remove the copies")
    assert report.problems == (copies,)
    assert not copies.severe


def test_a_test_picture_in_the_training_pool_is_a_problem_only_where_it_is_drawn(tree):
    train, val = tree / "imagenet_1k" / "train" / TENCH, tree / "imagenet_1k" / "val" / TENCH
    for number in range(20):  # so many that a draw of two leaves most of them
        save(photo(1000 + number), train / f"{TENCH}_{number}.JPEG")
    drawn = [key for key in imagenet(tree, manifests_dir=None).load(1).train.keys if key.startswith(TENCH)]
    outside = next(path for path in sorted(train.iterdir()) if f"{TENCH}/{path.name}" not in drawn)
    shutil.copy(first(val), own(outside))
    report = look(tree)
    assert not found(report, "train and test", "1 picture of test is in train (outside of this seed's").severe
    shutil.copy(first(val), own(train / drawn[0].rpartition("/")[2]))
    report = look(tree)
    assert found(report, "train and test", "1 picture of test is in train too", "Remove from one of the two").severe


def test_a_training_picture_under_two_classes_is_a_warning(tree):
    train = tree / "imagenet_1k" / "train"
    shutil.copy(first(train / TENCH), train / SHARK / "same.JPEG")
    report = look(tree)
    torn = found(report, "train", "1 picture is under several classes", f"{SHARK}/same.JPEG", "under one class")
    assert report.problems == (torn,)
    assert not torn.severe


def test_examples_are_cut_with_a_count_and_kinds_of_damage_are_told_apart(tree):
    for number, path in enumerate(sorted((tree / "imagenet_1k" / "train").rglob("*.JPEG"))[:7]):
        (miniatures.empty if number < 5 else miniatures.not_a_picture)(own(path))
    report = look(tree)
    empty = found(report, "train", "5 of 9 pictures are empty (0 bytes)")
    assert len(empty.examples) == 4
    assert empty.examples[-1] == "and 2 more"
    assert len(found(report, "train", "2 of 9 pictures are corrupt").examples) == 2
    assert report.sets[0].unreadable == 7


def test_pictures_that_end_early_at_different_places_are_one_problem(tree):
    for path in sorted((tree / "imagenet_1k" / "train").rglob("*.JPEG"))[:4]:
        content = path.read_bytes()
        own(path).write_bytes(content[: len(content) * 4 // 5])
    report = look(tree)
    assert found(report, "train", "4 of 9 pictures are corrupt").examples[-1] == "and 1 more"


def test_modes_other_than_rgb_are_counted(tree):
    for number, mode in enumerate(("L", "L", "CMYK")):
        path = tree / "iNaturalist" / "images" / f"{mode}{number}.jpg"
        path.write_bytes(miniatures.picture("modes", number, mode=mode))
    modes = {one.name: one.modes for one in look(tree).sets}
    assert modes["iNaturalist"] == {"L": 2, "CMYK": 1}
    assert modes["SUN"] == {}
