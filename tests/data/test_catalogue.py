"""The catalogue of known data sets covers every option, agrees with the protocols, and says what is here."""

from __future__ import annotations

import json
import os
import re
from importlib import resources
from pathlib import Path

import miniatures
import pytest

from negprompt.cli.paths import options
from negprompt.data import at_hand, openood
from negprompt.data.at_hand import Homes, find
from negprompt.data.catalogue import Entry, catalogue, entries_named
from negprompt.data.conventional import ConventionalOOD
from negprompt.data.imagenet import ImageNetID
from negprompt.data.imagenet_lists import NUM_TRAIN, NUM_VALIDATION
from negprompt.data.openood import OpenOODID
from negprompt.data.tiny_imagenet import NUM_CLASSES, TRAIN_PER_CLASS, VAL_PER_CLASS, TinyImageNetID
from negprompt.errors import ConfigError

OWN = {"folder", "csv", "imglist", "webdataset", "holdout_classes", "none"}
RESOURCES = resources.files("negprompt.data") / "resources"
ENTRIES = {entry.key: entry for entry in catalogue()}
CONVENTIONAL = {"iNaturalist", "SUN", "Places", "Texture"}
OPENOOD = {
    "ssb_hard": "ssb_hard",
    "ninco": "ninco",
    "openood_inaturalist": "inaturalist",
    "openood_textures": "textures",
    "imagenet_v2": "imagenet_v2",
    "imagenet_c": "imagenet_c",
    "imagenet_r": "imagenet_r",
}
IN_OPENOOD = {*OPENOOD, "openimage_o", "openood_lists", "openood_imagenet"}
IDS = miniatures.resource("wordnet_ids.txt")[:2]


def homes(data_root: Path) -> Homes:
    root = str(data_root)
    return Homes(
        ImageNetID(name="imagenet_1k", num_shots=1, data_root=root),
        ConventionalOOD(name="conventional", data_root=root),
        TinyImageNetID(name="tiny_imagenet", num_shots=1, data_root=root),
        OpenOODID(name="openood", num_shots=1, data_root=root),
    )


def here(data_root: Path) -> dict[str, Path]:
    """What is found there, without the pictures that every installation has."""
    places = {key: find(entry, homes(data_root)) for key, entry in ENTRIES.items() if entry.home != "package"}
    assert all((place.path is None) == bool(place.missing) for place in places.values())
    return {key: place.path for key, place in places.items() if place.path is not None}


# --- facts ---------------------------------------------------------------------------------------------------------


def test_every_option_but_those_of_own_pictures_is_covered_and_no_other_is_named():
    known = {f"{group}={option}" for group in ("data", "ood") for option in set(options(group)) - OWN}
    assert {option for entry in catalogue() for option in entry.used_by} == known


def test_every_row_has_all_fields_and_no_other():
    rows = json.loads((RESOURCES / "catalogue.json").read_text(encoding="utf-8"))
    assert all(tuple(row) == Entry._fields for row in rows)


@pytest.mark.parametrize("entry", catalogue(), ids=lambda entry: entry.key)
def test_every_set_says_what_it_is_and_where_it_comes_from(entry):
    assert all((entry.what, entry.licence, entry.size, entry.source, entry.folder, entry.used_by))
    assert (entry.pictures is None) == (entry.kind == "list")
    assert entry.home == "package" or re.search(r"https?://\S+\.\S+|gdown [\w-]{33} -O \w+\.zip", entry.source)


def test_names_differ_in_more_than_capital_letters():
    assert len({key.casefold() for key in ENTRIES}) == len(catalogue())


def test_every_download_has_an_address_of_its_own():
    assert len({entry.source for entry in catalogue()}) == len(catalogue())


def test_numbers_of_pictures_are_those_of_the_protocols():
    counts = {key: entry.pictures for key, entry in ENTRIES.items()}
    assert counts["imagenet_1k"] == counts["imagenet_kaggle"] == NUM_TRAIN + NUM_VALIDATION
    assert counts["tiny_imagenet"] == NUM_CLASSES * (TRAIN_PER_CLASS + VAL_PER_CLASS)
    conventional = ConventionalOOD(name="conventional")
    assert {key: counts[key] for key in CONVENTIONAL} == {key: conventional.expected(key).total for key in CONVENTIONAL}
    lists = openood.OOD_LISTS | openood.SHIFTED_LISTS
    assert {key: counts[key] for key in OPENOOD} == {key: lists[name].pictures for key, name in OPENOOD.items()}
    assert counts["openood_imagenet"] == sum(listed.pictures for listed in openood.ID_LISTS.values())
    parts = (openood.OOD_LISTS["openimage_o"], openood.OOD_VAL_LISTS["openimage_o"])
    assert counts["openimage_o"] == sum(listed.pictures for listed in parts)


