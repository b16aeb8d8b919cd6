"""`negprompt data verify NAME` as a user sees it: a short report, exit codes, one message, never a traceback."""

from __future__ import annotations

import os
import shutil
import signal
import threading

import miniatures
import pytest
from command_line import Said, call, one_message
from damage import IDS, SHARK, TENCH, copied, delete_class, first, own, truncate, whole_benchmark

from negprompt.cli.verify_report import printable
from negprompt.data import decoding
from negprompt.data.verification import sightings


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    return whole_benchmark(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def tree(whole, tmp_path):
    return copied(whole, tmp_path / "tree")


@pytest.fixture
def check(capsys, tmp_path, monkeypatch):
    """`negprompt data verify NAME` on a tree, in a terminal of some width."""

    def checked(root, *words, name="imagenet_1k", columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        kept = f"data.keep_classes=[{','.join(IDS)}]"
        settings = [f"paths.data_root={root}", f"paths.runs_dir={tmp_path / 'runs'}", "data.num_shots=2", kept]
        return Said(call("data", "verify", name, "counts=any", *settings, *words), *capsys.readouterr())

    return checked


def test_a_whole_data_set_ends_with_0_and_a_verdict(check, whole, tmp_path):
    said = check(whole)
    assert said.code == 0
    assert said.out.splitlines()[-1] == "no problem in 73 pictures of 6 sets"
    assert said.messages == []
    assert not (tmp_path / "runs" / "_manifests").exists()


def test_a_damaged_one_ends_with_1_and_problems_by_set(check, tree):
    delete_class(tree)
    truncate(tree)
    said = check(tree)
    one_message(said, 1, "imagenet_1k: 2 problems in 70 pictures of 6 sets", "listed above with what to do")
    report = said.out.partition("\ntrain\n")[2].splitlines()
    assert report[:2] == [
        f"  problem: 1 of 3 classes has no picture: {TENCH}",
        "  fix: Get the pictures from image-net.org (docs/data.md), or set data.root.",
    ]
    assert report[2].startswith("  problem: 1 of 6 pictures is corrupt")
    assert any(line.strip().endswith(".JPEG") for line in report)


@pytest.mark.parametrize("columns", [60, 80])
def test_the_report_fits_the_terminal_and_breaks_no_path(check, tree, columns):
    delete_class(tree)
    truncate(tree)
    shutil.rmtree(tree / "SUN")
    said = check(tree, columns=columns)
    long = [line for line in said.out.splitlines() if len(line) > columns]
    assert all(" " not in line.strip() for line in long), long
    path = first(tree / "imagenet_1k" / "train" / SHARK)
    assert str(path) in said.out.split()
    assert said.out.count("\n") < 45


def test_a_remedy_that_several_problems_share_is_said_once(check, whole):
    said = check(whole, "counts=protocol", "pictures=none", "data.keep_classes=[n01440764]")
    test = said.out.partition("\ntest\n")[2].partition("\n\n")[0]
    assert test.count("problem:") == 2
    assert test.count("fix:") == 1


def test_warnings_alone_are_no_failure(check, tree):
    images = tree / "SUN" / "images"
    shutil.copy(first(images), images / "twin.jpg")
    said = check(tree)
    assert said.code == 0
    assert "  warning: 1 picture is a copy of another in the same set:" in said.out
    assert said.out.splitlines()[-1] == "no problem and 1 warning in 74 pictures of 6 sets"


def test_the_table_counts_what_is_read_and_what_is_not_usable(check, tree):
    miniatures.empty(own(first(tree / "Places" / "images")))
    (tree / "SUN" / "images" / "grey.jpg").write_bytes(miniatures.picture("grey", 1, mode="L"))
    rows = {line.split()[0]: line.split() for line in check(tree, "pictures=draw").out.splitlines() if line.strip()}
    assert rows["set"] == ["set", "pictures", "classes", "read", "unusable", "not", "RGB"]
    assert rows["train"] == ["train", "9", "3", "6"]
    assert ["SUN", "6", "6", "1", "L"] in rows.values()


def test_names_that_no_terminal_takes_do_not_end_it(check, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    root = miniatures.folder(tmp_path / "own")
    miniatures.ood_folder(tmp_path / "ood")
    (root / "train" / "cat" / os.fsdecode(b"caf\xe9\x1b[31m [red].png")).write_bytes(b"")
    said = check(root, f"data.root={root}", f"ood.root={tmp_path / 'ood'}", "data.keep_classes=null", name="folder")
    assert said.code == 1
    assert "caf\\udce9\\x1b[31m [red].png" in said.out


def test_every_letter_that_can_be_shown_is():
    assert printable("naïve: 猫.jpg", "utf-8") == "naïve: 猫.jpg"
    assert printable("naïve\t\n\x1b\udce9", "utf-8") == "naïve\\t\\n\\x1b\\udce9"
    assert printable("naïve", "ascii") == "na\\xefve"


def test_a_file_in_place_of_the_cache_is_said_once(check, tree, tmp_path):
    (tmp_path / "cache").write_text("")
    said = check(tree, f"paths.cache_dir={tmp_path / 'cache'}")
    assert said.code == 1
    assert "a file is in its place" in said.out
    assert "Set paths.cache_dir to a folder of yours" in said.out
    assert "Cannot write" not in said.err


def test_no_data_at_all(check, tmp_path):
    said = check(tmp_path / "gone")
    one_message(said, 1, "5 problems: no set could be looked at")
    assert "docs/data.md" in said.out


def test_the_names_of_ood_sets_alone_mean_imagenet_with_those(check, whole):
    said = check(whole, name="conventional")
    assert said.code == 0
    assert said.out.splitlines()[0] == "imagenet_1k against conventional"


REFUSED = {
    "imagenet_1": ("imagenet_1: unknown", "did you mean 'imagenet_1k'?"),
    "imagenet_1k pictures=some": ("pictures=some", "all, draw, none"),
    "imagenet_1k counts=few": ("counts=few", "any, protocol"),
    "imagenet_1k seed=-1": ("seed=-1: should be greater than or equal to 0",),
    "imagenet_1k sed=1": ("unknown setting 'sed'", "did you mean 'seed'?"),
    "imagenet_1k ood=icon": ("ood=icon", "did you mean 'icons'?"),
    "imagenet_1k data.keep_classes=[n1]": ("data.keep_classes", "unknown class 'n1'"),
    "imagenet_1k data.keep_classes=[]": ("data.keep_classes=[] leaves no class",),
    "imagenet_1k ood.sets=[Sun]": ("unknown OOD set 'Sun'", "allowed: Places, SUN"),
    "data=imagenet_1k": ("ood is missing", "negprompt data verify imagenet_1k"),
    "ood=conventional": ("data is missing", "negprompt data verify imagenet_1k"),
    "folder": ("data=folder needs data.root",),
}


@pytest.mark.parametrize(("words", "fragments"), REFUSED.items(), ids=REFUSED)
def test_wrong_settings_end_with_2_and_one_message(capsys, whole, tmp_path, words, fragments):
    given = [f"paths.data_root={whole}", f"paths.runs_dir={tmp_path}"]
    said = Said(call("data", "verify", *words.split(), *given), *capsys.readouterr())
    one_message(said, 2, *fragments)
    assert said.out == ""


def test_control_c_ends_it_with_130(check, whole, monkeypatch):
    once = iter([signal.SIGINT])  # a second one could reach the test itself, outside of the command

    def interrupted(*given):
        for number in once:
            signal.pthread_kill(threading.main_thread().ident, number)
        return decoding.decode(*given)

    monkeypatch.setattr(sightings, "decode", interrupted)
    one_message(check(whole), 130, "interrupted")
