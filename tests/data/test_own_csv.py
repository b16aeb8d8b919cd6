"""Csv files of one's own: what their columns mean, and where their mistakes are."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from miniatures import csv_file

from negprompt.data.own_csv import CsvID, CsvOOD
from negprompt.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return csv_file(tmp_path_factory.mktemp("csv") / "data")


@pytest.fixture
def root(tmp_path, source) -> Path:
    return Path(shutil.copytree(source, tmp_path / "data"))


def settings(root: Path, /, **others) -> CsvID:
    return CsvID(**{"name": "csv", "num_shots": 4, "file": str(root / "dataset.csv"), **others})


def ood(root: Path, /, **others) -> CsvOOD:
    return CsvOOD(**{"name": "csv", "file": str(root / "ood.csv"), **others})


def rewrite(path: Path, change) -> None:
    """Replace the rows (header first) by those that a function makes of them."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(change(rows))


def relabel(names: dict[str, str]):
    return lambda rows: [[path, names.get(label, label), part] for path, label, part in rows]


def expected(root: Path, part: str) -> dict[str, str]:
    with (root / "dataset.csv").open(newline="") as file:
        return {row["path"]: row["label"] for row in csv.DictReader(file) if row["split"] == part}


def test_rows_become_pictures_under_their_labels(root):
    pictures = settings(root).load(1)
    assert pictures.class_names == ("cat", "dog breed", "t-rex")
    for images, part in ((pictures.train, "train"), (pictures.test, "test")):
        given = [("cat", "dog_breed", "t-rex")[label] for label in images.labels]
        assert dict(zip(images.keys, given, strict=True)) == expected(root, part)
        assert [images.encoded[row] for row in range(len(given))] == [(root / key).read_bytes() for key in images.keys]


def test_numbers_are_labels_in_the_order_of_their_values(root):
    rewrite(root / "dataset.csv", relabel({"cat": "10", "dog_breed": "9", "t-rex": "100"}))
    pictures = settings(root).load(1)
    assert pictures.class_names == ("9", "10", "100")
    assert dict(zip(pictures.test.keys, pictures.test.labels, strict=True)) == {
        key: {"9": 0, "10": 1, "100": 2}[label] for key, label in expected(root, "test").items()
    }


def test_one_word_among_numbers_makes_them_words(root):
    rewrite(root / "dataset.csv", relabel({"cat": "10", "dog_breed": "9"}))
    assert settings(root).classes().keys == ("10", "9", "t-rex")


def test_numbers_get_names_from_a_file(root, tmp_path):
    rewrite(root / "dataset.csv", relabel({"cat": "2", "dog_breed": "0", "t-rex": "10"}))
    (tmp_path / "names.csv").write_text("class,name\n10,rex\n0,mutt\n2,kitty\n")
    assert settings(root, class_names=str(tmp_path / "names.csv")).classes() == (
        ("0", "2", "10"),
        ("mutt", "kitty", "rex"),
    )


def test_columns_and_values_can_be_called_otherwise(root):
    def change(rows):
        values = {"train": "fit", "test": "held out"}
        return [["set", "more", "picture", "species"]] + [
            [values[part], "x", path, label] for path, label, part in rows[1:]
        ]

    before = settings(root).load(1)
    rewrite(root / "dataset.csv", change)
    after = settings(
        root,
        path_column="picture",
        label_column="species",
        split_column="set",
        train_value="fit",
        test_value="held out",
    ).load(1)
    assert (list(after.train.keys), after.train.labels) == (list(before.train.keys), before.train.labels)
    assert (list(after.test.keys), after.test.labels) == (list(before.test.keys), before.test.labels)


def test_paths_count_from_the_root_where_one_is_given(root, tmp_path):
    (tmp_path / "lists").mkdir()
    (root / "dataset.csv").rename(tmp_path / "lists" / "own.csv")
    pictures = settings(root, file=str(tmp_path / "lists" / "own.csv"), root=str(root)).load(1)
    assert pictures.test.encoded[0] == (root / pictures.test.keys[0]).read_bytes()


def test_rows_of_other_splits_are_left_aside(root):
    rewrite(root / "dataset.csv", lambda rows: [*rows, ["nowhere.jpg", "cow", "val"]])
    assert settings(root).load(1).class_names == ("cat", "dog breed", "t-rex")


