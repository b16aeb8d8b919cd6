"""ImageNet as people have it: four layouts of one data set, against torchvision's readers and ILSVRC's labels."""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from miniatures import imagenet, picture, resource, validation_labels
from torchvision.datasets import ImageFolder
from torchvision.datasets import imagenet as torchvision_imagenet

from negprompt.data.base import load_split
from negprompt.data.conventional import ConventionalOOD
from negprompt.data.imagenet import ImageNetID, ImageNetOOD
from negprompt.data.imagenet_layout import NAMES, find_layout
from negprompt.data.imagenet_lists import hard_split, validation_class
from negprompt.data.imagenet_lists import validation_labels as shipped_labels
from negprompt.errors import DataError

IDS = resource("wordnet_ids.txt")
LAYOUTS = ("folders", "flat", "devkit", "kaggle")
SOME = (IDS[0], IDS[1], IDS[207], IDS[999])
TRAIN_PER_CLASS = 3
COUNTS = {1: (116, 166), 2: (30, 55), 3: (151, 164), 4: (100, 900)}
FIRST_TENTH = {None: 100, 1: 11, 2: 3, 3: 15, 4: 10}
every_split = pytest.mark.parametrize("number", [1, 2, 3, 4])


@pytest.fixture(scope="module")
def roots(trees):
    return {layout: trees("imagenet", val=layout, train_per_class=TRAIN_PER_CLASS) for layout in LAYOUTS}


@pytest.fixture(scope="module")
def split_of(roots, trees):
    """A loaded split by layout and hard split."""

    @functools.cache
    def loaded(layout, number, shots, seed):
        root = str(roots[layout])
        ood = ConventionalOOD(name="ood", root=str(trees("conventional")))
        if number is not None:
            ood = ImageNetOOD(name="ood", root=root, hard_split=number)
        return load_split(id_sets(root, num_shots=shots, hard_split=number), ood, seed)

    return lambda layout, number=None, shots=2, seed=1: loaded(layout, number, shots, seed)


def id_sets(root: Path | str, /, **settings) -> ImageNetID:
    return ImageNetID(**{"name": "imagenet_1k", "num_shots": 2, "root": str(root), **settings})


def some(root: Path, val="flat", **settings) -> Path:
    """A tree of four classes."""
    return imagenet(root / "imagenet", val=val, wordnet_ids=SOME, val_per_class=2, **settings)


def of_some(root: Path, **settings) -> ImageNetID:
    return id_sets(root, keep_classes=list(SOME), **settings)


def rows(images) -> list[tuple[str, int]]:
    return list(zip(images.keys, images.labels, strict=True))


def true_label(name: str) -> int:
    return int(validation_labels()[int(Path(name).stem.rpartition("_")[2]) - 1])


# --- four layouts of one data set ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS[1:])
@pytest.mark.parametrize("number", [None, 1, 2, 3, 4])
def test_every_layout_is_the_same_data_set(split_of, layout, number):
    one, other = split_of("folders", number), split_of(layout, number)
    for ours, theirs in (
        (one.train, other.train),
        (one.test, other.test),
        *zip(one.ood.values(), other.ood.values(), strict=True),
    ):
        assert rows(ours) == rows(theirs)
        assert np.array_equal(ours.encoded.known, theirs.encoded.known)
    assert one.class_names == other.class_names
    assert one.sha256 == other.sha256


def test_splits_seeds_and_shots_have_other_hashes(split_of):
    splits = [split_of("flat", number) for number in (None, 1, 2, 3, 4)]
    splits += [split_of("flat", 2, seed=2), split_of("flat", 2, shots=1)]
    assert len({split.sha256 for split in splits}) == len(splits)


