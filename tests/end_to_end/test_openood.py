"""OpenOOD's protocol on a miniature by the commands that a user types: groups, parts, files and prepared shards."""

from __future__ import annotations

import json

import miniatures
import numpy as np
import pytest
from command_line import Said, call, one_message, results

pytestmark = pytest.mark.usefixtures("no_figures")

# Fifty classes that some of the shifted pictures belong to.
CLASSES = [miniatures.resource("wordnet_ids.txt")[label] for label in range(0, 1000, 20)]
LIGHT = (
    *("experiment=openood", "trainer=cpu", "trainer.progress_bar=false", "backbone=tiny_rn", "method=zero_shot"),
    *("features.views=1", "data.num_shots=1", f"data.keep_classes=[{','.join(CLASSES)}]", "data.full_spectrum=true"),
)
NEAR, FAR = {"ssb_hard": 12, "ninco": 16}, {"inaturalist": 10, "textures": 43, "openimage_o": 12}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """`pictures`, `shards_test`, `shards_val`, and the finished runs of both parts: `from_files`, `from_shards`."""
    top = tmp_path_factory.mktemp("openood")
    miniatures.openood(top / "pictures" / "openood")
    data = f"paths.data_root={top / 'pictures'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("negprompt.phases.score_histograms", lambda *_, **__: None)
        for part in ("test", "val"):
            shards = top / f"shards_{part}"
            options = ("data.full_spectrum=true", f"data.part={part}", f"output={shards}", "workers=1")
            assert call("data", "prepare", "openood", data, *options, f"paths.runs_dir={top / 'prepared'}") == 0
            words = ("train", *LIGHT, f"data.part={part}")
            assert call(*words, data, f"paths.runs_dir={top / 'from_files'}") == 0
            # The shards are all that this run may look at.
            gone = f"paths.data_root={top / 'gone'}"
            assert call(*words, gone, f"data.shards={shards}", f"paths.runs_dir={top / 'from_shards'}") == 0
    return top


@pytest.fixture(scope="module")
def metrics(folders):
    """metrics.json of the runs from files, by part."""
    found = {}
    for done in folders.glob("from_files/*/*/*/*/DONE"):
        part = "val" if "part: val" in (done.parent / "config.yaml").read_text() else "test"
        found[part] = done.parent, json.loads((done.parent / "metrics.json").read_text())
    return found


def listed(folders, name):
    """Paths and labels of a list of the protocol."""
    path = folders / "pictures" / "openood" / "benchmark_imglist" / "imagenet" / f"{name}.txt"
    return [(line.rpartition(" ")[0], int(line.rpartition(" ")[2])) for line in path.read_text().splitlines()]


def test_shards_give_the_folders_and_the_bytes_of_files(folders):
    files, shards = results(folders / "from_files"), results(folders / "from_shards")
    assert len([path for path in files if path.endswith("DONE")]) == 2
    assert files == shards


@pytest.mark.parametrize("spectrum", ["plain", "full"])
def test_near_and_far_are_the_plain_means_of_their_sets(metrics, spectrum):
    _, of_test = metrics["test"]
    assert of_test["groups"] == {"near": list(NEAR), "far": list(FAR)}
    for sets in (of_test if spectrum == "plain" else of_test["full_spectrum"])["scores"].values():
        for mean, members in {"near": NEAR, "far": FAR, "mean": {**NEAR, **FAR}}.items():
            assert {"auroc", "fpr95_id_positive", "fpr95_ood_positive"} <= sets[mean].keys()
            for metric, value in sets[mean].items():
                assert value == pytest.approx(sum(sets[name][metric] for name in members) / len(members), abs=1e-12)


def test_every_set_is_counted_in_both_spectra(folders, metrics):
    _, of_test = metrics["test"]
    places = {miniatures.resource("wordnet_ids.txt").index(key) for key in CLASSES}
    shifted = {
        name: sum(label in places for _, label in listed(folders, f"test_{name}"))
        for name in ("imagenet_v2", "imagenet_c", "imagenet_r")
    }
    full = of_test["full_spectrum"]
    assert {name: one["n"] for name, one in full["sets"].items()} == {n: count for n, count in shifted.items() if count}
    for table, n_id in ((of_test, len(CLASSES)), (full, len(CLASSES) + sum(shifted.values()))):
        for sets in table["scores"].values():
            for name, n_ood in {**NEAR, **FAR}.items():
                assert (sets[name]["n_id"], sets[name]["n_ood"]) == (n_id, n_ood)


@pytest.mark.parametrize("part", ["test", "val"])
def test_each_part_is_tested_on_its_own_lists(folders, metrics, part):
    folder, of_part = metrics[part]
    places = {miniatures.resource("wordnet_ids.txt").index(key) for key in CLASSES}
    with np.load(folder / "scores.npz") as saved:
        id_keys = [path for path, label in listed(folders, f"{part}_imagenet") if label in places]
        assert saved["id/key"].tolist() == id_keys
        assert saved["ood/openimage_o/key"].tolist() == [path for path, _ in listed(folders, f"{part}_openimage_o")]
        ood = {name.split("/")[1] for name in saved if name.startswith("ood/")}
    assert ood == ({*NEAR, *FAR} if part == "test" else {"openimage_o"})
    assert ("groups" in of_part) == (part == "test")


@pytest.mark.parametrize(("part", "other", "lacks"), [("test", "val", "'test'"), ("val", "test", "'val'")])
def test_shards_of_one_part_do_not_serve_the_other(folders, tmp_path, capsys, part, other, lacks):
    """Settings would be chosen on the test pictures, and nobody would see it."""
    words = (*LIGHT, f"data.part={part}", f"data.shards={folders / f'shards_{other}'}", f"paths.runs_dir={tmp_path}")
    one_message(Said(call("train", *words), *capsys.readouterr()), 1, f"have no set {lacks}")
    assert not list(tmp_path.rglob("metrics.json"))
