"""Which pictures `verify` reads, how often, and what else can happen while it does."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from pathlib import Path

import miniatures
import numpy as np
import pytest
from damage import (
    ANY,
    TENCH,
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

from negprompt.data import decoding
from negprompt.data.base import Source
from negprompt.data.conventional import ConventionalOOD
from negprompt.data.folder import FolderID, FolderOOD
from negprompt.data.imagenet import ImageNetID
from negprompt.data.listing import in_memory
from negprompt.data.verification import overlaps, sightings
from negprompt.data.verification.verify import Wanted, verify
from negprompt.errors import ConfigError
from negprompt.types import ImageSet

# --- what is read ----------------------------------------------------------------------------------------------------


def test_a_draw_reads_few_training_pictures_and_writes_no_draw(tree):
    report = look(tree, Wanted("draw", "any", seed=3))
    assert [(one.pictures, one.read) for one in report.sets[:3]] == [(9, 6), (6, 6), (3, 3)]
    assert not (tree / "manifests").exists()


def test_the_draw_that_is_read_is_the_one_that_runs_take(tree, monkeypatch):
    names = []
    see = sightings.see
    monkeypatch.setattr(
        "negprompt.data.verification.verify.see",
        lambda source, listing, *rest: names.append(list(listing.keys)) or see(source, listing, *rest),
    )
    for seed in (1, 2):
        look(tree, Wanted("draw", "any", seed=seed))
    taken = [list(imagenet(tree).load(seed).train.keys) for seed in (1, 2)]
    assert [names[0], names[6]] == taken
    assert taken[0] != taken[1]


def test_a_draw_from_too_few_pictures_still_reads_the_other_classes(tree):
    leave_one_picture(tree)
    report = look(tree, Wanted("draw", "any"))
    assert report.problems == (found(report, "train", f"{TENCH} (1)"),)
    assert report.sets[0].read == 4


def test_without_pictures_none_is_read(tree, monkeypatch):
    truncate(tree)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail(f"{self} was read"))
    report = look(tree, Wanted("none", "any"))
    assert report.problems == ()
    assert {one.read for one in report.sets} == {0}


def test_each_picture_is_decoded_once(tree, monkeypatch):
    calls = []
    monkeypatch.setattr(sightings, "decode", lambda *given: calls.append(1) or decoding.decode(*given))
    report = look(tree)
    assert len(calls) == sum(one.pictures for one in report.sets)


def test_progress_is_told_of_every_picture(tree):
    told = {}

    def progress(items, text, total):
        told[text] = (total, len(list(kept := list(items))))
        return kept

    look(tree, progress=progress)
    assert told["reading train"] == (9, 9)
    assert told["comparing sets"] == (9, 9)  # train with test, and both with each of four OOD sets


def test_any_number_of_threads_sees_the_same(tree):
    truncate(tree)
    listing = imagenet(tree).list_train()
    (source, _) = imagenet(tree).sources()
    one, other = (sightings.see(source, listing, lambda items, *_: items, threads) for threads in (1, 7))
    assert (one.sha256 == other.sha256).all()
    assert (one.looks == other.looks).all()
    assert (one.modes, one.faults) == (other.modes, other.faults)


def test_too_many_pictures_are_compared_by_the_draw_and_said_to_be(tree, monkeypatch):
    train, test = (tree / "imagenet_1k" / split / TENCH for split in ("train", "val"))
    for number in range(3):
        save(photo(10 + number), own(sorted(train.iterdir())[number]), quality=95)
        save(photo(10 + number), test / f"{number}.JPEG", quality=50)
    assert found(look(tree), "train and test", "3 pictures of test look like one of train")
    monkeypatch.setattr(overlaps, "_MOST_PAIRS", 60)  # 9 x 9 is more, 6 x 9 is not
    report = look(tree)
    found(report, "train and test", "2 pictures of test look like one of the few-shot draw of seed 1")
    found(report, "near duplicates", "in the few-shot draw of seed 1 only")
    assert report.severe == []
    monkeypatch.setattr(overlaps, "_MOST_PAIRS", 1)
    found(look(tree), "near duplicates", "only equal files were looked for", "train and test", "pictures=draw")


# --- trouble that is no damage ---------------------------------------------------------------------------------------


def test_files_without_permission_are_told_from_corrupt_ones(tree, monkeypatch):
    refused = first(tree / "SUN" / "images")
    read = Path.read_bytes

    def read_bytes(path):
        if path == refused:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    report = look(tree)
    problem = found(report, "SUN", "1 of 5 pictures cannot be read (Permission denied)", str(refused), "permissions")
    assert report.problems == (problem,)


def test_a_folder_that_cannot_be_listed_leaves_the_other_sets(tree, monkeypatch):
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("SUN/images"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = look(tree)
    assert report.problems == (found(report, "SUN", "SUN/images cannot be read (Permission denied)", "permissions"),)
    assert len(report.sets) == 5


def test_whatever_a_reader_raises_is_a_problem_of_its_set(tree, monkeypatch):
    monkeypatch.setattr(ImageNetID, "list_test", lambda _: {}["no such thing"])
    report = look(tree)
    assert report.problems == (found(report, "test", "KeyError: 'no such thing'", "docs/data.md"),)


def test_whatever_a_picture_raises_is_a_problem_of_that_picture(tree, monkeypatch):
    monkeypatch.setattr(sightings, "perceptual_hash", lambda image: np.zeros(3)[image.width])
    found(look(tree), "train", "9 of 9 pictures cannot be used", "IndexError")


def test_a_wrong_setting_is_no_damage(tree):
    with pytest.raises(ConfigError, match="unknown class"):
        verify(imagenet(tree, keep_classes=["n0"]), ConventionalOOD(name="conventional", data_root=str(tree)))
    with pytest.raises(ConfigError, match="unknown OOD set"):
        verify(imagenet(tree), ConventionalOOD(name="c", sets=["Sun"], data_root=str(tree)), ANY)


def test_pictures_of_every_size_and_name_are_looked_at(tmp_path):
    root = miniatures.folder(tmp_path / "own")
    for number, size in enumerate([(1, 1), (1, 300), (300, 1)]):
        Image.new("RGB", size).save(root / "train" / "cat" / f"{number}.png")
    name = os.fsdecode(b"caf\xe9 \x1b[31m.png")
    (root / "train" / "cat" / name).write_bytes(b"")
    miniatures.ood_folder(tmp_path / "ood")
    id_sets = FolderID(name="folder", num_shots=2, root=str(root))
    report = verify(id_sets, FolderOOD(name="folder", root=str(tmp_path / "ood")), ANY)
    assert report.problems == (found(report, "train", "is empty (0 bytes)", name),)


def test_an_interrupt_ends_the_look_at_once(tree, monkeypatch):
    started = []

    def interrupted(*given):
        started.append(given)
        if len(started) == 1:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return decoding.decode(*given)

    monkeypatch.setattr(sightings, "decode", interrupted)
    for number in range(200):
        (tree / "SUN" / "images" / f"{number}.jpg").write_bytes(b"no picture")
    with pytest.raises(KeyboardInterrupt):
        look(tree)
    assert len(started) < 100


def test_pictures_that_are_no_files_are_named_by_key_and_place():
    images = ImageSet("shard.tar", ["a/1", "b/2"], [b"", miniatures.picture(1)], [-1, -1])
    source = Source("set", "ood", lambda: None)
    seen = sightings.see(source, in_memory(images, ()), lambda items, *_: items)
    (problem,) = sightings.fault_problems(seen, "")
    assert problem.examples == ("a/1 (shard.tar, number 0)",)
    assert problem.fix == "Get them again, or remove them."


def test_hashes_are_those_of_the_pictures_that_could_be_read():
    encoded = [b"", miniatures.picture(1), b"no picture", miniatures.picture(2), miniatures.picture(3)]
    images = ImageSet("set", list("abcde"), encoded, [-1] * 5)
    seen = sightings.see(Source("set", "ood", lambda: None), in_memory(images, ()), lambda items, *_: items)
    assert list(seen.listing.keys) == ["b", "d", "e"]
    assert [row.tobytes() for row in seen.sha256] == [hashlib.sha256(encoded[row]).digest() for row in (1, 3, 4)]
    assert seen.unreadable == 2
