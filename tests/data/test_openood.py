"""OpenOOD v1.5 as its lists say, and the lists against the protocol's."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path

import pytest
from miniatures import TEXTURES, TEXTURES_IN_IMAGENET, imagenet, resource, validation_labels

from negprompt.data import openood
from negprompt.data.base import load_split
from negprompt.data.openood import GROUPS, ID_LISTS, OOD_LISTS, OOD_VAL_LISTS, SHIFTED_LISTS, OpenOOD, OpenOODID
from negprompt.errors import ConfigError, DataError

IDS = resource("wordnet_ids.txt")
FAR = {"inaturalist": 10, "textures": 43, "openimage_o": 12}
NEAR = {"ssb_hard": 12, "ninco": 16}


@pytest.fixture(scope="module")
def root(trees) -> Path:
    return trees("openood")


@pytest.fixture
def copy(tmp_path, root) -> Path:
    """The lists to write on, the pictures as they are."""
    shutil.copytree(root / "benchmark_imglist", tmp_path / "data" / "benchmark_imglist")
    for name in ("images_largescale", "images_classic"):
        (tmp_path / "data" / name).symlink_to(root / name)
    return tmp_path / "data"


def id_sets(root: Path, /, **settings) -> OpenOODID:
    return OpenOODID(**{"name": "openood", "num_shots": 1, "root": str(root), **settings})


def ood_sets(root: Path, /, **settings) -> OpenOOD:
    return OpenOOD(**{"name": "openood", "root": str(root), **settings})


def list_path(root: Path, name: str) -> Path:
    return root / "benchmark_imglist" / "imagenet" / f"{name}.txt"


def listed(root: Path, name: str) -> list[tuple[str, int]]:
    pairs = [line.split(" ") for line in list_path(root, name).read_text().splitlines()]
    return [(path, int(label)) for path, label in pairs]


def rows(images) -> list[tuple[str, int]]:
    return list(zip(images.keys, images.labels, strict=True))


@pytest.fixture(scope="module")
def split(root):
    return load_split(id_sets(root, full_spectrum=True), ood_sets(root), 1)


# --- the sets ------------------------------------------------------------------------------------------------------


def test_every_set_is_its_list(root, split):
    assert rows(split.test) == listed(root, "test_imagenet")
    assert list(split.ood) == [*NEAR, *FAR]
    for name, images in split.ood.items():
        assert rows(images) == listed(root, f"test_{name}")
        assert len(images.keys) == {**NEAR, **FAR}[name]
    assert list(split.shifted) == ["imagenet_v2", "imagenet_c", "imagenet_r"]
    for name, images in split.shifted.items():
        assert rows(images) == listed(root, f"test_{name}")


def test_labels_are_ranks_of_wordnet_ids(split):
    assert all(validation_labels()[int(key[-13:-5]) - 1] == label for key, label in rows(split.test))
    assert all(key.startswith(f"{IDS[label]}/") for key, label in rows(split.train))
    assert all(key.split("/")[1] == IDS[label] for key, label in rows(split.shifted["imagenet_r"]))
    assert Counter(split.train.labels) == Counter(split.test.labels) == dict.fromkeys(range(1000), 1)


def test_pictures_come_from_both_folders_of_the_benchmark(root, split):
    for name, top in (("textures", "images_classic"), ("ninco", "images_largescale")):
        images = split.ood[name]
        assert [images.encoded[row] for row in range(len(images.keys))] == [
            (root / top / key).read_bytes() for key in images.keys
        ]


def test_the_four_textures_that_imagenet_shows_are_left_out(split):
    named = {key.split("/")[1] for key in split.ood["textures"].keys}
    assert named == set(TEXTURES) - set(TEXTURES_IN_IMAGENET)


def test_near_and_far_are_groups_of_the_test_sets(split):
    assert split.groups == {"near": tuple(NEAR), "far": tuple(FAR)} == GROUPS


def test_a_mean_is_named_near_or_far_only_over_all_its_sets(root):
    few = load_split(id_sets(root, keep_classes=list(IDS[:2])), ood_sets(root, sets=["textures", "ninco"]), 1)
    assert list(few.ood) == ["textures", "ninco"]
    assert few.groups == {}
    near = load_split(id_sets(root, keep_classes=list(IDS[:2])), ood_sets(root, sets=["ninco", "ssb_hard"]), 1)
    assert near.groups == {"near": ("ssb_hard", "ninco")}


def test_pictures_for_choosing_settings_are_others_than_those_of_the_test(root, split):
    val = load_split(id_sets(root, part="val"), ood_sets(root, part="val"), 1)
    assert rows(val.test) == listed(root, "val_imagenet")
    assert not set(val.test.keys) & set(split.test.keys)
    assert {name: rows(images) for name, images in val.ood.items()} == {"openimage_o": listed(root, "val_openimage_o")}
    assert not set(val.ood["openimage_o"].keys) & set(split.ood["openimage_o"].keys)
    assert val.groups == {}
    assert rows(val.train) == rows(split.train)


def test_shifted_pictures_are_used_on_request_only(root, split):
    plain = load_split(id_sets(root), ood_sets(root), 1)
    assert plain.shifted == {}
    assert plain.sha256 != split.sha256


def test_kept_classes_hold_on_shifted_sets_too(root):
    labels = sorted({label for _, label in listed(root, "test_imagenet_r")})[:3]
    shifted = id_sets(root, full_spectrum=True, keep_classes=[IDS[label] for label in labels]).load(1).shifted
    expected = [(path, labels.index(label)) for path, label in listed(root, "test_imagenet_r") if label in labels]
    assert rows(shifted["imagenet_r"]) == expected


def test_lists_of_the_protocol_have_its_counts():
    lists = {**OOD_LISTS, **SHIFTED_LISTS, **{f"id {part}": one for part, one in ID_LISTS.items()}}
    assert {name: one.pictures for name, one in lists.items()} == {
        **{"ssb_hard": 49_000, "ninco": 5_879, "inaturalist": 10_000, "textures": 43 * 120, "openimage_o": 15_869},
        **{"imagenet_v2": 10_000, "imagenet_c": 10_000, "imagenet_r": 30_000, "id test": 45_000, "id val": 5_000},
    }
    assert OOD_LISTS["openimage_o"].pictures + OOD_VAL_LISTS["openimage_o"].pictures == 17_632


# --- training pictures ---------------------------------------------------------------------------------------------


def test_training_pictures_of_an_imagenet_elsewhere_are_the_same(root, split, tmp_path):
    ours = {tuple(row) for row in rows(split.train)}
    elsewhere = imagenet(tmp_path / "imagenet", train_per_class=1, val_per_class=0, wordnet_ids=IDS[:3])
    (elsewhere / "val").mkdir(exist_ok=True)
    for settings in ({"train_root": str(elsewhere)}, {"train_root": None}):
        train = id_sets(root, keep_classes=list(IDS[:3]), **settings).load(1).train
        assert set(rows(train)) <= ours
        assert len(train.keys) == 3


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("test_imagenet", id_sets),
        ("val_imagenet", lambda root: id_sets(root, part="val")),
        ("test_imagenet_c", lambda root: id_sets(root, full_spectrum=True)),
        ("test_ninco", ood_sets),
        ("val_openimage_o", lambda root: ood_sets(root, part="val")),
    ],
)
def test_a_missing_list_is_named_with_where_to_get_it(copy, name, settings):
    list_path(copy, name).unlink()
    with pytest.raises(DataError, match=rf"/{name}\.txt is missing: .*root.*benchmark_imglist\.zip .*docs/data\.md"):
        settings(copy).check()


def test_a_root_that_is_not_openoods_names_the_setting(tmp_path):
    for settings in (id_sets(tmp_path), ood_sets(tmp_path)):
        with pytest.raises(DataError, match=r"is missing: data\.root \(ood\.root\) must be OpenOOD's data folder"):
            settings.check()


@pytest.mark.parametrize("label", [1000, -1])
@pytest.mark.parametrize("name", ["test_imagenet", "test_imagenet_r"])
def test_a_label_that_is_no_class_is_named_with_its_list(copy, name, label):
    path = list_path(copy, name)
    lines = path.read_text().splitlines()
    picture = lines[2].partition(" ")[0]
    path.write_text("\n".join([*lines[:2], f"{picture} {label}", *lines[3:]]))
    with pytest.raises(DataError, match=rf"{name}\.txt: picture {picture} has label {label}; allowed: 0 to 999"):
        id_sets(copy, full_spectrum=True).load(1)


def test_a_line_without_label_is_named(copy):
    with list_path(copy, "test_ninco").open("a") as file:
        file.write("ninco/x/y.jpg\n")
    with pytest.raises(DataError, match=r"test_ninco\.txt, line 17: "):
        ood_sets(copy).check()


def test_missing_pictures_are_counted_whichever_of_them_it_is(copy, root):
    (copy / "images_classic").unlink()
    shutil.copytree(root / "images_classic", copy / "images_classic")
    paths = [path for path, _ in listed(root, "test_textures")]
    for gone in (paths[0], paths[20]):  # the first tells in which folder the others lie
        (copy / "images_classic" / gone).unlink()
    with pytest.raises(
        DataError, match=rf"2 of 43 pictures of textures are missing, for example .*images_classic/{paths[0]}"
    ):
        ood_sets(copy, sets=["textures"]).load()


def test_a_list_of_another_size_is_said(root, caplog):
    ood_sets(root, sets=["ninco"]).load()
    assert "ninco: 16 pictures, not the protocol's 5,879" in caplog.text


def test_an_unknown_set_is_answered_with_the_nearest(root):
    with pytest.raises(ConfigError, match=r"ood\.sets: unknown OOD set 'ninca'; did you mean 'ninco'"):
        ood_sets(root, sets=["ninca"]).check()
    with pytest.raises(ConfigError, match=r"unknown OOD set 'ninco'; .*openimage_o"):
        ood_sets(root, part="val", sets=["ninco"]).check()


# --- custom lists --------------------------------------------------------------------------------------------------


def adopted(root: Path, lists):
    """The protocol's lists, as if it had those of the miniature."""
    digests = {
        name: hashlib.sha256((root / "benchmark_imglist" / "imagenet" / one.file).read_bytes()).hexdigest()[:16]
        for name, one in lists.items()
    }
    return {name: one._replace(sha256=digests[name]) for name, one in lists.items()}