def test_spreadsheet_programs_marks_spaces_commas_and_blank_lines_are_read(root):
    (root / "pictures" / "0000.png").rename(root / "pictures" / "a, b.png")
    lines = (root / "dataset.csv").read_text().splitlines()
    lines[1] = '"pictures/a, b.png", cat ,train '
    (root / "dataset.csv").write_bytes(("\ufeff" + "\r\n".join([*lines[:5], "", *lines[5:]]) + "\r\n").encode())
    pictures = settings(root).load(1)
    assert "pictures/a, b.png" in pictures.train.keys
    assert pictures.class_names == ("cat", "dog breed", "t-rex")


@pytest.mark.parametrize(
    ("column", "setting"),
    [("path", "data.path_column"), ("label", "data.label_column"), ("split", "data.split_column")],
)
def test_a_missing_column_names_the_setting_and_the_columns_that_are_there(root, column, setting):
    rewrite(root / "dataset.csv", lambda rows: [[cell.replace(column, "other") for cell in rows[0]], *rows[1:]])
    with pytest.raises(
        DataError, match=rf"has no column '{column}'; its first line has: .*other.*\({setting}=\.\.\.\)"
    ):
        settings(root).check()


def test_a_column_called_otherwise_and_missing_names_the_setting(root):
    with pytest.raises(
        DataError, match=r"has no column 'species'; .*path, label, split\..*\(data\.label_column=\.\.\.\)"
    ):
        settings(root, label_column="species").check()
    with pytest.raises(DataError, match=r"has no column 'kind'; .*\(ood\.set_column=\.\.\.\)"):
        ood(root, set_column="kind").check()


@pytest.mark.parametrize(("cell", "column"), [(0, "path"), (1, "label"), (2, "split")])
def test_an_empty_cell_is_named_by_its_line(root, cell, column):
    def change(rows):
        rows[6][cell] = " "
        return rows

    rewrite(root / "dataset.csv", change)
    with pytest.raises(DataError, match=rf"dataset\.csv, line 7: {column} is empty; fill it or remove the line"):
        settings(root).check()


def test_a_line_that_ends_early_is_named(root):
    rewrite(root / "dataset.csv", lambda rows: [*rows[:3], rows[3][:1], *rows[4:]])
    with pytest.raises(DataError, match=r"line 4: label is empty"):
        settings(root).check()


@pytest.mark.parametrize(("setting", "value"), [("train_value", "fit"), ("test_value", "val")])
def test_a_split_that_is_not_there_lists_those_that_are(root, setting, value):
    with pytest.raises(DataError, match=rf"no row with split={value}; found: test, train\. Set data\.train_value and"):
        settings(root, **{setting: value}).check()


def test_a_picture_listed_twice_is_named(root):
    rewrite(root / "dataset.csv", lambda rows: [*rows, rows[5]])
    with pytest.raises(DataError, match=r"'pictures/0004\.png' is listed twice"):
        settings(root).load(1)


def test_a_picture_that_is_not_there_is_named(root):
    rewrite(root / "dataset.csv", lambda rows: [*rows, ["pictures/gone.jpg", "cat", "test"]])
    with pytest.raises(DataError, match=r"1 of 7 pictures of csv/test are missing, for example .*pictures/gone\.jpg"):
        settings(root).load(1)


def test_no_file_a_missing_and_an_unreadable_one_are_said(tmp_path, root):
    with pytest.raises(ConfigError, match=r"data\.file=<csv with the columns path,label,split>"):
        CsvID(name="csv", num_shots=1).check()
    with pytest.raises(ConfigError, match=r"ood\.file=<csv with the columns path,label>"):
        CsvOOD(name="csv").check()
    with pytest.raises(DataError, match=r"nowhere\.csv cannot be read \(No such file"):
        settings(root, file=str(tmp_path / "nowhere.csv")).check()
    (tmp_path / "latin.csv").write_bytes(b"path,label,split\ncaf\xe9.jpg,cat,train\n")
    with pytest.raises(DataError, match=r"latin\.csv cannot be read .*UTF-8"):
        settings(root, file=str(tmp_path / "latin.csv")).check()
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.csv has no column 'path'; its first line has: nothing"):
        settings(root, file=str(tmp_path / "empty.csv")).check()


def test_the_set_column_tells_the_ood_sets_apart(root):
    sets = ood(root).load()
    assert list(sets) == ["nature", "textures"]
    rows = [line.split(",") for line in (root / "ood.csv").read_text().splitlines()[1:]]
    for name, images in sets.items():
        assert list(images.keys) == [path for path, label, _ in rows if label == name]
        assert images.labels == [-1] * 2
    assert list(ood(root, sets=["textures"]).load()) == ["textures"]
    assert list(ood(root, set_column="split").load()) == ["test"]
    with pytest.raises(ConfigError, match=r"ood\.sets: unknown OOD set 'texture'; did you mean 'textures'"):
        ood(root, sets=["texture"]).check()
