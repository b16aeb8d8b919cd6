"""TinyImageNet as it is unpacked, and who is known in its open-set trials."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from miniatures import TINY_IMAGENET, picture, resource
from torchvision.datasets import ImageFolder

from negprompt.data.tiny_imagenet import KNOWN, TinyImageNetID, TinyImageNetOOD
from negprompt.errors import ConfigError, DataError

IDS = sorted(TINY_IMAGENET)
TRIALS = [("zoc", trial) for trial in range(1, 6)] + [("arpl", 1)]
every_trial = pytest.mark.parametrize(("protocol", "trial"), TRIALS)


@pytest.fixture(scope="module")
def root(trees) -> Path:
    return trees("tiny_imagenet") / "tiny-imagenet-200"


@pytest.fixture
def copy(tmp_path, root) -> Path:
    return Path(shutil.copytree(root, tmp_path / "tiny-imagenet-200"))


def id_sets(root: Path, /, **settings) -> TinyImageNetID:
    return TinyImageNetID(**{"name": "tiny_imagenet", "num_shots": 2, "root": str(root), **settings})


def ood_sets(root: Path, /, **settings) -> TinyImageNetOOD:
    return TinyImageNetOOD(**{"name": "tiny_imagenet", "root": str(root), **settings})


def annotated(root: Path) -> dict[str, str]:
    rows = [line.split("\t") for line in (root / "val" / "val_annotations.txt").read_text().splitlines()]
    return {row[0]: row[1] for row in rows}


def test_all_classes_are_the_sorted_ids_and_pictures_have_their_labels(root):
    pictures = id_sets(root, trial=None).load(1)
    by_torchvision = ImageFolder(str(root / "train"))
    assert by_torchvision.classes == IDS
    theirs = {Path(path): label for path, label in by_torchvision.samples}
    assert {pictures.train.encoded.path(row): label for row, label in enumerate(pictures.train.labels)} == theirs
    truth = annotated(root)
    assert {key: IDS[label] for key, label in zip(pictures.test.keys, pictures.test.labels, strict=True)} == truth
    name = pictures.test.keys[17]
    assert pictures.test.encoded[17] == picture("tiny imagenet", truth[name], name, size=(64, 64))


def test_names_are_imagenets_and_else_the_first_of_the_archives_words(copy):
    names = dict(zip(resource("wordnet_ids.txt"), resource("class_names.txt"), strict=True))
    assert id_sets(copy, trial=None).classes() == (tuple(IDS), tuple(names[key] for key in IDS))
    # An id that is none of ImageNet's.
    for path in (copy / "wnids.txt", copy / "val" / "val_annotations.txt"):
        path.write_text(path.read_text().replace(IDS[0], "n00000001"))
    (copy / "train" / IDS[0]).rename(copy / "train" / "n00000001")
    with (copy / "words.txt").open("a") as file:
        file.write("n00000001\tfirst thing, second name\n")
    assert id_sets(copy, trial=None).classes().names[0] == "first thing"


def test_each_trial_knows_twenty_of_two_hundred():
    assert {protocol: len(trials) for protocol, trials in KNOWN.items()} == {"zoc": 5, "arpl": 1}
    for trials in KNOWN.values():
        assert len(set(trials)) == len(trials)
        for places in trials:
            assert len(places) == len(set(places)) == 20
            assert set(places) <= set(range(200))
    assert KNOWN["zoc"][0][:3] == (192, 112, 145)
    assert KNOWN["zoc"][4][-3:] == (8, 29, 26)
    assert KNOWN["arpl"][0][0] == 108


@every_trial
def test_known_and_unknown_pictures_are_all_validation_pictures_and_never_the_same(root, protocol, trial):
    pictures = id_sets(root, protocol=protocol, trial=trial).load(1)
    (unknown,) = ood_sets(root, protocol=protocol, trial=trial).load().values()
    known_ids = sorted(IDS[place] for place in KNOWN[protocol][trial - 1])
    truth = annotated(root)
    assert {key: known_ids[label] for key, label in zip(pictures.test.keys, pictures.test.labels, strict=True)} == {
        key: wordnet_id for key, wordnet_id in truth.items() if wordnet_id in known_ids
    }
    assert set(unknown.keys) == truth.keys() - set(pictures.test.keys)
    assert len({truth[key] for key in unknown.keys}) == 180
    assert set(unknown.labels) == {-1}
    assert Counter(key.partition("/")[0] for key in pictures.train.keys) == dict.fromkeys(known_ids, 2)


def test_a_class_has_the_same_shots_in_every_trial(root):
    drawn = [id_sets(root, num_shots=1, trial=trial).load(1).train.keys for trial in (None, 1, 3)]
    by_class = [{key.partition("/")[0]: key for key in keys} for keys in drawn]
    for some in by_class[1:]:
        assert len(some) == 20
        assert some.items() <= by_class[0].items()


def test_the_archive_is_found_by_itself_or_by_the_folder_that_holds_it(root):
    expected = list(id_sets(root).load(1).test.keys)
    for settings in ({"root": str(root.parent)}, {"root": None, "data_root": str(root.parent)}):
        assert list(id_sets(root, **settings).load(1).test.keys) == expected
        assert ood_sets(root, **settings).load().keys() == {"unknown"}


def test_a_missing_archive_names_the_setting(tmp_path):
    for settings in (id_sets(tmp_path), ood_sets(tmp_path)):
        with pytest.raises(DataError, match=r"No TinyImageNet in .*needs train/ and val/.*data\.root"):
            settings.check()


@pytest.mark.parametrize("name", ["wnids.txt", "words.txt", "val/val_annotations.txt"])
def test_a_missing_file_of_the_archive_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(DataError, match=rf"{name} cannot be read \(No such file.*tiny-imagenet-200\.zip"):
        id_sets(copy).load(1)


def test_a_trial_that_a_protocol_does_not_have_is_refused(root):
    for settings in (id_sets(root, protocol="arpl", trial=2), ood_sets(root, protocol="arpl", trial=2)):
        with pytest.raises(
            ConfigError, match=r"data\.trial=2: data\.protocol=arpl has 1 trial\(s\); set data\.trial=1"
        ):
            settings.check()
    for trial in (0, 6):
        with pytest.raises(ValueError, match="trial"):
            id_sets(root, trial=trial)


def test_where_all_classes_are_known_there_is_no_ood_set(root):
    with pytest.raises(ConfigError, match=r"data\.trial=null knows all 200 classes and leaves none as OOD"):
        ood_sets(root, trial=None).check()


def test_a_picture_without_annotation_is_said_and_on_no_side(copy, caplog):
    path = copy / "val" / "val_annotations.txt"
    lines = path.read_text().splitlines()
    (copy / "val" / "images" / "extra.JPEG").write_bytes((copy / "val" / "images" / "val_0.JPEG").read_bytes())
    pictures = id_sets(copy, trial=None).load(1)
    assert len(pictures.test.keys) == len(lines)
    assert re.search(r"no class: \S*extra\.JPEG", caplog.text)
    assert "extra.JPEG" not in ood_sets(copy).load()["unknown"].keys


def test_test_pictures_which_have_no_labels_are_not_used(root):
    pictures = id_sets(root, trial=None).load(1)
    used = [*pictures.train.keys, *pictures.test.keys, *ood_sets(root).load()["unknown"].keys]
    assert not any("test_" in key for key in used)