def test_lists_that_are_not_the_protocols_are_said_in_a_run(root, caplog):
    id_sets(root, full_spectrum=True, keep_classes=[IDS[1]]).load(1)
    ood_sets(root).load()
    files = [one.file for one in (ID_LISTS["test"], *SHIFTED_LISTS.values(), *OOD_LISTS.values())]
    for file in files:
        assert caplog.text.count(f"{file} is a custom list, not OpenOOD v1.5's") == 1
    assert caplog.text.count("custom list") == len(files) == 9


def test_lists_of_the_protocol_are_not_doubted_until_a_byte_is_another(copy, monkeypatch, caplog):
    monkeypatch.setattr(openood, "ID_LISTS", adopted(copy, ID_LISTS))
    monkeypatch.setattr(openood, "SHIFTED_LISTS", adopted(copy, SHIFTED_LISTS))
    monkeypatch.setattr(openood, "OOD_LISTS", adopted(copy, OOD_LISTS))

    def load():
        id_sets(copy, full_spectrum=True, keep_classes=[IDS[1]]).load(1)
        ood_sets(copy).load()
        return [record.message for record in caplog.records if "custom list" in record.message]

    assert load() == []
    assert ood_sets(copy).doubts() == []
    with list_path(copy, "test_ninco").open("a") as file:
        file.write("\n")
    (said,) = load()
    assert said.startswith("ninco: test_ninco.txt is a custom list")
    (doubt,) = ood_sets(copy).doubts()
    assert (doubt.set_name, doubt.severe) == ("ninco", False)


def test_the_folder_is_found_among_all_data(tmp_path, root):
    expected = list(ood_sets(root).load()["ninco"].keys)
    for number, name in enumerate(("openood", "OpenOOD/data", "")):
        top = tmp_path / str(number)
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).symlink_to(root)
        assert list(ood_sets(root, root=None, data_root=str(top)).load()["ninco"].keys) == expected
