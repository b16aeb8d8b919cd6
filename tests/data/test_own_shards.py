"""Shards that others made: what webdataset reads is what a run gets, and what is wrong in them is named."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import time

import numpy as np
import pytest
import webdataset
from helpers import encoded, picture, write_shard
from shard_folders import CLASSES, SHOTS, ToysID, listings, prepared, serving, write_pictures

from negprompt.data import own_shards
from negprompt.data.base import load_split
from negprompt.data.contents import digests
from negprompt.data.own_shards import WebDatasetID, WebDatasetOOD
from negprompt.data.shards import fetch
from negprompt.data.shards.specs import shards_of
from negprompt.errors import ConfigError, DataError

COUNT = 6


def image(number, kind="png"):
    return encoded(picture(number % 3 / 3, number, (12, 12)), kind)


def sample(number, **members):
    """Members of a picture; class i mod 3."""
    given = {"cls": str(number % 3), "png": image(number), **members}
    return [
        (f"{number:04d}.{ending.replace('_', '.')}", content if isinstance(content, bytes) else content.encode())
        for ending, content in given.items()
        if content is not None
    ]


def write(path, numbers, **members):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_shard(path, [member for number in numbers for member in sample(number, **members)])


@pytest.fixture
def folder(tmp_path):
    """Two training shards, a test shard, an OOD shard."""
    root = tmp_path / "shards"
    for number in range(2):
        write(root / f"train-{number:03d}.tar", range(COUNT * number, COUNT * (number + 1)))
    write(root / "test-000.tar", range(100, 103))
    write(root / "sky.tar", range(200, 204), cls=None)
    return root


def toys(folder, **changes):
    given = {"train": f"{folder}/train-{{000..001}}.tar", "test": f"{folder}/test-000.tar", **changes}
    return WebDatasetID(**{"name": "toys", "num_shots": SHOTS, **given})


def sky(folder, **changes):
    return WebDatasetOOD(**{"name": "skies", "shards_of": {"sky": f"{folder}/sky.tar"}, **changes})


def one(tmp_path, members):
    """A data set whose training shard has these members."""
    write(tmp_path / "test.tar", range(3))
    write_shard(tmp_path / "train.tar", members)
    return WebDatasetID(name="toys", num_shots=1, train=str(tmp_path / "train.tar"), test=str(tmp_path / "test.tar"))


# --- what is read --------------------------------------------------------------------------------------------------


def test_pictures_and_labels_are_what_webdataset_reads(folder):
    listing = toys(folder).list_train()
    urls = [str(folder / f"train-{number:03d}.tar") for number in range(2)]
    expected = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    assert list(listing.contents) == [sample["png"] for sample in expected]
    assert [listing.classes[place] for place in listing.class_of] == [sample["cls"].decode() for sample in expected]
    shards = [place // COUNT for place in range(2 * COUNT)]
    assert list(listing.keys) == [f"train-{shard:03d}/{place:04d}" for place, shard in enumerate(shards)]
    assert np.array_equal(listing.contents.known, digests(list(listing.contents)))


def test_a_run_gets_a_draw_test_pictures_and_ood_sets(folder):
    split = load_split(toys(folder), sky(folder), seed=1)
    assert split.class_names == ("0", "1", "2")
    assert sorted(split.train.labels) == [0, 0, 1, 1, 2, 2]
    assert split.test.labels == [100 % 3, 101 % 3, 102 % 3]
    assert list(split.ood["sky"].encoded) == [image(number) for number in range(200, 204)]
    assert split.ood["sky"].labels == [-1] * 4


@pytest.mark.parametrize(
    "spec",
    [
        "{}/train-*.tar",
        "{}/train-{{000..001}}.tar",
        "{}/train-000.tar::{}/train-001.tar",
        "pipe:cat {}/train-{{000..001}}.tar",
    ],
)
def test_patterns_globs_lists_and_commands_name_the_same_shards(folder, tmp_path, spec):
    listing = toys(folder, train=spec.format(folder, folder), cache_dir=str(tmp_path / "cache")).list_train()
    expected = toys(folder).list_train()
    assert list(listing.keys) == list(expected.keys)
    assert list(listing.contents) == list(expected.contents)


def test_a_folder_stands_for_its_shards_in_the_order_of_their_names(folder):
    names = [name.rpartition("/")[2] for name in shards_of(str(folder), "data.train")]
    assert names == ["sky.tar", "test-000.tar", "train-000.tar", "train-001.tar"]


def test_a_path_with_braces_in_it_may_be_a_path(folder):
    strange = folder.parent / "a {1,2}"
    folder.rename(strange)
    assert shards_of(str(strange / "sky.tar"), "data.train") == (str(strange / "sky.tar"),)


def test_shards_behind_an_address_are_fetched_once_into_the_cache(folder, tmp_path):
    with serving(folder) as server:
        data = toys(server.url, cache_dir=str(tmp_path / "cache"))
        for _ in range(2):
            split = load_split(data, sky(server.url, cache_dir=str(tmp_path / "cache")), seed=1)
            list(split.train.encoded)
        assert sorted(server.asked) == ["sky.tar", "test-000.tar", "train-000.tar", "train-001.tar"]
    assert split.sha256 == load_split(toys(folder), sky(folder), seed=1).sha256


def test_whole_numbers_are_classes_in_the_order_of_their_value(tmp_path):
    members = [member for number in (10, 9, 2) for member in sample(number, cls=f"{number:03d}\n")]
    assert one(tmp_path, members).all_classes().keys == ("0", "1", "2", "9", "10")


@pytest.mark.parametrize(
    ("label", "members"),
    [
        ("json.label", {"cls": None, "json": json.dumps({"label": "golden_retriever"})}),
        ("json.meta.kind", {"cls": None, "json": json.dumps({"meta": {"kind": "golden_retriever"}})}),
        ("txt", {"cls": None, "txt": "golden_retriever\n"}),
        ("label.txt", {"cls": None, "label_txt": "golden_retriever"}),
    ],
)
def test_a_label_may_be_text_in_a_member_or_a_field(tmp_path, label, members):
    write(tmp_path / "a.tar", range(2), **members)
    write(tmp_path / "b.tar", range(2), **members)
    data = toys(tmp_path, train=f"{tmp_path}/a.tar", test=f"{tmp_path}/b.tar", label=label)
    assert data.all_classes() == (("golden_retriever",), ("golden retriever",))


def test_names_come_from_the_json_or_from_a_file_by_label(folder, tmp_path):
    write(tmp_path / "a.tar", [0, 2], json=json.dumps({"class_name": "honey bee"}))
    data = toys(folder, test=f"{tmp_path}/a.tar")
    assert data.classes().names == ("honey bee", "1", "honey bee")
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    assert toys(folder, class_names=str(tmp_path / "names.txt")).classes().names == ("ant", "bee", "cat")


def test_a_line_of_the_names_belongs_to_its_number_also_where_no_sample_has_it(folder, tmp_path):
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\ndog\n")
    data = toys(folder, class_names=str(tmp_path / "names.txt"))
    assert data.classes() == (("0", "1", "2", "3"), ("ant", "bee", "cat", "dog"))
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    with pytest.raises(DataError, match="has 2 names and there are 3 classes"):
        data.classes()


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "bmp", "gif", "tiff", "ppm"])
def test_pictures_may_have_any_of_the_formats(tmp_path, kind):
    content = image(1, kind)
    data = one(tmp_path, [("1.cls", b"1"), (f"1.{kind.upper()}", content), ("1.npy", b"others")])
    assert list(data.list_train().contents) == [content]


def test_a_sample_with_two_pictures_gives_the_first_format(tmp_path):
    members = [("1.png", image(1)), ("1.jpg", image(1, "jpeg")), ("1.cls", b"1")]
    assert list(one(tmp_path, members).list_train().contents) == [image(1, "jpeg")]


def test_keys_in_folders_and_files_that_are_no_samples_are_as_in_webdataset(tmp_path):
    members = [("__meta__/a.json", b"{}"), ("README", b"words"), ("a.b/1.png", image(1)), ("a.b/1.cls", b"1")]
    assert list(one(tmp_path, members).list_train().keys) == ["train/a.b/1"]


def test_prepared_shards_can_be_read_as_anybody_s(tmp_path):
    root = write_pictures(tmp_path / "pictures")
    prepared(root, tmp_path / "made")
    data = WebDatasetID(
        name="toys", num_shots=2, train=f"{tmp_path}/made/train-*.tar", test=f"{tmp_path}/made/test-*.tar"
    )
    assert data.classes().names == CLASSES.names
    files = ToysID(name="toys", num_shots=2, root=str(root)).list_train()
    own = data.list_train()
    found = dict(zip(map(bytes, own.contents), own.class_of.tolist(), strict=True))
    assert found == dict(zip(map(bytes, files.contents), files.class_of.tolist(), strict=True))
    assert len(own) == len(listings(root)["train"])


# --- remembered ----------------------------------------------------------------------------------------------------


def test_shards_are_looked_at_once_and_again_when_they_change(folder, tmp_path, monkeypatch):
    looks = []
    scan = own_shards.scan
    monkeypatch.setattr("negprompt.data.own_shards.scan", lambda *args: looks.append(args[0].name) or scan(*args))
    cache = str(tmp_path / "cache")
    forget()
    first = toys(folder, cache_dir=cache).list_train()
    forget()
    again = toys(folder, cache_dir=cache).list_train()
    assert sorted(looks) == ["train-000.tar", "train-001.tar"]
    assert list(again.keys) == list(first.keys)
    assert again.class_of.tolist() == first.class_of.tolist()
    assert list(again.contents) == list(first.contents)
    write(folder / "train-001.tar", range(COUNT, 2 * COUNT - 1))
    os.utime(folder / "train-001.tar", (time.time() + 5, time.time() + 5))
    assert len(toys(folder, cache_dir=cache).list_train()) == 2 * COUNT - 1
    assert sorted(looks) == ["train-000.tar", "train-001.tar", "train-001.tar"]


def forget():
    """What this process remembers, as a new one would."""
    own_shards._scan.cache_clear()


# --- what is wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("7.cls", b"1"), ("7.txt", b"a")], r"Sample '7' of shard .*train\.tar has no picture .* only \.cls, \.txt"),
        (
            [("7.png", image(1)), ("7.txt", b"a")],
            r"Sample '7' .* has no \.cls member with its label, only \.png, \.txt",
        ),
        ([("7.png", image(1)), ("7.cls", b"dog")], r"Sample '7' .* label 'dog' in \.cls: write a whole number"),
        ([("7.png", image(1)), ("7.cls", b"-1")], r"Sample '7' .* label '-1' in \.cls"),
        ([("7.png", image(1)), ("7.cls", b"1"), ("7.json", b"{")], r"Sample '7' .* has a damaged \.json"),
        ([*sample(7), *sample(8), *sample(7)], r"Shard .*train\.tar has two samples of key '0007'"),
        ([*sample(7), ("0007.PNG", image(1))], r"Shard .*train\.tar has two \.png members of key '0007'"),
    ],
)
def test_a_sample_that_lacks_something_is_named_with_shard_and_key(tmp_path, members, message):
    with pytest.raises(DataError, match=message):
        one(tmp_path, members).list_train()


@pytest.mark.parametrize("value", [None, True, 1.5, "", ["a"]])
def test_a_json_field_that_is_no_label_is_named(tmp_path, value):
    write(tmp_path / "a.tar", [7], json=json.dumps({"label": value}))
    data = toys(tmp_path, train=f"{tmp_path}/a.tar", label="json.label")
    with pytest.raises(DataError, match=r"Sample '0007' of shard .*a\.tar has no label in json\.label .*data\.label"):
        data.list_train()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.77, 0.9])
def test_a_shard_that_ends_early_is_named(folder, share):
    path = folder / "train-001.tar"
    whole = path.read_bytes()
    used = max(place for place, byte in enumerate(whole) if byte)
    path.write_bytes(whole[: int(share * used)])
    with pytest.raises(DataError, match=r"Shard .*train-001\.tar cannot be read .*: copy it again"):
        toys(folder).list_train()


def test_a_shard_that_ends_between_two_samples_is_named_with_the_last(tmp_path):
    data = one(tmp_path, [*sample(7), *sample(8)])
    path = tmp_path / "train.tar"
    path.write_bytes(path.read_bytes()[: _end_of_first(path)])
    with pytest.raises(DataError, match=r"train\.tar cannot be read after sample '0007' \(it ends too early\)"):
        data.list_train()


def _end_of_first(path):
    with tarfile.open(path) as archive:
        return archive.getmembers()[2].offset


def test_a_packed_shard_is_refused_with_its_format(folder):
    path = folder / "sky.tar"
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match=r"sky\.tar is packed with gzip.*: unpack it to a \.tar"):
        sky(folder).list_set("sky")


def test_something_that_is_no_tar_is_refused(folder):
    (folder / "sky.tar").write_bytes(b"<html>" * 500)
    with pytest.raises(DataError, match=r"Shard .*sky\.tar cannot be read"):
        sky(folder).list_set("sky")


def test_shards_that_are_not_there_are_named_with_their_setting(folder):
    with pytest.raises(DataError, match=r"data\.train: there is no shard .*train-002\.tar"):
        toys(folder, train=f"{folder}/train-{{000..002}}.tar").check()
    with pytest.raises(DataError, match=r"data\.test: there is no shard .*nothing-\*\.tar"):
        toys(folder, test=f"{folder}/nothing-*.tar").check()
    with pytest.raises(ConfigError, match=r"data=webdataset needs data\.test="):
        toys(folder, test=None).check()


def test_a_prepared_folder_is_refused_with_the_setting_for_it(tmp_path):
    prepared(write_pictures(tmp_path / "pictures"), tmp_path / "made")
    with pytest.raises(DataError, match=r"data\.train=.*made is a folder of prepared shards: set data\.shards"):
        shards_of(str(tmp_path / "made"), "data.train")


def test_two_shards_of_one_name_are_refused(folder, tmp_path):
    write(tmp_path / "other" / "sky.tar", [1])
    with pytest.raises(DataError, match="two shards are called sky"):
        shards_of(f"{folder}/sky.tar::{tmp_path}/other/sky.tar", "data.train")


def test_unknown_and_no_ood_sets_are_refused(folder):
    with pytest.raises(ConfigError, match=r"unknown OOD set 'skies'; did you mean 'sky'\?"):
        sky(folder, sets=["skies"]).check()
    with pytest.raises(ConfigError, match=r"ood=webdataset needs ood\.shards_of"):
        sky(folder, shards_of={}).check()


def test_where_shards_lie_is_not_part_of_a_request_but_the_sets_are(folder, tmp_path):
    assert toys(folder).hash_payload() == toys(tmp_path).hash_payload()
    assert sky(folder).hash_payload() == sky(tmp_path).hash_payload()
    assert sky(folder, shards_of={"sky": "a", "sea": "b"}).hash_payload() != sky(folder).hash_payload()


def test_a_corrupt_sample_is_left_out_on_request_and_named(tmp_path, caplog):
    write(tmp_path / "shards" / "train-000.tar", range(COUNT))
    write(tmp_path / "shards" / "train-001.tar", range(COUNT, 2 * COUNT))
    write(tmp_path / "shards" / "test-000.tar", range(3))
    whole = image(5)
    write(tmp_path / "shards" / "sky.tar", [4], cls=None)
    write_shard(tmp_path / "shards" / "sky.tar", [("4.png", whole), ("5.png", whole[: len(whole) // 2])])
    split = load_split(toys(tmp_path / "shards"), sky(tmp_path / "shards", corrupt="skip"), seed=1)
    assert (split.ood["sky"].dropped, list(split.ood["sky"].keys)) == (1, ["sky/4"])
    assert "sky.tar, key sky/5" in caplog.text


def test_a_remote_shard_that_is_gone_is_said(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "_WAITS", (0.0, 0.0))
    with serving(folder) as server:
        data = toys(server.url, test=f"{server.url}/gone.tar", cache_dir=str(tmp_path / "cache"))
        with pytest.raises(DataError, match=r"/gone\.tar cannot be fetched: curl ended with exit code 22"):
            data.list_test()
