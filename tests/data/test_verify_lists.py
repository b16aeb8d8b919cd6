"""`verify` on lists: exchanged labels, lists that are missing, pictures that are listed and not there."""

from __future__ import annotations

import miniatures
import pytest
from damage import (
    ANY,
    IDS,
    copied,
    first,
    found,
    imagenet,
    look,
    own,
)

from negprompt.data.imagenet import ImageNetOOD
from negprompt.data.imagenet_layout import find_layout
from negprompt.data.openood import OpenOOD, OpenOODID
from negprompt.data.own_csv import CsvID, CsvOOD
from negprompt.data.tiny_imagenet import TinyImageNetID, TinyImageNetOOD
from negprompt.data.verification.verify import Wanted, verify

# --- labels in files -------------------------------------------------------------------------------------------------


def exchange_two_lines(path, one, other):
    lines = path.read_text().splitlines()
    lines[one], lines[other] = lines[other], lines[one]
    path.write_text("\n".join(lines) + "\n")


def exchange_two_labels(path, one, other):
    """Two rows of Kaggle's csv keep their pictures and take each other's labels."""
    lines = path.read_text().splitlines()
    (first_name, _, first_label), (name, _, label) = lines[one].partition(","), lines[other].partition(",")
    lines[one], lines[other] = f"{first_name},{label}", f"{name},{first_label}"
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("val", ["devkit", "kaggle"])
def test_two_exchanged_labels_in_a_list_are_found(tmp_path, val):
    miniatures.imagenet(tmp_path / "imagenet_1k", wordnet_ids=IDS, val=val)
    miniatures.conventional(tmp_path, per_set=1)
    assert look(tmp_path).problems == ()
    pictures = sorted(find_layout(None, str(tmp_path)).val.iterdir())[:2]
    if val == "devkit":
        (file,) = tmp_path.rglob("ILSVRC2012_validation_ground_truth.txt")
        one, other = (int(picture.stem[-8:]) - 1 for picture in pictures)
        exchange_two_lines(file, one, other)
    else:
        (file,) = tmp_path.rglob("LOC_val_solution.csv")
        stems = [line.partition(",")[0] for line in file.read_text().splitlines()]
        exchange_two_labels(file, *(stems.index(picture.stem) for picture in pictures))
    report = look(tmp_path)
    problem = found(
        report, "test", "2 of 3 validation pictures have another label", pictures[0].name, "Sort them again"
    )
    assert report.problems == (problem,)


def test_the_hard_split_sees_a_picture_that_changed_sides(tmp_path):
    split = [*miniatures.resource("split1_id.txt")[:2], *miniatures.resource("split1_ood.txt")[:2]]
    root = miniatures.imagenet(tmp_path / "imagenet_1k", wordnet_ids=split)
    id_sets = imagenet(tmp_path, hard_split=1, keep_classes=split[:2])
    ood_sets = ImageNetOOD(name="imagenet_hard_1", hard_split=1, root=str(root))
    wanted = Wanted("all", "any")
    before = verify(id_sets, ood_sets, wanted)
    assert [one.set_name for one in before.problems] == ["imagenet_hard_1"]  # most of its classes are not there
    one, other = first(root / "val" / split[0]), first(root / "val" / split[2])
    one.rename(root / "val" / split[2] / one.name)
    other.rename(root / "val" / split[0] / other.name)
    found(verify(id_sets, ood_sets, wanted), "test", "2 of 4 validation pictures have another label", one.name)


# --- lists that are missing ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def whole_tiny(tmp_path_factory):
    return miniatures.tiny_imagenet(tmp_path_factory.mktemp("tiny"))


def look_at_tiny(root, wanted=ANY):
    id_sets = TinyImageNetID(name="tiny_imagenet", num_shots=2, data_root=str(root))
    return verify(id_sets, TinyImageNetOOD(name="tiny_imagenet", data_root=str(root)), wanted)


def test_tiny_imagenet_as_it_is_passes(whole_tiny):
    assert look_at_tiny(whole_tiny).problems == ()


