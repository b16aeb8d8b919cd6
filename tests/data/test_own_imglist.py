"""Image lists of one's own: labels, names, and where their mistakes are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from miniatures import imglist_files

from negprompt.data.own_imglist import ImglistID, ImglistOOD
from negprompt.data.own_tables import read_imglist
from negprompt.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return imglist_files(tmp_path_factory.mktemp("imglist") / "data")


@pytest.fixture
def root(tmp_path, source) -> Path:
    return Path(shutil.copytree(source, tmp_path / "data"))


def settings(root: Path, /, **others) -> ImglistID:
    lists = {f"{part}_list": str(root / "lists" / f"{part}.txt") for part in ("train", "test")}
    return ImglistID(**{"name": "imglist", "num_shots": 4, "root": str(root / "pictures"), **lists, **others})


def ood(root: Path, /, **others) -> ImglistOOD:
    lists = {name: str(root / "lists" / f"{name}.txt") for name in ("textures", "nature")}
    return ImglistOOD(**{"name": "imglist", "root": str(root / "pictures"), "lists": lists, **others})


def test_labels_are_those_of_the_lists_and_folders_name_them(root):
    pictures = settings(root).load(1)
    assert pictures.class_names == ("cat", "dog breed", "t-rex")
    for images, part in ((pictures.train, "train"), (pictures.test, "test")):
        lines = (root / "lists" / f"{part}.txt").read_text().splitlines()
        assert {f"{key} {label}" for key, label in zip(images.keys, images.labels, strict=True)} == set(lines)
        assert images.encoded[0] == (root / "pictures" / images.keys[0]).read_bytes()


def test_a_file_names_the_labels_by_its_lines(root):
    (root / "lists" / "class_names.txt").write_text("kitty\nmutt\nrex\n")
    assert settings(root, class_names=str(root / "lists" / "class_names.txt")).classes().names == (
        "kitty",
        "mutt",
        "rex",
    )


def test_labels_are_ordered_as_numbers(tmp_path):
    # As text, 10 and 11 come before 2.
    root = imglist_files(tmp_path, classes=[f"{letter}x" for letter in "nmlkjihgfedc"], train=1, test=1)
    pictures = settings(root, num_shots=1).load(1)
    assert pictures.class_names == tuple(f"{letter}x" for letter in "nmlkjihgfedc")
    assert [pictures.class_names[label] for label in pictures.test.labels] == [
        key.split("/")[1] for key in pictures.test.keys
    ]
    kept = settings(root, num_shots=1, keep_classes=["10", "2"]).load(1)
    assert kept.class_names == ("lx", "dx")


def test_paths_count_from_the_list_where_no_root_is_given(root):
    for part in ("train", "test"):
        (root / "lists" / f"{part}.txt").rename(root / "pictures" / f"{part}.txt")
    lists = {f"{part}_list": str(root / "pictures" / f"{part}.txt") for part in ("train", "test")}
    pictures = settings(root, root=None, **lists).load(1)
    assert pictures.test.encoded[0] == (root / "pictures" / pictures.test.keys[0]).read_bytes()


def test_spaces_in_paths_marks_and_blank_lines_are_read(tmp_path):
    (tmp_path / "list.txt").write_bytes("\ufeffa b/c  d.jpg 3\r\n\r\n  x.jpg -1 \nd/e.jpg   12\n\n".encode())
    assert read_imglist(tmp_path / "list.txt") == [("a b/c  d.jpg", 3), ("x.jpg", -1), ("d/e.jpg", 12)]


@pytest.mark.parametrize(
    "line", ["a.jpg", "a.jpg cat", "a.jpg 1.0", "7", "a.jpg --1", "a.jpg -", "a.jpg,1", "a.jpg {'x': 1}"]
)
def test_a_line_of_another_form_is_named_by_its_number(tmp_path, line):
    (tmp_path / "list.txt").write_text(f"x.jpg 1\n\n{line}\ny.jpg 2\n")
    with pytest.raises(DataError, match=r"list\.txt, line 3: .* is not 'path label' with a whole number"):
        read_imglist(tmp_path / "list.txt")


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_list_is_refused(tmp_path, content):
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(DataError, match=r"list\.txt lists no picture"):
        read_imglist(tmp_path / "list.txt")


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_ood_label_on_the_id_side_says_where_it_belongs(root, part):
    with (root / "lists" / f"{part}.txt").open("a") as file:
        file.write("ood/nature/0.png -1\n")
    with pytest.raises(
        DataError, match=rf"{part}\.txt has pictures with label -1, which is OOD: .*ood=imglist ood\.lists"
    ):
        settings(root).check()


def test_a_label_in_two_folders_needs_a_file_of_names(root):
    with (root / "lists" / "train.txt").open("a") as file:
        file.write("train/cat/9.jpg 1\n")
    with pytest.raises(
        DataError, match=r"does not tell the name of label 1 \(its pictures lie in 2 folders\).*class_names"
    ):
        settings(root).check()
    names = str(root / "lists" / "class_names.txt")
    assert settings(root, class_names=names).classes().names == ("cat", "dog_breed", "t-rex")


def test_pictures_without_a_folder_need_a_file_of_names(root):
    path = root / "lists" / "train.txt"
    path.write_text(path.read_text().replace("train/dog_breed/", "dog_"))
    with pytest.raises(DataError, match=r"does not tell the name of label 1 .*data\.class_names"):
        settings(root).check()


def test_a_label_without_training_pictures_is_named(root):
    path = root / "lists" / "train.txt"
    path.write_text(path.read_text().replace("jpg 1\n", "jpg 3\n"))
    (root / "lists" / "class_names.txt").write_text("a\nb\nc\nd\n")
    with pytest.raises(DataError, match=r"1 \(0\)\. A class needs pictures"):
        settings(root, class_names=str(root / "lists" / "class_names.txt")).load(1)


def test_missing_lists_are_said(root, tmp_path):
    for part in ("train", "test"):
        with pytest.raises(ConfigError, match=rf"data\.{part}_list=<list"):
            settings(root, **{f"{part}_list": None}).check()
        with pytest.raises(DataError, match=r"nowhere\.txt cannot be read \(No such file"):
            settings(root, **{f"{part}_list": str(tmp_path / "nowhere.txt")}).check()
    with pytest.raises(ConfigError, match=r"ood\.lists=\{name: list"):
        ood(root, lists=None).check()
    with pytest.raises(DataError, match=r"nowhere\.txt cannot be read"):
        ood(root, lists={"x": str(tmp_path / "nowhere.txt")}).check()


def test_ood_sets_come_in_the_order_given_whatever_their_labels(root):
    path = root / "lists" / "nature.txt"
    path.write_text(path.read_text().replace(" -1", " 5"))
    sets = ood(root).load()
    assert list(sets) == ["textures", "nature"]
    assert all(images.labels == [-1] * 2 for images in sets.values())
    assert list(sets["nature"].keys) == ["ood/nature/0.png", "ood/nature/1.png"]
    assert list(ood(root, sets=["nature"]).load()) == ["nature"]
    with pytest.raises(ConfigError, match=r"ood\.sets: unknown OOD set 'natur'; did you mean 'nature'"):
        ood(root, sets=["natur"]).check()
