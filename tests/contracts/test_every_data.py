"""Holds for every data set and its OOD sets that have a yaml in conf/data and conf/ood, on miniatures."""

from __future__ import annotations

import functools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from negprompt.cli.build import build_request
from negprompt.data.base import load_split
from negprompt.data.contents import digests
from negprompt.data.folder import FolderID, FolderOOD
from negprompt.data.parts import parts_of
from negprompt.data.shards.prepare import prepare
from negprompt.errors import DataError

CONF = Path(__file__).parents[2] / "conf"
NO_YAML_IN_DATA = {"conventional": "imagenet_1k", "holdout_classes": "folder"}
MORE = {"holdout_classes": ["data.holdout_classes=0.3"]}

# Where each lies, by the beginning of its name; <...> stands for the folder of a miniature.
PLACES = {
    "conventional": ["ood.root=<conventional>", "data.root=<imagenet>"],
    "csv": ["data.file=<csv_file>/dataset.csv", "ood.file=<csv_file>/ood.csv"],
    "folder": ["data.root=<folder>", "ood.root=<ood_folder>"],
    "holdout_classes": ["data.root=<folder>"],
    "icons": ["data.root=<icons>"],
    "imagenet_1k": ["ood.root=<conventional>", "data.root=<imagenet>"],
    "imagenet_hard": ["data.root=<imagenet>"],
    "imglist": [
        "data.root=<imglist_files>/pictures",
        "data.train_list=<imglist_files>/lists/train.txt",
        "data.test_list=<imglist_files>/lists/test.txt",
        "ood.root=<imglist_files>/pictures",
        "ood.lists.textures=<imglist_files>/lists/textures.txt",
        "ood.lists.nature=<imglist_files>/lists/nature.txt",
    ],
    "openood": ["data.root=<openood>", "data.train_root=<imagenet>"],
    "tiny_imagenet": ["data.root=<tiny_imagenet>"],
    "webdataset": [
        "data.train=<shards>/train-000000.tar",
        "data.test=<shards>/test-000000.tar",
        "ood.shards_of.textures=<shards>/ood-textures-000000.tar",
    ],
}
TREES = (
    "conventional",
    "csv_file",
    "folder",
    "icons",
    "imagenet",
    "imglist_files",
    "ood_folder",
    "openood",
    "shards",
    "tiny_imagenet",
)
FOUND = sorted({path.stem for group in ("data", "ood") for path in (CONF / group).glob("*.yaml")})
NAMES = [name for name in FOUND if name != "none"]  # ood=none is the lack of a set: tests/detection


@pytest.fixture(scope="module")
def shards(trees, tmp_path_factory) -> Path:
    """Shards of a folder of one's own, as anybody's."""
    output = tmp_path_factory.mktemp("shards") / "written"
    id_sets = FolderID(name="folder", num_shots=1, root=str(trees("folder")))
    parts = parts_of(id_sets, FolderOOD(name="folder", root=str(trees("ood_folder"))), train="all", seed=1)
    return prepare(parts.sets, parts.classes, output, name="folder").folder


@pytest.fixture(scope="module")
def home(trees, shards):
    """Folder of a miniature."""

    def at(tree: str) -> Path:
        if tree == "icons":
            return Path(__file__).parents[2] / "src" / "negprompt" / "data" / "resources" / "icons"
        if tree == "shards":
            return shards
        return trees(tree, **({"train_per_class": 3, "val": "folders"} if tree == "imagenet" else {}))

    return at


@pytest.fixture(scope="module")
def elsewhere(home, tmp_path_factory):
    """A copy of a miniature at another place, its files made in the opposite order."""

    @functools.cache
    def at(tree: str) -> Path:
        root = tmp_path_factory.mktemp("elsewhere") / "deep" / tree
        for path in sorted(home(tree).rglob("*"), reverse=True):
            if path.is_file():
                copy = root / path.relative_to(home(tree))
                copy.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(path, copy)
                except OSError:
                    shutil.copy(path, copy)
        return root

    return at


