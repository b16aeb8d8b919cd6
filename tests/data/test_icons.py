"""The benchmark's settings: which classes and pictures a request gets, and what is refused."""

from __future__ import annotations

import json

import pytest
from helpers import CLASS_NAMES, OOD_PICTURES, SHOTS, TESTS, write_benchmark

from negprompt.data.icons import IconsID, IconsOOD
from negprompt.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_benchmark(tmp_path_factory.mktemp("icons") / "shards")


def load(root, seed=1, **settings):
    return IconsID(**{"name": "icons", "num_shots": 3, "root": str(root), **settings}).load(seed)[:4]


def ood(root, **settings):
    return IconsOOD(**{"name": "icons", "root": str(root), **settings}).load()


def named(images, class_names):
    """Class name by label against the name in the picture's key."""
    return {(class_names[label], key.split("-")[1]) for key, label in zip(images.keys, images.labels, strict=True)}


def test_labels_are_places_in_the_list_of_class_names(root):
    names, _, train, test = load(root)
    assert names == CLASS_NAMES
    for images in (train, test):
        assert named(images, names) == {(name, name) for name in names}


def test_every_class_gives_its_shots_and_all_its_test_pictures(root):
    _, train_classes, train, test = load(root, num_shots=3)
    assert train_classes == 20
    assert [train.labels.count(label) for label in range(20)] == [3] * 20
    assert [test.labels.count(label) for label in range(20)] == [TESTS] * 20


def test_training_and_test_pictures_are_different_ones(root):
    _, _, train, test = load(root)
    assert not set(train.keys) & set(test.keys)
    assert not set(train.encoded) & set(test.encoded)


def test_a_tenth_of_the_classes_trains_and_all_are_tested(root):
    names, train_classes, train, test = load(root, class_fraction=0.1)
    assert train_classes == 2
    assert named(train, names) == {(name, name) for name in CLASS_NAMES[:2]}
    assert len(set(test.labels)) == 20


def test_the_first_tenth_trains_on_the_pictures_that_it_has_in_the_whole(root):
    _, _, some, _ = load(root, class_fraction=0.1)
    _, _, everything, _ = load(root)
    assert everything.keys[: len(some.keys)] == some.keys


def test_validation_pictures_are_others_than_test_pictures(root):
    _, _, train, test = load(root)
    _, _, train_again, val = load(root, part="val")
    assert train == train_again
    assert not set(val.keys) & set(test.keys)


def test_seeds_draw_other_shots_of_the_same_test(root):
    draws = [load(root, seed=seed, num_shots=2) for seed in range(3)]
    assert len({tuple(train.keys) for _, _, train, _ in draws}) == 3
    assert all(test == draws[0][3] for _, _, _, test in draws)


def test_named_classes_keep_the_benchmarks_order(root):
    names, _, train, _ = load(root, class_names=["tent", "bell", "owl"])
    assert names == ("bell", "owl", "tent")
    assert named(train, names) == {(name, name) for name in names}


def test_more_shots_than_pictures_name_the_class(root):
    with pytest.raises(DataError, match=rf"data\.num_shots=5, .* anchor \({SHOTS}\).* to {SHOTS} or less"):
        load(root, num_shots=SHOTS + 1)


def test_an_unknown_class_is_answered_with_the_nearest(root):
    with pytest.raises(ConfigError, match=r"data\.class_names: unknown class 'ow'; did you mean 'owl'"):
        load(root, class_names=["bell", "ow"])


def test_no_class_at_all_is_refused(root):
    with pytest.raises(ConfigError, match=r"data\.class_names=\[\] leaves no class"):
        load(root, class_names=[])


def test_a_class_without_test_pictures_is_named(tmp_path):
    names = (*CLASS_NAMES[:4], "unicorn")
    root = write_benchmark(tmp_path, CLASS_NAMES[:4])
    index = json.loads((root / "benchmark.json").read_text())
    (root / "benchmark.json").write_text(json.dumps({**index, "class_names": names}))
    with pytest.raises(DataError, match="unicorn"):
        load(root)


# --- OOD sets ------------------------------------------------------------------------------------------------------


def test_ood_sets_come_in_the_order_asked_for_with_label_minus_one(root):
    sets = ood(root, sets=["flags", "near"])
    assert list(sets) == ["flags", "near"]
    assert all(images.labels == [-1] * OOD_PICTURES for images in sets.values())


def test_validation_twins_share_no_picture_with_the_test_sets(root):
    test, val = ood(root), ood(root, part="val")
    assert list(test) == list(val) == ["near", "symbols", "logos", "flags"]
    assert not any(set(test[name].keys) & set(val[name].keys) for name in test)


def test_an_unknown_ood_set_is_answered_with_the_nearest(root):
    with pytest.raises(ConfigError, match=r"ood\.sets: unknown OOD set 'flag'; did you mean 'flags'"):
        ood(root, sets=["flag"])


def test_no_ood_set_at_all_is_refused(root):
    with pytest.raises(ConfigError, match=r"ood\.sets=\[\] leaves no OOD set"):
        ood(root, sets=[])


# --- hard splits ---------------------------------------------------------------------------------------------------


def test_a_hard_split_tests_its_id_side_against_its_ood_side(root):
    names, _, _, test = load(root, hard_split=1)
    sets = ood(root, hard_split=1, name="icons_hard_1")
    assert names == CLASS_NAMES[:6]
    assert {key.split("-")[1] for key in test.keys} == set(CLASS_NAMES[:6])
    assert list(sets) == ["icons_hard_1"]
    keys = sets["icons_hard_1"].keys
    assert sum(key.startswith("near-test") for key in keys) == OOD_PICTURES // 2  # those that show a violin
    assert {key.split("-")[1] for key in keys if not key.startswith("near")} == set(CLASS_NAMES[6:9])


def test_the_validation_part_of_a_hard_split_holds_no_test_picture(root):
    (val,) = ood(root, hard_split=1, part="val").values()
    assert val.keys
    assert not any("test" in key for key in val.keys)


def test_a_hard_split_that_is_not_there_is_named(root):
    with pytest.raises(DataError, match="lists no hard_splits 4"):
        load(root, hard_split=4)


# --- the folder ----------------------------------------------------------------------------------------------------


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"No benchmark\.json in .*: data\.root must be a folder with the icons shards"):
        load(tmp_path)


def test_a_damaged_index_is_refused(tmp_path):
    (tmp_path / "benchmark.json").write_text('{"class_names": ["a"')
    with pytest.raises(DataError, match=r"benchmark\.json is damaged"):
        load(tmp_path)


def test_a_shard_that_the_index_does_not_list_is_named(tmp_path):
    (tmp_path / "benchmark.json").write_text('{"class_names": ["a"], "shards": {}}')
    with pytest.raises(DataError, match=r"lists no shards id_train\.tar"):
        load(tmp_path)


def test_a_shard_that_was_changed_afterwards_is_refused(tmp_path):
    root = write_benchmark(tmp_path, CLASS_NAMES[:2])
    with (root / "id_test.tar").open("ab") as file:
        file.write(b"\0" * 512)
    with pytest.raises(DataError, match=r"id_test\.tar is damaged or was altered"):
        load(root)


def test_where_the_shards_lie_is_no_part_of_the_request_hash(root):
    here, there = (IconsID(name="icons", num_shots=3, root=str(path)) for path in (root, "elsewhere"))
    assert here.hash_payload() == there.hash_payload()