def test_labels_are_ranks_of_wordnet_ids(split_of):
    split = split_of("flat")
    assert Counter(split.train.labels) == dict.fromkeys(range(1000), 2)
    assert all(key.startswith(f"{IDS[label]}/{IDS[label]}_") for key, label in rows(split.train))
    assert rows(split.test) == [(key, true_label(key)) for key in sorted(split.test.keys)]
    assert Counter(split.test.labels) == dict.fromkeys(range(1000), 1)


def test_labels_are_those_of_torchvision(roots):
    root = roots["folders"]
    pictures = id_sets(root, num_shots=TRAIN_PER_CLASS).load(1)
    for images, part in ((pictures.train, "train"), (pictures.test, "val")):
        theirs = {Path(path): label for path, label in ImageFolder(str(root / part)).samples}
        assert {images.encoded.path(row): label for row, label in enumerate(images.labels)} == theirs


def test_names_are_those_of_open_clip_with_their_duplicates(split_of):
    from open_clip import IMAGENET_CLASSNAMES

    names = split_of("flat").class_names
    assert list(names) == list(IMAGENET_CLASSNAMES)
    assert [place for place, name in enumerate(names) if name == "missile"] == [657, 744]
    assert [place for place, name in enumerate(names) if name == "sunglasses"] == [836, 837]


def test_pictures_are_read_from_their_files(split_of):
    for layout in LAYOUTS:
        split = split_of(layout)
        for images in (split.train, split.test):
            key = images.keys[123]
            wordnet_id = IDS[images.labels[123]]
            assert images.encoded[123] == picture("imagenet", wordnet_id, key.rpartition("/")[2])


# --- the draw ------------------------------------------------------------------------------------------------------


@every_split
def test_a_class_has_the_same_shots_in_a_hard_split_and_in_the_whole(split_of, number):
    whole, part = split_of("folders"), split_of("folders", number)
    kept = set(hard_split(number)[0])
    assert list(part.train.keys) == [key for key in whole.train.keys if key.partition("/")[0] in kept]


@pytest.mark.parametrize("shots", [1, 2, 3])
def test_any_number_of_shots_is_drawn(roots, shots):
    pictures = id_sets(roots["flat"], num_shots=shots, hard_split=2).load(1)
    assert Counter(pictures.train.labels) == dict.fromkeys(range(30), shots)
    assert len(set(pictures.train.keys)) == 30 * shots


def test_more_shots_than_there_are_name_the_count(roots):
    with pytest.raises(
        DataError, match=r"data\.num_shots=4, but 30 of 30 classes .* \(3\).*data\.num_shots to 3 or less"
    ):
        id_sets(roots["flat"], num_shots=4, hard_split=2).load(1)


def test_seeds_draw_other_pictures_for_the_same_test(split_of):
    one, two = split_of("flat", 2), split_of("flat", 2, seed=2)
    assert list(one.train.keys) != list(two.train.keys)
    assert rows(one.test) == rows(two.test)


def test_a_manifest_travels_from_layout_to_layout(roots, tmp_path):
    settings = {"num_shots": 1, "hard_split": 2}
    one = id_sets(roots["folders"], **settings, manifests_dir=str(tmp_path)).load(5)
    (manifest,) = tmp_path.iterdir()
    other = id_sets(roots["kaggle"], **settings, manifest=str(manifest)).load(1)
    assert rows(other.train) == rows(one.train)
    assert list(id_sets(roots["kaggle"], **settings).load(1).train.keys) != list(other.train.keys)


# --- hard splits ---------------------------------------------------------------------------------------------------


@every_split
def test_a_hard_split_has_its_classes_on_both_sides(split_of, number):
    split, (id_ids, ood_ids) = split_of("flat", number), hard_split(number)
    assert (len(id_ids), len(ood_ids)) == COUNTS[number]
    names = dict(zip(IDS, resource("class_names.txt"), strict=True))
    assert split.class_names == tuple(names[key] for key in id_ids)
    (ood,) = split.ood.values()
    assert [validation_class(key) for key in split.test.keys] == [id_ids[label] for label in split.test.labels]
    assert Counter(map(validation_class, split.test.keys)) == dict.fromkeys(id_ids, 1)
    assert Counter(map(validation_class, ood.keys)) == dict.fromkeys(ood_ids, 1)
    assert set(ood.labels) == {-1}


