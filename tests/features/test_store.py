"""The feature store: what it holds, when it is used, and what it says when something is wrong with it."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
from collections import namedtuple

import numpy as np
import pytest
import torch
from extraction import BLOCK, COUNT, PICTURES, SIX_A_VIEW, Local, Logged, calls, contents, store, views
from helpers import SPEC

from negprompt.data.base import Augmentation
from negprompt.data.datamodule import ImageDataset
from negprompt.data.decoding import decode
from negprompt.errors import BackboneError, DataError, RunError
from negprompt.features.key import View, folder_name
from negprompt.types import SampleIndex


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


def pixels(view):
    """What a picture loader hands to the backbone."""
    where = [SampleIndex(row, view.number) for row in range(len(view.images.keys))]
    return ImageDataset(view.images, SPEC, view.augmentation, view.seed).__getitems__(where)["image"]


def folders(root):
    return sorted(path for path in root.glob("*/*") if path.is_dir())


# --- content -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [Logged, Local])
def test_the_store_holds_what_the_backbone_gives_for_the_pictures_of_the_loader(root, kind, workers):
    wanted = [View(PICTURES), *views()]
    filled = store(root, kind=kind, num_workers=workers).get(wanted)
    backbone = kind(root.with_name("other"))
    for view, stored in zip(wanted, filled.stored, strict=True):
        blocks = pixels(view).split(BLOCK)
        assert torch.equal(stored.features, torch.cat([backbone.encode_image(block) for block in blocks]))
        assert stored.features.dtype == torch.float32
        if kind is Local:
            local = torch.cat([backbone.encode_image_with_local(block)[1] for block in blocks])
            assert torch.equal(stored.local, local.half())
        else:
            assert stored.local is None


def test_features_are_not_normalised(root):
    lengths = store(root).get([View(PICTURES)]).stored[0].features.norm(dim=1)
    assert float((lengths - 1).abs().min()) > 1e-3


def test_files_are_plain_numpy(root):
    stored = store(root, kind=Local).get([View(PICTURES)]).stored[0]
    (folder,) = folders(root)
    features, local = (np.load(folder / name, mmap_mode="r") for name in ("features.npy", "local.npy"))
    assert (features.dtype, local.dtype, local.shape) == (np.float32, np.float16, (COUNT, 4, 8))
    assert np.array_equal(features, stored.features)
    assert {path.name for path in folder.iterdir()} == {"features.npy", "local.npy", "meta.json"}


def test_changing_a_tensor_leaves_the_file_alone(root):
    store(root).get([View(PICTURES)]).stored[0].features.zero_()
    assert store(root).get([View(PICTURES)]).stored[0].features.any()


def test_a_request_is_one_pass_in_blocks_and_the_second_reads(root):
    first = store(root).get(views(3))
    assert calls(root) == [BLOCK] * (3 * (SIX_A_VIEW - 1)) + 3 * [COUNT % BLOCK]
    again = store(root).get(views(3))
    assert len(calls(root)) == 3 * SIX_A_VIEW
    assert (first.computed, again.computed, first.pictures) == ((True,) * 3, (False,) * 3, 3 * COUNT)


@pytest.mark.parametrize("workers", [0, 2])
def test_all_views_of_a_picture_take_one_decoding(root, monkeypatch, workers):
    def logged(encoded, key, name):
        with root.with_name("decoded").open("a") as file:
            file.write(f"{key}\n")
        return decode(encoded, key, name)

    monkeypatch.setattr("negprompt.data.datamodule.decode", logged)
    store(root, num_workers=workers).get(views(3))
    assert sorted(root.with_name("decoded").read_text().split()) == sorted(PICTURES.keys)


def test_more_views_compute_only_the_new_ones(root):
    store(root).get(views(2))
    before = contents(root)
    assert store(root).get(views(5)).computed == (False, False, True, True, True)
    assert len(calls(root)) == 5 * SIX_A_VIEW
    assert before.items() <= contents(root).items()


def test_a_view_asked_for_twice_is_computed_once(root):
    one, other = store(root).get([View(PICTURES), View(PICTURES)]).stored
    assert torch.equal(one.features, other.features)
    assert len(calls(root)) == SIX_A_VIEW


OTHER = PICTURES._replace(encoded=[*PICTURES.encoded[1:], PICTURES.encoded[0]])


@pytest.mark.parametrize(
    "view",
    [
        View(PICTURES),
        *views(images=OTHER)[:1],
        *views(seed=2)[:1],
        *views(augmentation=Augmentation(scale_min=0.4))[:1],
        *views(images=PICTURES._replace(keys=[*PICTURES.keys[1:], "x"]))[:1],
        *views(images=PICTURES._replace(name="other"))[:1],
    ],
    ids=["transform", "pictures", "seed", "augmentation", "keys", "set"],
)
def test_what_changes_the_features_has_its_own_entry(root, view):
    store(root).get(views(1))
    assert store(root).get([view]).computed == (True,)


def test_precision_weights_and_regions_have_their_own_entries(root):
    assert store(root).get([View(PICTURES)]).computed == (True,)
    assert store(root, precision="bf16-mixed").get([View(PICTURES)]).computed == (True,)
    assert store(root, kind=Local).get([View(PICTURES)]).computed == (True,)
    changed = store(root)
    with torch.no_grad():
        changed.backbone.weight.mul_(2)
    other = type(changed)(root, changed.backbone, changed.backbone.weights_sha256(), changed.trainer)
    assert other.get([View(PICTURES)]).computed == (True,)
    assert len(folders(root)) == 4


def test_labels_and_block_size_change_nothing(root):
    store(root).get([View(PICTURES)])
    relabelled = PICTURES._replace(labels=[0] * COUNT)
    assert store(root, eval_batch_size=7).get([View(relabelled)]).computed == (False,)


def test_global_features_are_also_read_from_an_entry_with_local_ones(root):
    both = store(root, kind=Local).get([View(PICTURES)]).stored[0]
    alone = store(root).get([View(PICTURES)])
    assert alone.computed == (False,)
    assert torch.equal(alone.stored[0].features, both.features)


def test_the_key_is_kept_and_names_the_folder(root):
    store(root).get(views(1))
    (folder,) = folders(root)
    meta = json.loads((folder / "meta.json").read_text())
    assert folder.name == folder_name(meta["key"])
    assert folder.name.startswith("some_train-")
    assert folder.parent.name == "logged"
    assert meta["key"]["transform"] == {
        "name": "augmented", "scale_min": 0.5, "scale_max": 1.0, "flip": 0.5, "seed": 1, "view": 0,
    }  # fmt: skip


def test_the_size_is_announced_before(root, caplog):
    caplog.set_level(logging.INFO)
    store(root, kind=Local).get(views(3))
    (line,) = [text for text in caplog.messages if "computing" in text]
    gigabytes = 3 * COUNT * (8 * 4 + 4 * 8 * 2) / 1e9
    assert f"{3 * COUNT} pictures" in line
    assert float(line.split("counts), ")[1].split(" GB")[0]) == pytest.approx(gigabytes, rel=0.3)


def test_local_features_of_a_backbone_without(root):
    without = store(root)
    wanting = type(without)(root, without.backbone, "", without.trainer, local=True)
    with pytest.raises(BackboneError, match="backbone logged has no local image features"):
        wanting.get([View(PICTURES)])
    assert not folders(root)


# --- damage --------------------------------------------------------------------------------------------------------


def damaged(root, name, change):
    store(root).get([View(PICTURES)])
    (folder,) = folders(root)
    content = bytearray((folder / name).read_bytes())
    (folder / name).write_bytes(change(content))
    return folder


def test_a_truncated_file_is_named_with_its_size_and_the_fix(root):
    folder = damaged(root, "features.npy", lambda content: content[:500])
    with pytest.raises(
        DataError, match=rf"features\.npy is damaged: 500 bytes where 832 .* Delete the folder {folder}"
    ):
        store(root).get([View(PICTURES)])
    shutil.rmtree(folder)
    assert store(root).get([View(PICTURES)]).computed == (True,)


def test_another_header_is_damage(root):
    damaged(root, "features.npy", lambda content: content.replace(b"<f4", b"<i4"))
    with pytest.raises(DataError, match="header"):
        store(root).get([View(PICTURES)])


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"key": {}, "files": {"a": {}}}', b'{"key": 1, "files": {}}'])
def test_a_damaged_description(root, content):
    damaged(root, "meta.json", lambda _: content)
    with pytest.raises(DataError, match=r"meta\.json is missing or damaged.*Delete the folder"):
        store(root).get([View(PICTURES)])


def test_a_missing_file(root):
    (damaged(root, "meta.json", bytes) / "features.npy").unlink()
    with pytest.raises(DataError, match=r"features\.npy cannot be read"):
        store(root).get([View(PICTURES)])


def test_an_entry_of_another_key_shows_both(root):
    store(root).get(views(2))
    one, other = folders(root)
    shutil.rmtree(one)
    other.rename(one)
    with pytest.raises(DataError, match=r"another key: stored .*\"view\": [01].*, wanted .*\"view\": [01]"):
        store(root).get(views(2))


# --- disks ---------------------------------------------------------------------------------------------------------


def no_room(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_says_how_much_is_needed_before_anything_is_computed(root, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(RunError, match=r"No room .* GB are needed in .* GB are free.*paths\.features_dir="):
        store(root).get(views())
    assert not calls(root)
    assert not folders(root)


@pytest.fixture
def small_disk(tmp_path):
    """`small_disk(options)`: a folder on a disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode != 0:
            pytest.skip("a file system of its own can only be mounted by root")
        return folder

    yield mount
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def test_a_disk_that_is_really_full(small_disk):
    root = small_disk("size=64k") / "store"
    (root.parent / "big").write_bytes(bytes(60_000))
    with pytest.raises(RunError, match=r"(No room|the disk is full).*paths\.features_dir="):
        store(root).get(views(40))
    assert not folders(root)
    (root.parent / "big").unlink()
    assert store(root).get(views(1)).computed == (True,)


