"""What classes are called: by their folders, or by a file."""

from __future__ import annotations

import os

import pytest

from negprompt.data.classes import Classes, from_keys, readable
from negprompt.data.few_shot import draw
from negprompt.errors import ConfigError, DataError

KEYS = ("cat", "dog_breed", "t-rex")


@pytest.mark.parametrize(
    ("key", "name"),
    [("a__b", "a b"), ("_x_", "x"), ("t-rex", "t-rex"), ("___", "___"), ("schöne_Äpfel", "schöne Äpfel")],
)
def test_a_folder_name_reads_like_words(key, name):
    assert readable(key) == name


def test_without_a_file_classes_are_called_as_their_keys():
    assert from_keys(KEYS, None) == (KEYS, ("cat", "dog breed", "t-rex"))


def test_a_text_file_names_the_classes_in_order(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffhouse cat\r\n\r\n  grüner Hund \r\nt rex\r\n".encode())
    assert from_keys(KEYS, str(path)).names == ("house cat", "grüner Hund", "t rex")


def test_a_csv_file_names_the_classes_in_any_order_and_may_name_others(tmp_path):
    path = tmp_path / "names.CSV"
    path.write_text('name,note,class\n"rex, the king",,t-rex\nunused,,cow\nkitty,old,cat\nmutt,, dog_breed \n')
    assert from_keys(KEYS, str(path)) == (KEYS, ("kitty", "mutt", "rex, the king"))


def test_two_classes_may_have_one_name(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("missile\nmissile\ncat\n")
    assert from_keys(KEYS, str(path)).names == ("missile", "missile", "cat")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("names.txt", b"cat\ndog\n", r"has 2 names and there are 3 classes"),
        ("names.txt", b"", r"has 0 names and there are 3 classes"),
        ("names.txt", b"caf\xe9\ndog\nt rex\n", r"data\.class_names=.* cannot be read .* text file in UTF-8"),
        ("names.csv", b"key,name\ncat,kitty\n", r"has the columns key, name: its first line must be class,name"),
        ("names.csv", b"", r"has the columns none"),
        ("names.csv", b"class,name\n", r"has no name for class 'cat' \(3 of 3 classes lack one\); the file is empty"),
        (
            "names.csv",
            b"class,name\ncat,kitty\ndog-breed,x\nt-rex,\n",
            r"no name for class 'dog_breed' \(2 of 3 .*dog-breed",
        ),
        ("names.csv", b"class,name\ncat\n", r"no name for class 'cat'"),
    ],
)
def test_a_file_that_does_not_name_every_class_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        from_keys(KEYS, str(tmp_path / name))


def test_a_file_that_is_not_there_names_the_setting(tmp_path):
    with pytest.raises(DataError, match=r"data\.class_names=.*names\.txt: there is no such file"):
        from_keys(KEYS, str(tmp_path / "names.txt"))


def test_kept_classes_stay_in_label_order():
    classes = Classes(KEYS, ("a", "b", "c"))
    assert classes.keep(["t-rex", "cat"], "data.keep_classes") == (("cat", "t-rex"), ("a", "c"))


def test_unknown_and_no_classes_are_refused():
    classes = from_keys(KEYS, None)
    with pytest.raises(ConfigError, match=r"data\.keep_classes: unknown class 't_rex'; did you mean 't-rex'"):
        classes.keep(["cat", "t_rex"], "data.keep_classes")
    with pytest.raises(ConfigError, match=r"data\.keep_classes=\[\] leaves no class"):
        classes.keep([], "data.keep_classes")


def test_a_class_whose_folder_name_is_not_utf8_can_be_drawn_from():
    name = os.fsdecode(b"caf\xe9")
    assert len(draw(["a", "b", "c"], [(name, [0, 1, 2])], 2, 1)) == 2
