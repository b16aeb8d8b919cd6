"""The few-shot draw depends on the seed and the class, and on nothing else."""

from __future__ import annotations

import random

import pytest

from negprompt.data.few_shot import k_shot_indices
from negprompt.errors import DataError

NAMES = ("bell", "drum", "owl")
KEYS = [f"{name}-{place:02}" for name in NAMES for place in range(20)]
LABELS = [label for label in range(3) for _ in range(20)]


def drawn(keys=KEYS, labels=LABELS, k=4, seed=1, names=NAMES):
    return [keys[place] for place in k_shot_indices(keys, labels, k, seed, names)]


def of(name, keys):
    return [key for key in keys if key.startswith(name)]


def test_each_class_gives_k_different_pictures_class_by_class():
    keys = drawn()
    assert [key.split("-")[0] for key in keys] == ["bell"] * 4 + ["drum"] * 4 + ["owl"] * 4
    assert len(set(keys)) == 12


@pytest.mark.parametrize("shuffle", range(3))
def test_the_order_of_the_list_has_no_say(shuffle):
    pairs = list(zip(KEYS, LABELS, strict=True))
    random.Random(shuffle).shuffle(pairs)
    keys, labels = zip(*pairs, strict=True)
    assert drawn(keys, labels) == drawn()


def test_other_classes_have_no_say():
    assert drawn(KEYS[20:40], [0] * 20, names=("drum",)) == of("drum", drawn())


def test_the_place_of_a_class_among_the_others_has_no_say():
    turned = drawn(labels=[2 - label for label in LABELS], names=NAMES[::-1])
    assert of("bell", turned) == of("bell", drawn())


def test_classes_draw_different_places():
    places = {tuple(key.split("-")[1] for key in of(name, drawn(k=10))) for name in NAMES}
    assert len(places) == 3


def test_seeds_draw_differently_and_zero_is_one_of_them():
    assert drawn(seed=0) == drawn(seed=0)
    assert len({tuple(drawn(seed=seed)) for seed in range(5)}) == 5


def test_every_picture_is_drawn_by_some_seed():
    assert {key for seed in range(60) for key in drawn(seed=seed)} == set(KEYS)


def test_all_pictures_of_a_class_can_be_drawn():
    assert sorted(drawn(k=20)) == sorted(KEYS)


def test_the_draw_of_a_seed_is_fixed_for_good():
    assert [key[-2:] for key in drawn(k=3, seed=0)] == ["05", "06", "10", "09", "13", "15", "02", "05", "09"]


def test_too_few_pictures_name_the_class_its_count_and_the_largest_choice():
    keys, labels = KEYS[:43], LABELS[:43]
    with pytest.raises(DataError) as error:
        drawn(keys, labels, k=4)
    assert str(error.value) == (
        "data.num_shots=4, but 1 of 3 classes have fewer pictures: owl (3). "
        "Set data.num_shots to 3 or less, or leave these classes out (data.class_names)."
    )


def test_a_class_without_any_picture_is_not_answered_with_zero_shots():
    with pytest.raises(DataError, match=r"owl \(0\)\. A class needs pictures: leave these classes out"):
        drawn(KEYS[:40], LABELS[:40])