def test_a_disk_that_is_really_read_only(small_disk):
    root = small_disk("size=1m") / "store"
    store(root).get(views(1))
    subprocess.run(["mount", "-o", "remount,ro", str(root.parent)], check=True)
    assert store(root).get(views(1)).computed == (False,)
    with pytest.raises(RunError, match=r"read-only.*paths\.features_dir="):
        store(root).get(views(2))


def test_too_little_room_is_seen_without_trying(root, monkeypatch):
    usage = namedtuple("usage", "total used free")(100, 99, 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(RunError, match=r"1e-09 GB are free"):
        store(root).get(views())
    assert not folders(root)


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_cannot_reserve_is_written_all_the_same(root, monkeypatch, code):
    def unsupported(*_):
        raise OSError(code, "not here")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    (stored,) = store(root).get([View(PICTURES)]).stored
    assert stored.features.all()


def test_a_disk_that_fills_up_on_the_way_keeps_what_was_done(root, monkeypatch):
    pwrite, written = os.pwrite, []

    def filling(*args):
        written.append(args)
        return no_room() if len(written) > 4 else pwrite(*args)

    monkeypatch.setattr(os, "pwrite", filling)
    with pytest.raises(RunError, match="the disk is full"):
        store(root).get(views())
    monkeypatch.undo()
    done = len(calls(root))
    store(root).get(views())
    assert len(calls(root)) - done == 2 * SIX_A_VIEW - 4


def refuse(*_, **__):
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_read_only_store_is_read(root, monkeypatch):
    store(root).get(views())
    for name in ("os.open", "os.mkdir", "pathlib.Path.mkdir", "pathlib.Path.touch"):
        monkeypatch.setattr(name, refuse)
    assert store(root).get(views()).computed == (False, False)


def test_a_read_only_folder_is_named_with_the_setting(root, monkeypatch):
    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(RunError, match=r"read-only.*paths\.features_dir=<folder>, or features=none"):
        store(root).get(views())


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission(root):
    root.mkdir()
    root.chmod(0o500)
    with pytest.raises(RunError, match=r"no permission.*paths\.features_dir="):
        store(root).get(views())


def test_a_file_in_the_way(root):
    root.write_text("")
    with pytest.raises(RunError, match=r"file.*paths\.features_dir="):
        store(root).get(views())
