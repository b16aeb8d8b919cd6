"""The four conventional OOD sets under the names that people unpack them to."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path

import pytest
from miniatures import TEXTURES, conventional

from negprompt.data.conventional import ConventionalOOD
from negprompt.errors import ConfigError, DataError

SETS = ["iNaturalist", "SUN", "Places", "Texture"]
OWN = {"iNaturalist": "iNaturalist/images", "SUN": "SUN/images", "Places": "Places/images", "Texture": "dtd/images"}


@pytest.fixture
def root(tmp_path, trees) -> Path:
    return Path(shutil.copytree(trees("conventional"), tmp_path / "data"))


def sets(root: Path, /, **others):
    return ConventionalOOD(**{"name": "conventional", "root": str(root), **others})


def test_the_sets_of_the_paper_in_the_order_of_its_columns(root):
    loaded = sets(root).load()
    assert list(loaded) == SETS
    for name, images in loaded.items():
        files = {path.relative_to(root / OWN[name]).as_posix(): path for path in (root / OWN[name]).rglob("*.jpg")}
        assert set(images.keys) == files.keys()
        assert images.labels == [-1] * len(files)
        digests = [digest.tobytes() for digest in images.encoded.known]
        assert digests == [hashlib.sha256(files[key].read_bytes()).digest() for key in images.keys]


def test_the_texture_set_is_the_whole_of_dtd(root):
    keys = sets(root).load()["Texture"].keys
    assert Counter(key.partition("/")[0] for key in keys) == dict.fromkeys(TEXTURES, 1)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        *(("iNaturalist", folder) for folder in ("iNaturalist", "inaturalist/images", "inaturalist")),
        *(("SUN", folder) for folder in ("SUN", "sun/images", "sun")),
        *(("Places", folder) for folder in ("Places", "places365/images", "places365", "places/images")),
        *(("Texture", folder) for folder in ("Texture/images", "Textures/images", "Texture", "Textures", "texture")),
    ],
)
def test_a_set_is_the_same_in_every_folder_that_is_in_use(tmp_path, root, name, folder):
    (tmp_path / "other" / folder).parent.mkdir(parents=True)
    shutil.copytree(root / OWN[name], tmp_path / "other" / folder)
    there, here = (sets(place, sets=[name]).load()[name] for place in (tmp_path / "other", root))
    assert list(there.keys) == list(here.keys)
    assert (there.encoded.known == here.encoded.known).all()


def test_all_data_sets_may_lie_in_one_folder(root):
    assert sets(root, root=None, data_root=str(root)).load().keys() == set(SETS)


def test_sets_are_used_in_the_order_asked_for(root):
    assert list(sets(root, sets=["SUN", "iNaturalist"]).load()) == ["SUN", "iNaturalist"]


def test_a_missing_set_says_where_it_was_looked_for_and_how_to_do_without(root):
    shutil.rmtree(root / "SUN")
    with pytest.raises(DataError) as error:
        sets(root).check()
    message = str(error.value)
    assert message.startswith(f"OOD set SUN is not in {root}: looked for SUN/images, SUN, sun/images, sun.")
    assert "ood.root" in message
    assert "ood.sets=[iNaturalist,Places,Texture]" in message
    sets(root, sets=["iNaturalist", "Places", "Texture"]).check()


def test_an_empty_set_is_refused(root):
    shutil.rmtree(root / "SUN" / "images")
    (root / "SUN" / "images").mkdir()
    with pytest.raises(DataError, match="OOD set SUN has no picture"):
        sets(root).load()


def test_an_unknown_set_is_answered_with_the_nearest(root):
    with pytest.raises(ConfigError, match=r"ood\.sets: unknown OOD set 'Textures'; did you mean 'Texture'"):
        sets(root, sets=["Textures"]).check()


def test_a_set_of_another_size_than_the_papers_is_said(root, caplog):
    conventional(root, per_set=2)
    sets(root, sets=["Texture"]).load()
    assert "Texture: 47 pictures, not the protocol's 5,640" in caplog.text
