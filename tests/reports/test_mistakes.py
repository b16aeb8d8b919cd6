from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import encoded, image_set, picture
from PIL import Image

from negprompt.errors import DataError, RunError
from negprompt.reports.mistakes import hardest_mistakes, thumbnail
from negprompt.reports.scored import Scored, read_scores
from negprompt.types import ImageSet, NearestPrompts, Split

NAMES = ("anchor", "bell", "cactus", "drum")
TEST, NEAR = image_set(6, "test"), image_set(5, "near")._replace(labels=[-1] * 5)
SPLIT = Split("some", NAMES, 4, TEST, TEST, {"near": NEAR}, "hash")
SCORED = Scored(
    "mcm",
    np.array([0.9, 0.2, 0.8, 0.1, 0.7, 0.2]),
    TEST.keys,
    {"near": np.array([0.1, 0.3, 0.9, 0.3, 0.2])},
    {"near": NEAR.keys},
)


def nearest(size: int) -> NearestPrompts:
    rows = torch.arange(size)
    return NearestPrompts(rows / 10, rows % 4, rows / 20, (rows + 1) % 4)


NEAREST = {"id": nearest(6), "ood/near": nearest(5)}


def with_pictures(images: ImageSet, contents: Sequence[bytes]) -> Split:
    return SPLIT._replace(test=images._replace(encoded=contents))


def test_id_pictures_scored_lowest_and_ood_pictures_scored_highest_come_first() -> None:
    found = hardest_mistakes("run", SCORED, SPLIT, NEAREST, count=3)
    assert (found.run, found.score, found.threshold) == ("run", "mcm", 0.1)
    told = [(one.kind, one.data_set, one.key, one.score, one.rank) for one in found.pictures]
    assert told == [  # equal scores in the order of the set
        ("id", "some", "test-3", 0.1, 1),
        ("id", "some", "test-1", 0.2, 2),
        ("id", "some", "test-5", 0.2, 3),
        ("ood", "near", "near-2", 0.9, 1),
        ("ood", "near", "near-1", 0.3, 2),
        ("ood", "near", "near-3", 0.3, 3),
    ]


def test_each_mistake_has_its_class_and_those_of_the_nearest_prompts() -> None:
    pictures = hardest_mistakes("run", SCORED, SPLIT, NEAREST, count=1).pictures
    assert [(one.label, one.positive, one.negative) for one in pictures] == [
        ("drum", "drum", "anchor"),
        ("", "cactus", "drum"),
    ]


def test_runs_without_negatives_or_nearest_prompts_leave_their_classes_out() -> None:
    without = {"id": nearest(6)._replace(negative=None, negative_class=None)}
    pictures = hardest_mistakes("run", SCORED, SPLIT, without, count=1).pictures
    assert [(one.positive, one.negative) for one in pictures] == [("drum", ""), ("", "")]


def test_fewer_pictures_than_wanted_are_all_shown() -> None:
    assert len(hardest_mistakes("run", SCORED, SPLIT, {}, count=100).pictures) == 11


def test_a_broken_picture_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    contents = list(TEST.encoded)
    contents[3] = contents[3][:40]
    with caplog.at_level(logging.WARNING):
        found = hardest_mistakes("run", SCORED, with_pictures(TEST, contents), {}, count=2).pictures
    assert [(one.key, one.rank) for one in found if one.kind == "id"] == [("test-1", 2)]
    assert "'test-3'" in caplog.text


class Gone(list[bytes]):
    """Pictures of a folder that lost one."""

    def __getitem__(self, row: int) -> bytes:  # type: ignore[override]
        if row == 3:
            raise DataError("test-3.webp is not there")
        return super().__getitem__(row)


def test_an_absent_picture_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    found = hardest_mistakes("run", SCORED, with_pictures(TEST, Gone(TEST.encoded)), {}, count=1).pictures
    assert [one.kind for one in found] == ["ood"]
    assert "test-3.webp is not there" in caplog.text


def test_other_pictures_than_those_of_the_run_are_refused() -> None:
    with pytest.raises(RunError, match=r"pictures of some are not those that the run run was tested on \(5 here, 6"):
        hardest_mistakes("run", SCORED, SPLIT._replace(test=image_set(5, "test")), {})
    with pytest.raises(RunError, match="pictures of near are not those"):
        hardest_mistakes("run", SCORED, SPLIT._replace(ood={"near": image_set(5, "far")}), {})
    with pytest.raises(RunError, match="OOD set near, which is not at hand"):
        hardest_mistakes("run", SCORED, SPLIT._replace(ood={"far": NEAR}), {})


@pytest.mark.parametrize(("size", "expected"), [((640, 320), (160, 80)), ((100, 400), (40, 160)), ((48, 30), (48, 30))])
def test_a_thumbnail_is_a_png_of_160_pixels_at_most(size: tuple[int, int], expected: tuple[int, int]) -> None:
    content = encoded(Image.new("RGBA", size, (255, 0, 0, 0)), "png")
    with Image.open(io.BytesIO(thumbnail(content, "one", "some"))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", expected)
        assert image.getpixel((5, 5)) == (255, 255, 255)  # transparent pixels on white, as a run sees them


def test_a_thumbnail_shows_the_picture() -> None:
    image = picture(0.3, 1)
    with Image.open(io.BytesIO(thumbnail(encoded(image), "one", "some"))) as shown:
        assert np.array_equal(np.asarray(shown), np.asarray(image))


def scores_file(folder: Path, **arrays: object) -> Path:
    sides = {"id/key": np.array(["a"]), "id/mcm": np.array([0.5]), "id/label": np.array([0])}
    np.savez(folder / "scores.npz", **sides, **arrays)  # type: ignore[arg-type]
    return folder


def test_scores_are_read_side_by_side(tmp_path: Path) -> None:
    names = {"ood/x/key": np.array(["b", "c"]), "ood/x/mcm": np.array([0.1, 0.2]), "shifted/y/key": np.array(["d"])}
    scored = read_scores(scores_file(tmp_path, **names), "mcm")
    assert (scored.id.tolist(), scored.id_keys) == ([0.5], ["a"])
    assert {name: values.tolist() for name, values in scored.ood.items()} == {"x": [0.1, 0.2]}
    assert scored.ood_keys == {"x": ["b", "c"]}


def test_scores_that_are_not_there_or_damaged_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        read_scores(tmp_path, "mcm")
    scores_file(tmp_path)
    with pytest.raises(RunError, match="no score 'energy'; allowed: mcm"):
        read_scores(tmp_path, "energy")
    (tmp_path / "scores.npz").write_bytes((tmp_path / "scores.npz").read_bytes()[:100])
    with pytest.raises(RunError, match="cannot be read"):
        read_scores(tmp_path, "mcm")
