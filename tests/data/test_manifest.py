"""The draw as a file: written once, reused whatever is added, and the same where it is carried to."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from miniatures import csv_file, folder

from negprompt.data import manifest as manifests
from negprompt.data.folder import FolderID
from negprompt.data.manifest import Manifest
from negprompt.data.own_csv import CsvID
from negprompt.errors import DataError

ROWS = (
    ("cat", "cat/1.png"),
    ("cat", "cat/0.png"),
    ("dög", "dög/\u2028.png"),
    ("café", os.fsdecode(b"\xe9t\xe9/x.png")),
)
EXAMPLE = Manifest("own", 2, 1, ROWS)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return folder(tmp_path_factory.mktemp("source") / "data", train=8)


@pytest.fixture
def root(tmp_path, source) -> Path:
    return Path(shutil.copytree(source, tmp_path / "data"))


def drawn(root: Path, seed: int = 1, **settings: object) -> list[str]:
    settings = {"name": "own", "num_shots": 3, "root": str(root), **settings}
    return list(FolderID(**settings).load(seed).train.keys)


def kept(root: Path, where: Path, **settings: object) -> Path:
    """The file that a draw leaves."""
    drawn(root, manifests_dir=str(where), **settings)
    (path,) = where.iterdir()
    return path


# --- the file ------------------------------------------------------------------------------------------------------


def test_a_manifest_comes_back_as_it_was(tmp_path):
    manifests.write(tmp_path / "m.json", EXAMPLE)
    assert manifests.read(tmp_path / "m.json") == EXAMPLE


def test_the_file_is_json_that_other_programs_read(root, tmp_path):
    stored = json.loads(kept(root, tmp_path / "kept").read_text(encoding="utf-8"))
    assert (stored["schema"], stored["data"], stored["num_shots"], stored["seed"]) == (1, "own", 3, 1)
    assert [key for _, key in stored["pictures"]] == drawn(root)
    assert all(key.startswith(f"{class_key}/") for class_key, key in stored["pictures"])
    assert stored["sha256"] == hashlib.sha256(json.dumps(stored["pictures"]).encode()).hexdigest()


def test_the_name_tells_data_shots_seed_and_classes_apart():
    def name(data="own", shots=3, seed=1, classes=("a", "b")):
        return manifests.file_name(data, shots, seed, classes)

    assert name().startswith("own-3shots-seed1-")
    others = [name("other"), name(shots=4), name(seed=2), name(classes=("a",)), name(classes=("b", "a")), name()]
    assert len(set(others)) == 6
    assert name(classes=("ab", "c")) != name(classes=("a", "bc"))


def test_two_processes_that_write_at_once_leave_a_whole_file(tmp_path):
    path = tmp_path / "m.json"
    script = (
        "import sys; from pathlib import Path; from negprompt.data.manifest import Manifest, write\n"
        "rows = tuple(('cat', f'cat/{number}.png') for number in range(3000))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for _ in range(20): write(Path(sys.argv[1]), Manifest('own', 3000, 1, rows))\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    writers = [subprocess.Popen(command, stdin=-1, stdout=-1, text=True) for _ in range(2)]
    for one in writers:
        assert one.stdout.readline() == "ready\n"
    for one in writers:
        one.stdin.write("\n")
        one.stdin.flush()
    while any(one.poll() is None for one in writers):
        if path.exists():
            assert len(manifests.read(path).pictures) == 3000
    for one in writers:
        one.communicate()
    assert [one.returncode for one in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


ALTERATIONS = {
    "another picture": lambda stored: stored["pictures"][0].__setitem__(1, "cat/cat_7.png"),
    "another class": lambda stored: stored["pictures"][0].__setitem__(0, "t-rex"),
    "another order": lambda stored: stored["pictures"].reverse(),
    "a picture more": lambda stored: stored["pictures"].append(["cat", "cat/cat_7.png"]),
    "a picture less": lambda stored: stored["pictures"].pop(),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_file_is_refused(root, tmp_path, alteration):
    path = kept(root, tmp_path / "kept")
    stored = json.loads(path.read_text())
    ALTERATIONS[alteration](stored)
    path.write_text(json.dumps(stored))
    with pytest.raises(DataError, match=r"own-3shots.* was altered"):
        drawn(root, manifests_dir=str(tmp_path / "kept"))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pictures": [["cat"]]}', "null", '{"schema": 1}'])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(DataError, match=r"m\.json is damaged .*: delete it, and it is drawn again"):
        manifests.read(tmp_path / "m.json")


def test_a_truncated_file_is_refused(tmp_path):
    manifests.write(tmp_path / "m.json", EXAMPLE)
    content = (tmp_path / "m.json").read_bytes()
    (tmp_path / "m.json").write_bytes(content[:-30])
    with pytest.raises(DataError, match="is damaged"):
        manifests.read(tmp_path / "m.json")


def test_a_file_of_a_later_version_is_not_guessed_at(tmp_path):
    manifests.write(tmp_path / "m.json", EXAMPLE)
    stored = json.loads((tmp_path / "m.json").read_text(errors="surrogateescape"))
    (tmp_path / "m.json").write_text(json.dumps({**stored, "schema": 2}))
    with pytest.raises(DataError, match="schema 2"):
        manifests.read(tmp_path / "m.json")


# --- the draw ------------------------------------------------------------------------------------------------------


def test_a_draw_is_the_same_with_and_without_a_file(root, tmp_path):
    without = drawn(root)
    assert drawn(root, manifests_dir=str(tmp_path / "kept")) == without
    assert drawn(root, manifests_dir=str(tmp_path / "kept")) == without


def test_a_picture_added_afterwards_changes_a_draw_but_not_one_that_was_kept(root, tmp_path):
    fresh, where = drawn(root), tmp_path / "kept"
    path = kept(root, where)
    content, changed = path.read_bytes(), False
    for number in range(20):
        shutil.copy(root / "train" / "cat" / "cat_0.png", root / "train" / "cat" / f"0{number}.png")
        changed |= drawn(root) != fresh
    assert changed
    assert drawn(root, manifests_dir=str(where)) == fresh
    assert path.read_bytes() == content


def test_seeds_shots_and_classes_have_files_of_their_own(root, tmp_path):
    for settings in ({}, {"seed": 2}, {"num_shots": 2}, {"keep_classes": ["cat", "t-rex"]}, {"class_fraction": 0.4}):
        assert drawn(root, manifests_dir=str(tmp_path / "kept"), **settings) == drawn(root, **settings)
    assert len(list((tmp_path / "kept").iterdir())) == 5


def test_a_manifest_can_be_carried_to_another_place(root, source, tmp_path):
    path = kept(root, tmp_path / "kept", seed=7)
    shutil.copytree(source, tmp_path / "there" / "own")
    assert drawn(tmp_path / "there" / "own", seed=1, manifest=str(path)) == drawn(root, seed=7) != drawn(root, seed=1)


def test_a_manifest_is_not_written_to_where_one_is_given(root, tmp_path):
    path = kept(root, tmp_path / "kept")
    drawn(root, seed=2, manifest=str(path), manifests_dir=str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_a_manifest_of_all_classes_serves_for_some_of_them(root, tmp_path):
    path = kept(root, tmp_path / "kept", seed=7)
    some = drawn(root, manifest=str(path), keep_classes=["cat", "t-rex"])
    assert some == [key for key in drawn(root, seed=7) if not key.startswith("dog")]


def test_a_picture_that_is_gone_is_named(root, tmp_path):
    path = kept(root, tmp_path / "kept")
    gone = drawn(root)[4]
    (root / "train" / gone).unlink()
    with pytest.raises(
        DataError, match=rf"1 of 9 pictures of the manifest .* not in the training .*, for example {gone}"
    ):
        drawn(root, manifest=str(path))
    path.unlink()
    assert gone not in drawn(root, manifests_dir=str(tmp_path / "kept"))


def test_another_number_of_shots_says_which(root, tmp_path):
    path = kept(root, tmp_path / "kept")
    with pytest.raises(DataError, match=r"has 3 pictures of cat and data\.num_shots=2: set data\.num_shots=3"):
        drawn(root, manifest=str(path), num_shots=2)


def test_a_class_that_the_manifest_lacks_is_named(root, tmp_path):
    path = kept(root, tmp_path / "kept", keep_classes=["cat", "t-rex"])
    with pytest.raises(DataError, match=r"is of other classes: it has no picture of 1 of 3, for example dog_breed"):
        drawn(root, manifest=str(path))


def test_a_manifest_that_is_not_there_names_the_setting(root, tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.json cannot be read .*data\.manifest"):
        drawn(root, manifest=str(tmp_path / "nowhere.json"))


def test_pictures_that_changed_their_class_are_refused(tmp_path):
    root = csv_file(tmp_path / "data", train=4)
    settings = CsvID(
        name="own",
        num_shots=4,
        file=str(root / "dataset.csv"),
        manifests_dir=str(tmp_path / "kept"),
        keep_classes=["cat"],
    )
    settings.load(1)
    table = (root / "dataset.csv").read_text().splitlines()
    table[1] = table[1].replace(",cat,", ",dog_breed,")
    (root / "dataset.csv").write_text("\n".join(table))
    with pytest.raises(
        DataError, match=r"1 of 4 pictures of the manifest .* another class now.*0000\.png, which was cat"
    ):
        settings.load(1)


def test_a_place_that_cannot_be_written_is_said_and_the_draw_is_the_same(root, tmp_path, caplog):
    (tmp_path / "kept").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert drawn(root, manifests_dir=str(tmp_path / "kept")) == drawn(root)
    assert sum("the few-shot draw is not kept" in message for message in caplog.messages) == 1
    assert any("data.manifests_dir=<folder of yours>" in message for message in caplog.messages)


def test_two_folders_with_the_same_classes_and_names_have_draws_of_their_own(tmp_path):
    kept = str(tmp_path / "kept")
    here = folder(tmp_path / "here", train=6)
    there = folder(tmp_path / "there", train=6)
    for path in sorted((there / "train").rglob("*_0.png")):
        path.unlink()
    settings = {"name": "own", "num_shots": 4, "manifests_dir": kept}
    first = FolderID(root=str(here), **settings).load(1).train.keys
    second = FolderID(root=str(there), **settings).load(1).train.keys
    assert not any(key.endswith("_0.png") for key in second)
    assert FolderID(root=str(here), **settings).load(1).train.keys[:] == first[:]
    assert len(list((tmp_path / "kept").iterdir())) == 2
