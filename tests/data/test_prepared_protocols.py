"""Shards of one protocol under the settings of another: served where the pictures are the same, else refused."""

from __future__ import annotations

import miniatures
import pytest

from negprompt.data.base import load_split
from negprompt.data.imagenet import ImageNetID, ImageNetOOD
from negprompt.data.parts import parts_of
from negprompt.data.shards.prepare import prepare
from negprompt.data.tiny_imagenet import TinyImageNetID, TinyImageNetOOD
from negprompt.errors import DataError

OOD_CLASSES = miniatures.resource("split2_ood.txt")
IDS = (*miniatures.resource("split2_id.txt"), *OOD_CLASSES, "n01440764")


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Shards of classes of split 2 and of one that it does not know; three test pictures could not be decoded."""
    top = tmp_path_factory.mktemp("imagenet")
    root = miniatures.imagenet(top / "pictures", wordnet_ids=IDS, train_per_class=1, val_per_class=2)
    for wordnet_id in (*OOD_CLASSES[:2], "n01440764"):
        miniatures.truncate(min((root / "val" / wordnet_id).iterdir()))
    id_sets = ImageNetID(name="imagenet_1k", num_shots=1, root=str(root))
    sets = {source.name: source.read() for source in id_sets.sources()}
    prepare(sets, id_sets.classes(), top / "shards", name="imagenet_1k", corrupt="skip")
    return str(top / "shards")


def test_a_hard_split_on_shards_of_all_classes_counts_what_its_own_classes_lack(imagenet):
    assert "n01440764" not in (*miniatures.resource("split2_id.txt"), *OOD_CLASSES)
    id_sets = ImageNetID(name="imagenet_hard_2", num_shots=1, hard_split=2, shards=imagenet)
    split = load_split(id_sets, ImageNetOOD(name="imagenet_hard_2", hard_split=2, shards=imagenet), 1)
    assert (split.test.dropped, split.ood["imagenet_hard_2"].dropped, split.dropped) == (0, 2, 2)
    assert len(split.ood["imagenet_hard_2"].keys) == 2 * len(OOD_CLASSES) - 2


def test_shards_of_one_trial_of_tiny_imagenet_serve_no_other(tmp_path):
    """The known classes would be those of the one trial under the name of the other."""
    root = miniatures.tiny_imagenet(tmp_path / "pictures", train_per_class=1)

    def sets(trial, **where):
        shared = {"name": "tiny_imagenet", "trial": trial, **where}
        return TinyImageNetID(num_shots=1, **shared), TinyImageNetOOD(**shared)

    files = sets(1, root=str(root / "tiny-imagenet-200"))
    parts = parts_of(*files, train="all", seed=1)
    prepare(parts.sets, parts.classes, tmp_path / "shards", name="tiny_imagenet")
    shards = str(tmp_path / "shards")
    assert load_split(*sets(1, shards=shards), 1).sha256 == load_split(*files, 1).sha256
    with pytest.raises(DataError, match="have no set 'ood/unknown_zoc_2'"):
        load_split(*sets(2, shards=shards), 1)