def test_the_icons_are_counted_as_they_ship():
    shards = json.loads((RESOURCES / "icons" / "benchmark.json").read_text(encoding="utf-8"))["shards"]
    used = [shard["count"] for name, shard in shards.items() if not name.startswith("emoji")]
    assert ENTRIES["icons"].pictures == sum(used)


def test_what_spoils_a_number_is_noted():
    assert "227 (55%)" in " ".join(ENTRIES["Places"].notes)
    assert "99 (25%)" in " ".join(ENTRIES["Texture"].notes)
    for key in ("Texture", "openood_textures"):
        assert re.search(r"5,160.*do not compare", " ".join(ENTRIES[key].notes))


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("ninco", {"ninco"}),
        ("NINCO", {"ninco"}),
        ("imagenet_1k", {"imagenet_1k"}),
        ("conventional", CONVENTIONAL),
        ("openood", {*IN_OPENOOD, "imagenet_1k"}),
        ("imagenet_hard_2", {"imagenet_1k", "imagenet_devkit", "imagenet_kaggle"}),
    ],
)
def test_a_name_is_a_set_or_an_option(name, keys):
    assert {entry.key for entry in entries_named(name)} == keys


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"name=nimco.*did you mean 'ninco'"):
        entries_named("nimco")


# --- whether they are here -----------------------------------------------------------------------------------------


def test_nothing_is_here_where_nothing_lies(tmp_path):
    assert not here(tmp_path)


def test_the_icons_are_always_here(tmp_path):
    place = find(ENTRIES["icons"], homes(tmp_path))
    assert (place.path / "benchmark.json").is_file()


@pytest.mark.parametrize(
    ("val", "found"),
    [
        ("folders", {"imagenet_1k": ""}),
        ("devkit", {"imagenet_1k": "", "imagenet_devkit": f"ILSVRC2012_devkit_t12/data/{at_hand.TRUTH}"}),
        ("kaggle", {"imagenet_1k": "", "imagenet_kaggle": "ILSVRC/Data/CLS-LOC"}),
    ],
)
def test_imagenet_is_found_with_its_labels(tmp_path, val, found):
    root = miniatures.imagenet(tmp_path / "imagenet", val=val, wordnet_ids=IDS, train_per_class=1)
    assert here(tmp_path) == {key: root / below for key, below in found.items()}


def test_half_of_imagenet_is_missing_with_what_is_there(tmp_path):
    (tmp_path / "imagenet_1k" / "train").mkdir(parents=True)
    assert "has only one of train and val" in find(ENTRIES["imagenet_1k"], homes(tmp_path)).missing


def test_the_conventional_sets_are_found_each_by_itself(tmp_path):
    miniatures.conventional(tmp_path, per_set=1)
    assert set(here(tmp_path)) == CONVENTIONAL
    (tmp_path / "SUN").rename(tmp_path / "elsewhere")
    assert set(here(tmp_path)) == CONVENTIONAL - {"SUN"}
    assert "looked for SUN/images" in find(ENTRIES["SUN"], homes(tmp_path)).missing


def test_tiny_imagenet_is_found(tmp_path):
    miniatures.tiny_imagenet(tmp_path, train_per_class=1)
    assert here(tmp_path) == {"tiny_imagenet": tmp_path / "tiny-imagenet-200"}


def test_openood_is_found_archive_by_archive(tmp_path):
    root = miniatures.openood(tmp_path / "openood")
    assert set(here(tmp_path)) == IN_OPENOOD
    (root / "images_classic" / "texture").rename(root / "elsewhere")
    assert set(here(tmp_path)) == IN_OPENOOD - {"openood_textures"}
    assert "No texture in" in find(ENTRIES["openood_textures"], homes(tmp_path)).missing


def test_a_folder_that_may_not_be_entered_is_missing_with_the_reason(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert "Permission denied" in find(ENTRIES["SUN"], homes(tmp_path)).missing


def test_looking_lists_no_folder(tmp_path, monkeypatch):
    miniatures.conventional(tmp_path, per_set=1)
    for name in ("scandir", "listdir", "walk"):
        monkeypatch.setattr(os, name, lambda *_: pytest.fail("a folder was listed"))
    assert set(here(tmp_path)) == CONVENTIONAL
