"""`verify` on kept few-shot draws and on folders that runs write into."""

from __future__ import annotations

import miniatures
import pytest
from damage import (
    ANY,
    GOLDFISH,
    TENCH,
    found,
    imagenet,
    leave_one_picture,
    look,
)

from negprompt.data.conventional import ConventionalOOD
from negprompt.data.own_csv import CsvID, CsvOOD
from negprompt.data.verification.verify import verify


@pytest.fixture
def drawn(tree):
    """A tree with the draw of seed 1 as a file."""
    imagenet(tree).load(1)
    (path,) = (tree / "manifests").iterdir()
    return path


def test_a_whole_draw_is_fine(tree, drawn):
    assert look(tree).problems == ()


def test_a_damaged_draw_is_named_with_its_file(tree, drawn):
    drawn.write_text(drawn.read_text()[:100])
    report = look(tree)
    assert report.problems == (found(report, "few-shot draws", "is damaged", str(drawn), "Delete the file"),)


def test_an_altered_draw_is_told_from_a_damaged_one(tree, drawn):
    drawn.write_text(drawn.read_text().replace(TENCH, GOLDFISH, 1))
    report = look(tree)
    assert report.problems == (found(report, "few-shot draws", "was altered", str(drawn), "copy the original"),)


def test_a_renamed_draw_is_not_taken_for_another_seed(tree, drawn):
    drawn.rename(drawn.with_name(drawn.name.replace("seed1", "seed2")))
    found(look(tree), "few-shot draws", "not what its name says", "2 shots, seed 1", "seed2", "Give it back its name")


def test_a_draw_whose_pictures_are_gone(tree, drawn):
    gone = next(path for path in (tree / "imagenet_1k/train").rglob("*.JPEG") if path.name in drawn.read_text())
    gone.unlink()
    report = look(tree)
    assert report.problems == (found(report, "few-shot draws", "1 of 6 pictures of a draw", gone.name, str(drawn)),)


def test_a_draw_whose_pictures_changed_their_class(tmp_path):
    miniatures.csv_file(tmp_path)
    file = tmp_path / "dataset.csv"
    id_sets = CsvID(name="csv", num_shots=2, file=str(file), manifests_dir=str(tmp_path / "draws"))
    ood_sets = CsvOOD(name="csv", file=str(tmp_path / "ood.csv"))
    picture = id_sets.load(1).train.keys[0]
    assert verify(id_sets, ood_sets, ANY).problems == ()
    file.write_text(file.read_text().replace(f"{picture},cat", f"{picture},t-rex"))
    report = verify(id_sets, ood_sets, ANY)
    assert report.problems == (found(report, "few-shot draws", "1 picture of a draw", "another class", picture),)


def test_draws_of_other_classes_and_other_files_are_left_alone(tree, drawn):
    drawn.unlink()
    imagenet(tree, keep_classes=[TENCH, GOLDFISH]).load(1)
    leave_one_picture(tree)
    (tree / "manifests" / "notes.json").write_text("{")
    assert "few-shot draws" not in {one.set_name for one in look(tree).problems}


def test_a_draw_that_is_named_is_looked_at(tree, tmp_path):
    id_sets = imagenet(tree, manifest=str(tmp_path / "gone.json"))
    report = verify(id_sets, ConventionalOOD(name="conventional", data_root=str(tree)), ANY)
    found(report, "few-shot draws", "cannot be read", "gone.json")


@pytest.mark.parametrize("below", ["", "deeper/cache"])
def test_a_file_where_the_cache_should_be(tree, tmp_path, below):
    (tmp_path / "cache").write_text("")
    report = look(tree, folders={"paths.cache_dir": tmp_path / "cache" / below})
    problem = found(report, "paths.cache_dir", str(tmp_path / "cache"), "a file is in its place", "Set paths.cache_dir")
    assert report.problems == (problem,)


def test_a_folder_without_permission(tree, tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("negprompt.data.verification.verify.tempfile.TemporaryFile", refuse)
    report = look(tree, folders={"paths.manifests_dir": tmp_path / "m"})
    found(report, "paths.manifests_dir", "cannot be written (Permission denied)", "Set paths.manifests_dir")