@pytest.mark.parametrize("number", [None, 1, 2, 3, 4])
def test_the_first_tenth_of_the_classes_trains(roots, number):
    pictures = id_sets(roots["flat"], num_shots=1, class_fraction=0.1, hard_split=number).load(1)
    ids = IDS if number is None else hard_split(number)[0]
    assert pictures.num_train_classes == FIRST_TENTH[number]
    assert [key.partition("/")[0] for key in pictures.train.keys] == list(ids[: FIRST_TENTH[number]])
    assert set(pictures.test.labels) == set(range(len(ids)))


# --- where the labels of flat pictures come from -------------------------------------------------------------------


def test_the_devkit_is_read_as_torchvision_reads_it(tmp_path, monkeypatch):
    root = some(tmp_path, "devkit")
    # Other labels than ILSVRC's, so that those of the package would be seen.
    truth = root / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("".join(f"{line}\n" for line in reversed(truth.read_text().split())))
    archive = tmp_path / "ILSVRC2012_devkit_t12.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(torchvision_imagenet.ARCHIVE_META, "devkit", (archive.name, md5))
    torchvision_imagenet.parse_devkit_archive(tmp_path)
    _, theirs = torch.load(tmp_path / torchvision_imagenet.META_FILE, weights_only=True)

    listing = id_sets(root).list_test()
    assert len(listing) == 8
    for key, place in zip(listing.keys, listing.class_of, strict=True):
        assert listing.classes[place] == theirs[int(key[15:23]) - 1]


def test_a_devkit_with_another_number_of_lines_is_refused(tmp_path):
    root = some(tmp_path, "devkit")
    truth = root / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text(truth.read_text()[: -len("1\n") * 40])
    with pytest.raises(
        DataError, match=r"ground_truth\.txt has \d+ lines and should have 50000: unpack the devkit again"
    ):
        of_some(root).load(1)
    truth.write_text("one\n")
    with pytest.raises(DataError, match=r"ground_truth\.txt is damaged"):
        of_some(root).load(1)
    truth.write_text("1001\n" * 50_000)
    with pytest.raises(DataError, match=r"holds the class number 1001, which meta\.mat does not"):
        of_some(root).load(1)


def test_a_devkit_without_its_table_of_classes_is_left_aside(tmp_path, caplog):
    root = some(tmp_path, "devkit")
    expected = rows(of_some(root).load(1).test)
    meta = root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat"
    meta.write_bytes(meta.read_bytes()[:500])
    with pytest.raises(DataError, match=r"meta\.mat cannot be read .*: unpack the devkit again, or remove it"):
        of_some(root).load(1)
    meta.unlink()
    with caplog.at_level(logging.INFO):
        assert rows(of_some(root).load(1).test) == expected
    assert any("labels come from the package" in message for message in caplog.messages)


def test_kaggles_list_is_read_and_not_guessed(tmp_path, caplog):
    root = some(tmp_path, "kaggle")
    solution = root / "LOC_val_solution.csv"
    name = of_some(root).load(1).test.keys[0]
    lines = solution.read_text().splitlines()
    (place,) = (place for place, line in enumerate(lines) if line.startswith(name.partition(".")[0]))
    lines[place] = f"{name.partition('.')[0]},{SOME[3 if true_label(name) != 999 else 0]} 1 2 3 4 "
    solution.write_text("\n".join(lines))
    test = of_some(root).load(1).test
    assert test.labels[0] == (3 if true_label(name) != 999 else 0)
    assert test.labels[1:] == [SOME.index(IDS[true_label(key)]) for key in test.keys[1:]]
    assert f"1 of 8 validation pictures have another label than ILSVRC's: {name} is under" in caplog.text


