"""What a look at files finds, what it remembers, and how often it reads."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from miniatures import empty, not_a_picture, picture, truncate

from negprompt.data import cache
from negprompt.data.contents import Files
from negprompt.data.listing import Listing, of_rows
from negprompt.data.looked import looked_at, missing
from negprompt.errors import DataError

NAMES = tuple(f"{number}.jpg" for number in range(6))


@pytest.fixture
def root(tmp_path) -> Path:
    for name in NAMES:
        put(tmp_path / "data" / name, "set", name)
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _nothing_said_yet(monkeypatch):
    monkeypatch.setattr(cache, "_said", set())


def put(path: Path, *identity: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(picture(*identity))


def listing(root: Path, names=NAMES) -> Listing:
    return of_rows(root, [(name, name, "cat") for name in names])


def looked(root: Path, cache_dir: Path | None = None, corrupt="stop", names=NAMES) -> Listing:
    return looked_at(listing(root, names), "folder/test", cache_dir, corrupt)


def hashes(found: Listing) -> list[str]:
    assert found.contents.known is not None
    return [digest.tobytes().hex() for digest in found.contents.known]


def truth(root: Path, names=NAMES) -> list[str]:
    return [hashlib.sha256((root / name).read_bytes()).hexdigest() for name in names]


@pytest.fixture
def reads(monkeypatch) -> Counter[str]:
    """How often each file was read."""
    counted: Counter[str] = Counter()
    read = Files.read

    def counting(self: Files, row: int) -> bytes:
        counted[self.paths[row]] += 1
        return read(self, row)

    monkeypatch.setattr(Files, "read", counting)
    return counted


@pytest.mark.parametrize("corrupt", ["stop", "skip"])
@pytest.mark.parametrize("cached", [False, True])
def test_hashes_are_those_of_the_files(tmp_path, root, corrupt, cached):
    for _ in range(2):
        assert hashes(looked(root, tmp_path / "cache" if cached else None, corrupt)) == truth(root)


@pytest.mark.parametrize("corrupt", ["stop", "skip"])
def test_what_was_read_once_is_not_read_again(tmp_path, root, reads, corrupt):
    for _ in range(3):
        looked(root, tmp_path / "cache", corrupt)
    assert reads == dict.fromkeys(NAMES, 1)


def test_without_a_cache_everything_is_read_each_time(root, reads):
    looked(root)
    looked(root)
    assert reads == dict.fromkeys(NAMES, 2)


def test_asking_whether_pictures_decode_reads_them_once_more(tmp_path, root, reads):
    looked(root, tmp_path / "cache")
    for corrupt in ("skip", "stop", "skip"):
        assert hashes(looked(root, tmp_path / "cache", corrupt)) == truth(root)
    assert reads == dict.fromkeys(NAMES, 2)


def test_a_file_of_another_size_is_read_anew(tmp_path, root, reads):
    looked(root, tmp_path / "cache")
    time = (root / "2.jpg").stat().st_mtime_ns
    with (root / "2.jpg").open("ab") as file:
        file.write(b"\0")
    os.utime(root / "2.jpg", ns=(time, time))
    assert hashes(looked(root, tmp_path / "cache")) == truth(root)
    assert reads == dict.fromkeys(NAMES, 1) | {"2.jpg": 2}


def test_a_file_changed_at_another_time_is_read_anew(tmp_path, root, reads):
    looked(root, tmp_path / "cache")
    before = (root / "2.jpg").stat()
    (root / "2.jpg").write_bytes((root / "2.jpg").read_bytes()[::-1])
    os.utime(root / "2.jpg", ns=(before.st_mtime_ns + 1000, before.st_mtime_ns + 1000))
    assert (root / "2.jpg").stat().st_size == before.st_size
    assert hashes(looked(root, tmp_path / "cache")) == truth(root)
    assert reads == dict.fromkeys(NAMES, 1) | {"2.jpg": 2}


def test_what_was_read_before_an_interruption_is_kept(tmp_path, root, monkeypatch, reads):
    counting = Files.read

    def broken(self: Files, row: int) -> bytes:
        if row == 4:
            raise KeyboardInterrupt
        return counting(self, row)

    monkeypatch.setattr(Files, "read", broken)
    with pytest.raises(KeyboardInterrupt):
        looked(root, tmp_path / "cache")
    monkeypatch.setattr(Files, "read", counting)
    assert hashes(looked(root, tmp_path / "cache")) == truth(root)
    assert [reads[name] for name in NAMES[:4]] == [1, 1, 1, 1]


def test_other_pictures_of_the_same_folder_are_remembered_apart(tmp_path, root):
    assert hashes(looked(root, tmp_path / "cache", names=NAMES[:3])) == truth(root, NAMES[:3])
    assert hashes(looked(root, tmp_path / "cache", names=NAMES[3:])) == truth(root, NAMES[3:])
    assert hashes(looked(root, tmp_path / "cache", names=NAMES[2::-1])) == truth(root, NAMES[2::-1])


def test_a_damaged_memory_is_made_again(tmp_path, root):
    looked(root, tmp_path / "cache")
    (entry,) = (tmp_path / "cache").rglob("*.npz")
    entry.write_bytes(entry.read_bytes()[:100])
    assert hashes(looked(root, tmp_path / "cache")) == truth(root)


def test_a_cache_that_cannot_be_written_is_said_once(tmp_path, root, caplog):
    (tmp_path / "cache").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert hashes(looked(root, tmp_path / "cache")) == truth(root)
    (said,) = caplog.messages
    assert "paths.cache_dir=" in said


# --- corrupt pictures ----------------------------------------------------------------------------------------------

DAMAGE = {"1.jpg": truncate, "3.jpg": empty, "4.jpg": not_a_picture}


@pytest.mark.parametrize("cached", [False, True])
def test_exactly_the_damaged_ones_are_left_out_and_counted(tmp_path, root, caplog, cached):
    for name, damage in DAMAGE.items():
        damage(root / name)
    for _ in range(2):
        caplog.clear()
        found = looked(root, tmp_path / "cache" if cached else None, "skip")
        assert list(found.keys) == ["0.jpg", "2.jpg", "5.jpg"]
        assert hashes(found) == truth(root, found.keys)
        assert found.labels(("cat",)).tolist() == [0, 0, 0]
        assert [found.contents[row] for row in range(3)] == [(root / name).read_bytes() for name in found.keys]
        assert "folder/test: 3 of 6 pictures cannot be decoded and are left out" in caplog.messages
        for name in DAMAGE:
            assert any(repr(name) in message and str(root / name) in message for message in caplog.messages)


def test_a_mended_picture_is_used_again(tmp_path, root):
    truncate(root / "1.jpg")
    assert len(looked(root, tmp_path / "cache", "skip")) == 5
    put(root / "1.jpg", "set", "1.jpg")
    assert hashes(looked(root, tmp_path / "cache", "skip")) == truth(root)


def test_a_picture_damaged_after_it_was_seen_is_left_out(tmp_path, root):
    looked(root, tmp_path / "cache", "skip")
    truncate(root / "1.jpg")
    assert "1.jpg" not in looked(root, tmp_path / "cache", "skip").keys


def test_where_every_picture_is_damaged_nothing_is_left_to_use(root):
    for name in NAMES:
        empty(root / name)
    with pytest.raises(DataError, match=r"None of the 6 pictures of folder/test can be decoded, for example .*0\.jpg"):
        looked(root, corrupt="skip")


@pytest.mark.parametrize("corrupt", ["stop", "skip"])
def test_missing_files_are_one_error_with_their_number_and_the_first_of_them(tmp_path, root, corrupt, reads):
    for name in ("2.jpg", "5.jpg"):
        (root / name).unlink()
    with pytest.raises(DataError, match=r"2 of 6 pictures of folder/test are missing, for example .*/2\.jpg"):
        looked(root, tmp_path / "cache", corrupt)
    assert not reads
    assert missing(Files(root, NAMES)) == [root / "2.jpg", root / "5.jpg"]


def test_a_link_to_nowhere_is_a_missing_file(root):
    (root / "2.jpg").unlink()
    (root / "2.jpg").symlink_to(root / "gone.jpg")
    with pytest.raises(DataError, match="1 of 6 pictures"):
        looked(root)


def test_a_set_without_pictures_is_left_as_it_is(tmp_path):
    nothing = Listing((), ("cat",), np.zeros(0, np.int32), Files(tmp_path, ()))
    assert looked_at(nothing, "folder/test", None, "skip") is nothing
