"""The open-vocabulary share, and the hash that tells two splits apart."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
from helpers import encoded, image_set, picture

from negprompt.data.base import Augmentation, IDPictures, IDSets, OODSets, load_split, num_train_classes
from negprompt.data.icons import IconsID
from negprompt.data.imagenet import ImageNetID


@pytest.mark.parametrize(("classes", "expected"), [(116, 11), (30, 3), (151, 15), (100, 10), (1000, 100)])
def test_the_first_tenth_has_the_papers_sizes(classes, expected):
    assert num_train_classes(classes, 0.1) == expected


@pytest.mark.parametrize("percent", [1, 7, 10, 29, 30, 57, 70, 100])
def test_the_share_is_the_floor_of_the_exact_product(percent):
    for classes in range(1, 1200):
        assert num_train_classes(classes, percent / 100) == max(1, floor(classes * Fraction(percent, 100)))


class Given(IDSets):
    """ID sets in memory."""

    def load(self, seed):  # noqa: ARG002
        return IDPictures(("bell", "drum"), 2, STATE["train"], STATE["test"])


class GivenOOD(OODSets):
    """OOD sets in memory."""

    def load(self):
        return STATE["ood"]


STATE = {}


@pytest.fixture(autouse=True)
def _state():
    STATE.update(train=image_set(4, "train", 2), test=image_set(2, "test", 2), ood={"near": image_set(3, "near", 1)})


def split_hash():
    settings = Given(name="given", num_shots=1, augmentation=Augmentation())
    return load_split(settings, GivenOOD(name="given"), seed=1).sha256


def test_equal_splits_have_equal_hashes():
    assert split_hash() == split_hash()


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("field", ["keys", "labels", "encoded"])
def test_another_name_label_or_picture_is_another_split(part, field):
    before = split_hash()
    other = {"keys": "another", "labels": 1, "encoded": encoded(picture(0.9, 99))}[field]
    values = [other, *getattr(STATE[part], field)[1:]]
    STATE[part] = STATE[part]._replace(**{field: values})
    assert split_hash() != before


def test_another_ood_picture_is_another_split():
    before = split_hash()
    near = STATE["ood"]["near"]
    STATE["ood"] = {"near": near._replace(encoded=[encoded(picture(0.9, 99)), *near.encoded[1:]])}
    assert split_hash() != before


def test_another_name_of_an_ood_set_is_another_split():
    before = split_hash()
    STATE["ood"] = {"far": STATE["ood"]["near"]}
    assert split_hash() != before


def test_names_are_told_as_a_run_loads_them(icons):
    sets = [Given(name="given", num_shots=1), IconsID(name="icons", root=str(icons), num_shots=1, hard_split=1)]
    STATE.update(train=image_set(2, num_classes=2), test=image_set(2, num_classes=2))
    assert [one.names() for one in sets] == [one.load(1).class_names for one in sets]


def test_names_of_imagenet_need_no_pictures(tmp_path):
    names = ImageNetID(name="imagenet_1k", num_shots=16, data_root=str(tmp_path / "nothing")).names()
    assert (len(names), names[0]) == (1000, "tench")