@pytest.mark.parametrize("damage", ["no header", "a header of its own", "an empty cell", "no text"])
def test_a_list_that_is_not_kaggles_is_refused(tmp_path, damage):
    root = some(tmp_path, "kaggle")
    solution = root / "LOC_val_solution.csv"
    header, *lines = solution.read_text().splitlines()[:20]
    if damage == "no text":
        solution.write_bytes(b"\xff\xfe\x00")
    else:
        changed = {"no header": lines, "a header of its own": ["image,label", *lines]}
        solution.write_text("\n".join(changed.get(damage, [header, *lines, "ILSVRC2012_val_00000001,"])))
    with pytest.raises(
        DataError, match=r"LOC_val_solution\.csv is not Kaggle's list \(header ImageId,PredictionString"
    ):
        of_some(root).load(1)


def test_a_flat_picture_that_nobody_knows_is_said_and_left_out(tmp_path, caplog):
    root = some(tmp_path)
    shutil.copy(next((root / "val").iterdir()), root / "val" / "holiday.jpg")
    assert len(of_some(root).load(1).test.keys) == 8
    assert re.search(r"no class: \S*holiday\.jpg", caplog.text)


def test_a_picture_in_the_folder_of_another_class_is_said_and_keeps_its_folder(tmp_path, caplog):
    root = some(tmp_path, "folders")
    first = min((root / "val" / SOME[0]).iterdir())
    first.rename(root / "val" / SOME[1] / first.name)
    assert dict(rows(of_some(root).load(1).test))[first.name] == 1
    assert f"{first.name} is under {SOME[1]} and belongs to {SOME[0]}" in caplog.text


def test_an_intact_tree_is_not_doubted(tmp_path, caplog):
    for val in LAYOUTS:
        of_some(some(tmp_path / val, val)).load(1)
    assert not any("another label" in message or "no class" in message for message in caplog.messages)


def test_a_class_without_validation_pictures_is_named(tmp_path):
    root = some(tmp_path, "folders")
    shutil.rmtree(root / "val" / SOME[2])
    with pytest.raises(DataError, match=rf"no picture of 1 of 4 classes: {SOME[2]}.*data\.keep_classes"):
        of_some(root).load(1)


def test_one_file_name_in_two_class_folders_is_refused(tmp_path):
    root = some(tmp_path, "folders")
    first = min((root / "val" / SOME[0]).iterdir())
    shutil.copy(first, root / "val" / SOME[1] / first.name)
    with pytest.raises(DataError, match=rf"Picture '{first.name}' is listed twice"):
        of_some(root).load(1)


# --- the package's lists -------------------------------------------------------------------------------------------


def test_shipped_labels_have_fifty_of_each_class():
    assert np.array_equal(np.bincount(shipped_labels(), minlength=1000), np.full(1000, 50))


def test_shipped_ids_are_a_thousand_in_order():
    assert list(IDS) == sorted(set(IDS))
    assert len(IDS) == 1000
    assert (IDS[0], IDS[1], IDS[999]) == ("n01440764", "n01443537", "n15075141")


@every_split
def test_the_sides_of_a_hard_split_share_no_class(number):
    id_ids, ood_ids = hard_split(number)
    assert not set(id_ids) & set(ood_ids)
    assert set(id_ids) | set(ood_ids) <= set(IDS)
    for ids in (id_ids, ood_ids):
        assert list(ids) == sorted(set(ids))
    if number < 4:
        unused = resource(f"split{number}_neg.txt")
        assert len(unused) == {1: 67, 2: 31, 3: 97}[number]
        assert not set(unused) & (set(id_ids) | set(ood_ids))


