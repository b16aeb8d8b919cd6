"""A remembered listing is the one that a fresh look gives, whatever happened to the folder in between."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from negprompt.data import cache, tree
from negprompt.data.tree import PICTURES, Tree, list_tree
from negprompt.errors import DataError

LONG_AGO = time.time() - 3600
FILES = ("b/2.jpg", "b/10.JPEG", "a/x.png", "a/deep/y.webp", "top.gif")


@pytest.fixture
def root(tmp_path) -> Path:
    for name in FILES:
        put(tmp_path / "data" / name)
    return settle(tmp_path / "data")


@pytest.fixture(autouse=True)
def _nothing_said_yet(monkeypatch):
    monkeypatch.setattr(cache, "_said", set())


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def settle(root: Path) -> Path:
    """Make all folders look as if they had not been changed for an hour."""
    for folder, _, _ in os.walk(root):
        os.utime(folder, (LONG_AGO, LONG_AGO))
    return root


def seen(found: Tree) -> tuple[object, ...]:
    return list(found.paths), found.counts(), found.strangers


def by_walking(root: Path) -> list[str]:
    """What the standard library finds."""
    found = []
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            (Path(folder).relative_to(root).as_posix(), name)
            for name in names
            if Path(name).suffix.lower() in PICTURES and not name.startswith(".")
        ]
    return sorted((Path(folder) / name).as_posix() for folder, name in found)


@pytest.fixture
def walks(monkeypatch) -> list[Path]:
    """Roots that were looked at anew."""
    roots: list[Path] = []
    walk = tree._walk
    monkeypatch.setattr(tree, "_walk", lambda root: roots.append(root) or walk(root))
    return roots


def test_every_picture_is_found_with_its_folder(root):
    found = list_tree(root)
    assert sorted(found.paths) == sorted(FILES) == by_walking(root)
    assert found.counts() == {"": 1, "a": 1, "a/deep": 1, "b": 2}
    assert list(found.paths) == ["top.gif", "a/x.png", "a/deep/y.webp", "b/10.JPEG", "b/2.jpg"]


def test_a_real_tree_is_found_whole(trees):
    for name in ("openood", "conventional", "folder", "tiny_imagenet"):
        found = list_tree(trees(name))
        assert sorted(found.paths) == by_walking(trees(name))
        assert found.strangers == sum(
            path.is_file() and path.suffix.lower() not in PICTURES for path in trees(name).rglob("*")
        )


def test_paths_can_be_asked_for_one_by_one_or_in_slices(root):
    paths = list_tree(root).paths
    whole = list(paths)
    assert [paths[place] for place in range(-5, 5)] == whole * 2
    for part in (slice(1, 4), slice(None, None, -1), slice(-2, None), slice(0, 5, 2), slice(3, 3)):
        assert paths[part] == whole[part]


def test_other_files_are_counted_and_hidden_ones_are_not(root):
    for name in ("notes.txt", "a/Thumbs.db", "b/jpg"):
        put(root / name)
    for name in (".hidden.jpg", "a/._x.png", ".git/x.jpg"):
        put(root / name)
    (root / "folder.jpg").mkdir()
    found = list_tree(root)
    assert sorted(found.paths) == sorted(FILES)
    assert found.strangers == 3
    assert found.counts()["folder.jpg"] == 0


def test_an_empty_folder_is_one_of_the_folders(root):
    (root / "empty").mkdir()
    assert list_tree(root).counts()["empty"] == 0


def test_the_order_of_creation_has_no_say(tmp_path, root):
    for name in reversed(FILES):
        put(tmp_path / "again" / name)
    assert list(list_tree(tmp_path / "again").paths) == list(list_tree(root).paths)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"There is no folder .*nowhere"):
        list_tree(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_read_is_named(root, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"a/deep cannot be read \(Permission denied\): check its permissions"):
        list_tree(root)


# --- links ---------------------------------------------------------------------------------------------------------


def test_links_to_a_folder_above_end(root):
    (root / "a" / "up").symlink_to(root)
    (root / "b" / "self").symlink_to(root / "b")
    assert sorted(list_tree(root).paths) == sorted(FILES)


def test_a_link_beside_its_folder_leaves_the_folder_its_pictures(root):
    (root / "0").symlink_to(root / "b")
    assert list_tree(root).counts() == {"": 1, "0": 2, "a": 1, "a/deep": 1, "b": 2}


def test_folders_that_are_linked_there_from_elsewhere_are_followed(tmp_path, root):
    put(tmp_path / "elsewhere" / "deep" / "z.jpg")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    assert "c/deep/z.jpg" in list_tree(root).paths


# --- the cache -----------------------------------------------------------------------------------------------------


def test_an_unchanged_folder_is_not_listed_again(tmp_path, root, walks):
    first = list_tree(root, tmp_path / "cache")
    second = list_tree(root, tmp_path / "cache")
    assert len(walks) == 1
    assert seen(first) == seen(second)
    assert np.array_equal(first.folder_of, second.folder_of)


CHANGES = {
    "add a picture": lambda root: put(root / "a" / "deep" / "new.jpg"),
    "add a stranger": lambda root: put(root / "b" / "notes.txt"),
    "remove a picture": lambda root: (root / "b" / "2.jpg").unlink(),
    "rename a picture": lambda root: (root / "b" / "2.jpg").rename(root / "b" / "3.jpg"),
    "move a picture": lambda root: (root / "b" / "2.jpg").rename(root / "a" / "2.jpg"),
    "add a folder": lambda root: (root / "a" / "empty").mkdir(),
    "add a folder with a picture": lambda root: put(root / "c" / "new.jpg"),
    "remove a folder": lambda root: shutil.rmtree(root / "a" / "deep"),
    "rename a folder": lambda root: (root / "b").rename(root / "d"),
    "swap two folders": lambda root: [
        (root / one).rename(root / two) for one, two in (("a", "t"), ("b", "a"), ("t", "b"))
    ],
    "a file in place of a folder": lambda root: [shutil.rmtree(root / "b"), put(root / "b")],
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(tmp_path, root, change):
    before = list_tree(root, tmp_path / "cache")
    CHANGES[change](root)
    after = list_tree(root, tmp_path / "cache")
    assert seen(after) == seen(list_tree(root))
    assert seen(after) != seen(before)
    assert sorted(after.paths) == by_walking(root)


def test_a_folder_changed_right_before_it_was_listed_is_not_trusted(tmp_path, root, walks):
    # A file made within the resolution of the clock changes no time of change.
    put(root / "b" / "late.jpg")
    now = time.time()
    os.utime(root / "b", (now, now))
    list_tree(root, tmp_path / "cache")
    put(root / "b" / "later.jpg")
    os.utime(root / "b", (now, now))
    assert "b/later.jpg" in list_tree(root, tmp_path / "cache").paths
    assert len(walks) == 2


def test_a_settled_folder_is_trusted_from_then_on(tmp_path, root, walks):
    put(root / "b" / "late.jpg")
    list_tree(root, tmp_path / "cache")
    settle(root)
    for _ in range(3):
        assert "b/late.jpg" in list_tree(root, tmp_path / "cache").paths
    assert len(walks) == 2


def test_names_that_are_not_utf8_are_remembered(tmp_path, root, walks):
    name = os.fsdecode(b"caf\xe9")
    put(root / name / f"{name}.jpg")
    settle(root)
    first = list_tree(root, tmp_path / "cache")
    assert f"{name}/{name}.jpg" in first.paths
    assert seen(list_tree(root, tmp_path / "cache")) == seen(first)
    assert len(walks) == 1


def test_two_folders_have_listings_of_their_own(tmp_path, root):
    put(tmp_path / "other" / "z.jpg")
    settle(tmp_path / "other")
    for _ in range(2):
        assert list(list_tree(tmp_path / "other", tmp_path / "cache").paths) == ["z.jpg"]
        assert sorted(list_tree(root, tmp_path / "cache").paths) == sorted(FILES)


def _garbage(entry: Path) -> None:
    entry.write_bytes(b"no archive")


def _truncated(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:-200])


def _foreign(entry: Path) -> None:
    with entry.open("wb") as file:
        np.savez(file, other=np.arange(3))


def _newer(entry: Path) -> None:
    with np.load(entry) as stored:
        arrays = {**stored, "schema": np.array(99)}
    with entry.open("wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize("damage", [_garbage, _truncated, _foreign, _newer])
def test_a_damaged_listing_is_made_again(tmp_path, root, walks, damage):
    list_tree(root, tmp_path / "cache")
    (entry,) = (tmp_path / "cache").rglob("*.npz")
    damage(entry)
    assert sorted(list_tree(root, tmp_path / "cache").paths) == sorted(FILES)
    list_tree(root, tmp_path / "cache")
    assert len(walks) == 2


def test_a_cache_that_cannot_be_written_is_said_once_and_costs_nothing_else(tmp_path, root, caplog):
    put(tmp_path / "cache")
    put(tmp_path / "other" / "z.jpg")
    with caplog.at_level(logging.WARNING):
        for folder in (root, tmp_path / "other", root):
            assert sorted(list_tree(folder, tmp_path / "cache").paths) == by_walking(folder)
    (said,) = caplog.messages
    assert "paths.cache_dir=" in said
    assert str(tmp_path / "cache") in said


def test_a_cache_that_cannot_be_read_is_said_once(tmp_path, root, caplog, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "load", refuse)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert sorted(list_tree(root, tmp_path / "cache").paths) == sorted(FILES)
    (said,) = caplog.messages
    assert "cannot be read (Permission denied): set another paths.cache_dir=" in said