@functools.cache
def composed(name: str) -> str:
    """What `negprompt train` makes of the option's yaml, as text with <...> in place of folders."""
    (known,) = (known for known in PLACES if name.startswith(known))
    data = NO_YAML_IN_DATA.get(name, name)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        places = ["++{}='{}'".format(*place.split("=")) for place in PLACES[known]]
        overrides = [f"data={data}", f"ood={name}", "data.num_shots=1", *places, *MORE.get(name, [])]
        overrides += ["paths.runs_dir='<runs>'", "paths.cache_dir='<cache>'"]
        return json.dumps(OmegaConf.to_container(compose("train", overrides), resolve=True))


def built(name: str, at, scratch: Path):
    """Settings of both sides."""
    text = composed(name)
    for tree in TREES:
        if f"<{tree}>" in text:
            text = text.replace(f"<{tree}>", str(at(tree)))
    wanted = build_request(json.loads(text.replace("<runs>", str(scratch)).replace("<cache>", str(scratch / "cache"))))
    return wanted.data, wanted.ood


@pytest.fixture(scope="module", params=NAMES)
def case(request, home, tmp_path_factory):
    """Name, settings of both sides, and the split of seed 1."""
    data, ood = built(request.param, home, tmp_path_factory.mktemp("runs"))
    return request.param, data, ood, load_split(data, ood, 1)


def seen(images) -> tuple[object, ...]:
    return list(images.keys), list(images.labels), digests(images.encoded).tobytes()


def test_each_option_of_the_papers_benchmarks_is_there():
    hard = {f"imagenet_hard_{number}" for number in (1, 2, 3, 4)}
    own = {"folder", "csv", "imglist", "webdataset"}
    assert hard | own | {"imagenet_1k", "conventional", "openood", "tiny_imagenet"} <= set(NAMES)


def test_labels_are_those_of_the_classes_and_minus_one_for_ood(case):
    _, _, _, split = case
    assert set(split.train.labels) == set(range(split.num_train_classes))
    assert set(split.test.labels) == set(range(len(split.class_names)))
    for images in split.ood.values():
        assert len(images.keys) > 0
        assert set(images.labels) == {-1}
    for images in (split.train, split.test, *split.ood.values()):
        assert len(images.keys) == len(images.labels) == len(images.encoded)
        assert len(set(images.keys)) == len(images.keys)
        assert images.dropped == 0


def test_every_training_class_has_its_shot(case):
    _, data, _, split = case
    assert np.array_equal(np.bincount(split.train.labels), np.full(split.num_train_classes, data.num_shots))


def test_no_picture_is_on_two_sides(case):
    _, _, _, split = case
    sides = [digests(images.encoded) for images in (split.train, split.test, *split.ood.values())]
    contents = np.concatenate(sides)
    assert len(np.unique(contents, axis=0)) == len(contents)


def test_a_seed_draws_the_same_again_and_another_draws_otherwise(case):
    _, data, _, split = case
    fresh = data.model_copy(update={"manifests_dir": None, "cache_dir": None})
    assert seen(fresh.load(1).train) == seen(split.train)
    others = (fresh.load(seed).train.keys for seed in range(2, 8))
    assert any(list(keys) != list(split.train.keys) for keys in others)


def test_the_hash_is_the_same_again_and_wherever_the_pictures_lie(case, elsewhere, tmp_path):
    name, data, ood, split = case
    assert load_split(data, ood, 1).sha256 == split.sha256
    assert load_split(*built(name, elsewhere, tmp_path), 1).sha256 == split.sha256


def test_another_place_is_the_same_request(case, home, elsewhere, tmp_path):
    name, data, ood, _ = case
    moved = built(name, elsewhere, tmp_path)
    for here, there in zip((data, ood), moved, strict=True):
        payload = json.dumps(here.hash_payload())
        assert payload == json.dumps(there.hash_payload())
        assert str(home("folder").parents[1]) not in payload
        assert str(CONF.parent) not in payload


def test_a_folder_that_is_not_there_names_the_setting(case, tmp_path):
    name = case[0]
    for side, settings in zip(("data", "ood"), built(name, lambda tree: tmp_path / tree, tmp_path), strict=True):
        with pytest.raises(DataError, match=rf"({side}|data)\.[a-z_]+") as error:
            settings.check()
        assert str(tmp_path) in str(error.value)