def test_hard_splits_have_the_published_classes_at_the_published_places():
    assert hard_split(4) == (IDS[:100], IDS[100:])
    assert hard_split(1)[1][89] == "n03944341"
    assert hard_split(2)[0][29] == "n02095889"
    assert hard_split(3)[0][106] == "n02484975"
    assert hard_split(3)[1][134] == "n03980874"
    assert resource("split2_neg.txt")[0] == "n02096051"
    # The dogs of one parent a synset: with all parents these two would be among them.
    assert not {"n02091032", "n02091134"} & set(hard_split(1)[0])
    # Half of the hunting dogs on one side, the other half unused.
    assert not set(hard_split(2)[0]) & set(resource("split2_neg.txt"))
    assert set(hard_split(2)[0]) | set(resource("split2_neg.txt")) < set(hard_split(1)[0])


@pytest.mark.parametrize(
    "name",
    [
        "ILSVRC2012_val_00000000.JPEG",
        "ILSVRC2012_val_00050001.JPEG",
        "ILSVRC2012_val_1.JPEG",
        "n01440764_1.JPEG",
        "",
        "x_²",
    ],
)
def test_other_names_have_no_true_class(name):
    assert validation_class(name) is None


# --- where ImageNet lies -------------------------------------------------------------------------------------------

BELOW = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "images_largescale/imagenet_1k")
PAIRS = (("train", "val"), ("ILSVRC2012_img_train", "ILSVRC2012_img_val"), ("train", "validation"))


def folders(top: Path, *names: str) -> Path:
    for name in names:
        (top / name).mkdir(parents=True)
    return top


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("below", BELOW)
def test_the_usual_names_are_found_in_the_folder_of_all_data(tmp_path, name, below):
    for number, (train, val) in enumerate(PAIRS):
        top = folders(tmp_path / str(number) / name / below, train, val)
        layout = find_layout(None, str(tmp_path / str(number)))
        assert (layout.train, layout.val) == (top / train, top / val)
        assert find_layout(str(tmp_path / str(number) / name), "nowhere") == layout


def test_half_an_imagenet_is_passed_over_for_a_whole_one(tmp_path):
    folders(tmp_path / NAMES[0], "train")
    whole = folders(tmp_path / NAMES[1], "train", "val")
    assert find_layout(None, str(tmp_path)).root == whole


def test_a_missing_imagenet_says_where_it_was_looked_for(tmp_path):
    for settings in (
        ImageNetID(name="x", num_shots=1, data_root=str(tmp_path)),
        ImageNetOOD(name="x", hard_split=1, data_root=str(tmp_path)),
    ):
        with pytest.raises(
            DataError, match=r"No ImageNet in .*\(looked for .*\)\. It needs .*data\.root.*NEGPROMPT_DATA"
        ) as error:
            settings.check()
        assert all(name in str(error.value) for name in (str(tmp_path), *NAMES))
    with pytest.raises(DataError, match=r"No ImageNet in .*nowhere\. .*data\.root"):
        id_sets(tmp_path / "nowhere").check()


def test_half_an_imagenet_is_named(tmp_path):
    folders(tmp_path / "ILSVRC2012", "train")
    with pytest.raises(DataError, match=r"ILSVRC2012 has only one of train and val"):
        find_layout(None, str(tmp_path))


def test_a_root_may_be_relative(tmp_path, monkeypatch):
    root = some(tmp_path, "devkit")
    expected = rows(of_some(root).load(1).test)
    for folder, name in ((root, "."), (tmp_path, "imagenet"), (root / "val", "..")):
        monkeypatch.chdir(folder)
        assert rows(of_some(Path(name)).load(1).test) == expected


# --- names ---------------------------------------------------------------------------------------------------------


def test_other_names_are_given_for_all_classes_and_a_split_takes_its_own(roots, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("".join(f"name of {wordnet_id}\n" for wordnet_id in IDS))
    classes = id_sets(roots["flat"], hard_split=2, class_names=str(names)).classes()
    assert classes.keys == hard_split(2)[0]
    assert classes.names == tuple(f"name of {wordnet_id}" for wordnet_id in classes.keys)
