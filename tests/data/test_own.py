"""Classes that are kept aside to choose settings with, and pictures that the few-shot draw leaves over."""

from __future__ import annotations

import pytest
from miniatures import folder

from negprompt.data.base import load_split, refuse_test_pictures
from negprompt.data.folder import FolderID, FolderOOD
from negprompt.data.icons import IconsID
from negprompt.data.own import HELD_OUT_CLASSES, HeldOutClasses
from negprompt.errors import ConfigError, DataError

NAMES = [f"class_{place}" for place in range(10)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("own") / "data", classes=NAMES, train=5, test=2)


def settings(root, **others) -> FolderID:
    return FolderID(**{"name": "folder", "num_shots": 2, "root": str(root), **others})


def aside(data, **others) -> HeldOutClasses:
    return HeldOutClasses(name="holdout_classes", data=data, **others)


# --- pictures left over ---------------------------------------------------------------------------------------------


def test_held_out_pictures_are_what_no_shot_was_drawn_from(root):
    data = settings(root)
    pictures, held_out = data.load(1), data.held_out(1)
    train = {*settings(root, num_shots=5).load(1).train.keys}
    assert {*held_out.keys} == train - {*pictures.train.keys}
    assert len(held_out.keys) == 30
    assert {*held_out.keys}.isdisjoint(pictures.test.keys)
    for key, label in zip(held_out.keys, held_out.labels, strict=True):
        assert key.startswith(f"class_{label}/")


def test_another_seed_holds_out_others(root):
    assert {*settings(root).held_out(1).keys} != {*settings(root).held_out(2).keys}


def test_many_left_over_pictures_are_drawn_from(root, monkeypatch):
    monkeypatch.setattr("negprompt.data.listed.MOST_HELD_OUT", 7)
    one, again = (settings(root).held_out(1) for _ in range(2))
    assert len(one.keys) == 7
    assert list(one.keys) == list(again.keys)


def test_there_are_none_where_all_are_trained_on_or_classes_are_new(root):
    assert settings(root, num_shots=5).held_out(1) is None
    assert settings(root, class_fraction=0.5).held_out(1) is None


# --- classes kept aside ---------------------------------------------------------------------------------------------


def test_a_fifth_of_the_classes_is_kept_aside_by_a_draw_of_its_own(root):
    every, kept = settings(root).names(), settings(root, holdout_classes=0.2).names()
    assert len(kept) == 8
    assert [name for name in every if name in kept] == list(kept)
    draws = {settings(root, holdout_classes=0.2, holdout_seed=seed).names() for seed in range(6)}
    assert len(draws) > 2
    assert (
        settings(root, holdout_classes=0.2).load(1).class_names
        == settings(root, holdout_classes=0.2).load(2).class_names
    )


def test_settings_are_chosen_on_training_pictures_of_both_sides(root):
    data = settings(root, holdout_classes=0.2)
    split = load_split(data, aside(data), 1)
    gone = {*settings(root).names()} - {*split.class_names}
    ood = split.ood[HELD_OUT_CLASSES]
    assert {key.partition("/")[0].replace("_", " ") for key in ood.keys} == gone
    assert (len(ood.keys), set(ood.labels)) == (10, {-1})
    assert {*split.test.keys}.isdisjoint(split.train.keys)
    assert (len(split.train.keys), len(split.test.keys)) == (16, 24)
    tested = {*settings(root).load(1).test.keys}
    assert tested.isdisjoint([*split.test.keys, *split.train.keys, *ood.keys])


def test_a_search_takes_them_and_refuses_the_test_pictures(root):
    data = settings(root, holdout_classes=0.2)
    refuse_test_pictures(data, aside(data))
    with pytest.raises(ConfigError, match="data=folder has test pictures"):
        refuse_test_pictures(settings(root), aside(data))
    assert data.held_out(1) is None


def test_a_run_without_classes_kept_aside_keeps_its_name(root):
    assert "holdout_classes" not in settings(root).hash_payload()
    assert "holdout_seed" not in settings(root).hash_payload()
    assert settings(root, holdout_classes=0.2).hash_payload()["holdout_classes"] == 0.2


@pytest.mark.parametrize("share", [0.8, 0.95])
def test_at_least_two_classes_are_left(root, share):
    if share == 0.8:
        assert len(settings(root, holdout_classes=share).names()) == 2
    else:
        with pytest.raises(ConfigError, match="at least 2 must be left"):
            settings(root, holdout_classes=share).names()


def test_what_cannot_be_kept_aside_is_said(root):
    with pytest.raises(DataError, match=r"lower data\.num_shots"):
        settings(root, holdout_classes=0.2, num_shots=5).load(1)
    with pytest.raises(ConfigError, match=r"and data\.holdout_classes=0\.2"):
        aside(settings(root)).load()
    with pytest.raises(ConfigError, match=r"pictures of your own .*here data=icons"):
        aside(IconsID(name="icons", num_shots=2)).check()
    assert FolderOOD(name="folder", root=str(root)).is_validation is False
