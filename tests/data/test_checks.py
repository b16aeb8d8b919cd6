"""What a listing tells without a picture being read: counts, classes, names, empty folders."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from negprompt.data.base import Expected, Problem, Source
from negprompt.data.contents import Files
from negprompt.data.listing import Listing, by_folder, of_rows, without_class
from negprompt.data.tree import list_tree
from negprompt.data.verification.checks import count_problems, listing_problems, name_problems, used, warn

GET = "Get them again."


def listing(**counts):
    """`cat=2`: cat/0.jpg and cat/1.jpg; `_=1`: a picture without class."""
    rows = [(name, number) for name, count in counts.items() for number in range(count)]
    return of_rows(Path("top"), [(f"{c}/{n}.jpg", f"{c}/{n}.jpg", None if c == "_" else c) for c, n in rows])


def source(*classes, side="train", known=(), at_least=1, **expected):
    wanted = Expected(expected.get("total"), expected.get("per_class"), expected.get("fix", GET))
    return Source("set", side, lambda: None, classes or None, known, wanted, at_least)


COUNTS = {
    "nothing expected": (source("cat", "dog"), {"cat": 2, "dog": 1}, []),
    "as expected": (source("cat", "dog", total=4, per_class=2), {"cat": 2, "dog": 2}, []),
    "no picture": (source("cat", "dog", total=4, per_class=2, at_least=2), {}, ["no picture"]),
    "other total": (
        *(source("cat", total=3), {"cat": 2}),
        ["2 pictures, not the protocol's 3: results are not comparable"],
    ),
    "other total of one": (
        *(source(side="ood", total=1200), {"_": 1}),
        ["1 picture, not the protocol's 1,200: results are not comparable"],
    ),
    "total without the classes that are not used": (source("cat", known=["dog"], total=2), {"cat": 2, "dog": 5}, []),
    "a class without pictures": (source("cat", "dog"), {"cat": 2}, ["1 of 2 classes has no picture: dog"]),
    "two classes without pictures": (
        *(source("cat", "dog", "eel"), {"cat": 2}),
        ["2 of 3 classes have no picture: dog, eel"],
    ),
    "a class with few": (
        *(source("cat", "dog", at_least=2), {"cat": 2, "dog": 1}),
        ["1 class has fewer than 2 pictures: dog (1)"],
    ),
    "another number": (
        *(source("cat", "dog", per_class=2), {"cat": 3, "dog": 2}),
        ["1 class does not have the protocol's 2 pictures: cat (3)"],
    ),
    "a class of no list": (
        *(source("cat", "dog"), {"cat": 1, "dgo": 2}),
        [
            "1 class name is not in the list of classes: dgo (did you mean 'dog'?); 2 pictures left aside",
            "1 of 2 classes has no picture: dog",
        ],
    ),
    "classes of no list like nothing": (
        *(source("cat"), {"cat": 1, "x": 1, "yyyyy": 0}),
        ["1 class name is not in the list of classes: x; 1 picture left aside"],
    ),
    "known ones that are not used": (source("cat", known=("dog",)), {"cat": 1, "dog": 2}, []),
    "a set that need not have all classes": (source("cat", "dog", side="shifted", at_least=0), {"cat": 2}, []),
    "without class": (source("cat"), {"cat": 1, "_": 1}, ["1 picture has no class"]),
    "OOD without class": (source(side="ood"), {"_": 3}, []),
}


@pytest.mark.parametrize(("given", "counts", "expected"), COUNTS.values(), ids=COUNTS)
def test_counts_and_classes(given, counts, expected):
    problems = count_problems(given, listing(**counts))
    assert [problem.what for problem in problems] == expected
    assert all(problem.fix and problem.severe and problem.set_name == "set" for problem in problems)


def test_where_the_protocol_says_nothing_there_is_still_a_remedy():
    problems = count_problems(source("cat", "dog", fix=""), listing(cat=1))
    assert "data.keep_classes" in problems[0].fix
    assert "Put pictures there" in count_problems(source(side="ood", fix=""), listing())[0].fix


def test_the_number_of_shots_that_would_do_is_named():
    (problem,) = count_problems(source("cat", "dog", at_least=16), listing(cat=7, dog=3))
    assert problem.fix == "Set data.num_shots to 3 or less, or add pictures."


def test_long_lists_are_cut_with_a_count():
    names = [f"class{number:04d}" for number in range(1200)]
    (empty, few) = count_problems(source(*names, at_least=3), listing(**dict.fromkeys(names[:600], 2)))
    assert empty.what.endswith(f"{', '.join(names[600:605])} and 595 more")
    assert few.what.startswith("600 classes have fewer than 3 pictures: class0000 (2), ")
    assert few.what.endswith("class0004 (2) and 595 more")
    (lost,) = count_problems(source("cat"), listing(cat=1, _=9))
    assert lost.examples == ("top/_/0.jpg", "top/_/1.jpg", "top/_/2.jpg", "and 6 more")


def test_a_missing_class_is_meant_before_one_that_is_there():
    problems = count_problems(source("n01440764", "n01440765"), listing(n01440764=1, n0144076=1))
    assert "did you mean 'n01440765'?" in problems[0].what


def test_used_pictures_are_those_of_the_classes():
    assert used(source("cat"), listing(cat=2, dog=3, _=1)) == 2
    assert used(source(side="ood"), listing(_=4)) == 4


def test_copies_are_a_warning_where_hashes_are_known():
    files = Files(Path("top"), ["a.jpg", "b.jpg", "c.jpg"], np.array([[1] * 32, [2] * 32, [1] * 32], np.uint8))
    given = Listing(["a", "b", "c"], (), np.full(3, -1, np.int32), files)
    (problem,) = listing_problems(source(side="ood"), given)
    assert (problem.what, problem.severe) == ("1 picture is there twice", False)
    assert count_problems(source(side="ood"), given) == []


# --- names and folders ---------------------------------------------------------------------------------------------


def named(*keys):
    rows = [(key, key, key.partition("/")[0]) for key in keys]
    return of_rows(Path("top"), rows)


def test_names_of_another_class_are_found():
    wrong = "n01440764/n01443537_2.JPEG", "cat/n01440764_3.JPEG"
    given = named("n01440764/n01440764_1.JPEG", "n01443537/new.JPEG", *wrong)
    (problem,) = name_problems(source("n01440764", "n01443537"), given)
    assert problem.what == "2 pictures lie under another class than that in the name"
    assert problem.examples == tuple(f"top/{key}" for key in wrong)
    assert "rename them back" in problem.fix


@pytest.mark.parametrize(
    "key",
    ["cat/n01440764_1.jpg", "n01440764/n014407645_1.jpg", "n01440764/cat_1.jpg", "n01440764/n01440764.jpg"],
)
def test_names_that_say_nothing_are_left_alone(key):
    assert name_problems(source("n01440764", "cat"), named(key)) == []


def test_only_training_pictures_are_named_after_their_class():
    assert name_problems(source("n01440764", side="test"), named("n01440764/n01443537_2.JPEG")) == []


@pytest.fixture
def folders(tmp_path):
    for name in ("full", "full/below", "empty/one/deep", "half/empty", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("full/a.jpg", "half/b.jpg", "half/empty/notes.txt"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_folders_without_a_picture_are_named_by_the_topmost(folders):
    given = without_class(list_tree(folders, None))
    (problem,) = name_problems(source(side="ood"), given)
    assert problem.what == "3 folders have no picture"
    assert problem.examples == tuple(str(folders / name) for name in ("empty", "full/below", "half/empty"))
    assert problem.fix == f"{GET} If nothing belongs there, remove the folder."
    assert (
        "Put the pictures back"
        in name_problems(source(side="ood", fix=""), without_class(list_tree(folders, None)))[0].fix
    )


def test_an_empty_folder_of_a_class_is_left_to_the_counts(folders):
    assert name_problems(source("full", "half"), by_folder(list_tree(folders, None))) == []


def test_an_empty_set_is_said_once(tmp_path):
    (tmp_path / "below").mkdir()
    given = without_class(list_tree(tmp_path, None))
    assert name_problems(source(side="ood"), given) == []
    assert [problem.what for problem in count_problems(source(side="ood"), given)] == ["no picture"]


def test_runs_say_what_is_wrong_with_examples_and_remedy(caplog):
    with caplog.at_level(logging.WARNING):
        warn([Problem("test", "2 pictures have no class", "Move them.", examples=("a.jpg", "b.jpg"))])
    assert caplog.messages == ["test: 2 pictures have no class: a.jpg, b.jpg. Move them."]