@pytest.mark.parametrize(
    ("file", "set_names"),
    {
        "wnids.txt": "tiny_imagenet, unknown",
        "words.txt": "tiny_imagenet, unknown",
        "val_annotations.txt": "test, unknown",
    }.items(),
)
def test_a_missing_list_of_tiny_imagenet_is_named(whole_tiny, tmp_path, file, set_names):
    root = copied(whole_tiny, tmp_path / "tiny")
    (path,) = root.rglob(file)
    path.unlink()
    report = look_at_tiny(root)
    problem = found(report, set_names, str(path), "No such file", "Unpack tiny-imagenet-200.zip again")
    assert report.problems == (problem,)


def test_no_tiny_imagenet(tmp_path):
    report = look_at_tiny(tmp_path)
    found(report, "tiny_imagenet, unknown", "No TinyImageNet in", "Unpack tiny-imagenet-200.zip")


def test_a_list_that_is_no_text_is_a_problem_of_its_set(whole_tiny, tmp_path):
    root = copied(whole_tiny, tmp_path / "tiny")
    (path,) = root.rglob("val_annotations.txt")
    own(path).write_bytes(b"\xff\xfe\x00")
    report = look_at_tiny(root)
    assert {one.set_name for one in report.severe} == {"test, unknown"}
    assert report.sets[0].name == "train"


@pytest.fixture(scope="session")
def whole_openood(tmp_path_factory):
    return miniatures.openood(tmp_path_factory.mktemp("openood") / "openood")


def look_at_openood(root, wanted):
    id_sets = OpenOODID(name="openood", num_shots=1, root=str(root), keep_classes=list(IDS))
    return verify(id_sets, OpenOOD(name="openood", root=str(root)), wanted)


@pytest.mark.parametrize(("file", "set_name"), [("test_imagenet.txt", "test"), ("test_ninco.txt", "ninco")])
def test_a_deleted_list_of_openood_is_named(whole_openood, tmp_path, file, set_name):
    assert look_at_openood(whole_openood, ANY).severe == []
    root = copied(whole_openood, tmp_path / "openood")
    (path,) = root.rglob(file)
    path.unlink()
    report = look_at_openood(root, ANY)
    assert report.severe == [found(report, set_name, str(path), "is missing", "benchmark_imglist.zip")]


@pytest.mark.parametrize("pictures", ["all", "none"])
def test_a_listed_picture_that_is_not_there_is_found_without_reading(whole_openood, tmp_path, pictures):
    root = copied(whole_openood, tmp_path / "openood")
    gone = first(root / "images_largescale" / "ninco")
    gone.unlink()
    report = look_at_openood(root, Wanted(pictures, "any"))
    assert report.severe == [found(report, "ninco", "1 of 16", "missing", str(gone))]


def test_shifted_pictures_may_be_test_pictures_but_no_training_ones(whole_openood, tmp_path):
    root = copied(whole_openood, tmp_path / "openood")
    id_sets = OpenOODID(name="openood", num_shots=1, root=str(root), full_spectrum=True)
    ood_sets = OpenOOD(name="openood", root=str(root), sets=["ninco"])
    large = root / "images_largescale"
    shifted, other = sorted(path for path in (large / "imagenet_c").rglob("*.JPEG"))[:2]
    own(shifted).write_bytes(first(large / "imagenet_1k" / "val").read_bytes())
    own(other).write_bytes(first(large / "imagenet_1k" / "train").read_bytes())
    report = verify(id_sets, ood_sets, ANY)
    fragments = ["1 picture of imagenet_c is in train too", str(other), "Remove from one of the two"]
    assert report.severe == [found(report, "train and imagenet_c", *fragments)]


def test_a_missing_csv_is_named(tmp_path):
    miniatures.csv_file(tmp_path)
    id_sets = CsvID(name="csv", num_shots=2, file=str(tmp_path / "dataset.csv"))
    ood_sets = CsvOOD(name="csv", file=str(tmp_path / "ood.csv"))
    assert verify(id_sets, ood_sets, ANY).problems == ()
    (tmp_path / "dataset.csv").unlink()
    report = verify(id_sets, ood_sets, ANY)
    assert report.severe == [found(report, "csv", str(tmp_path / "dataset.csv"), "cannot be read")]
    assert [one.name for one in report.sets] == ["nature", "textures"]
