"""Tables 2 and 3 on a miniature ImageNet, by the commands that a user types: from files and from prepared shards."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import miniatures
import numpy as np
import pytest
from command_line import Said, call, results

from negprompt.prompts import bundle as bundles

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_figures")]

LIGHT = ("trainer=cpu", "trainer.progress_bar=false", "backbone=tiny_rn", "data.num_shots=2", "data.class_fraction=0.1")
ONE_STAGE = ("method.optimizer.epochs=1", "method.optimizer.min_steps=0")
TWO_STAGES = (*ONE_STAGE, "method.positive.optimizer.epochs=1", "method.positive.optimizer.min_steps=0")
COMMANDS = (
    ("experiment=table2", "features.views=1", "method=negprompt", *TWO_STAGES),
    (
        "-m",
        "experiment=table3",
        "features.views=1",
        "method=zero_shot",
        "data=imagenet_hard_1,imagenet_hard_2",
        "seed=1",
    ),
    ("experiment=table3", "features.views=1", "method=negprompt", "data=imagenet_hard_2", *TWO_STAGES),
    ("experiment=table3", "features=none", "method=negprompt", "data=imagenet_hard_2", *TWO_STAGES),
)
FILES_ONLY = (
    ("experiment=table2", "features.views=1", "method=zero_shot"),
    (
        "-m",
        "experiment=table3",
        "features.views=1",
        "method=zero_shot",
        "data=imagenet_hard_3,imagenet_hard_4",
        "seed=1",
    ),
)
"""Not run on shards, to save time."""
PER_SET, PER_TEXTURE = 6, 1
TRAINED = {1: 11, 2: 3, 3: 15, 4: 10}
"""Classes that training sees of each split at 10 %, of the paper."""


def split_ids(split, side):
    return miniatures.resource(f"split{split}_{side}.txt")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """`pictures`, `shards`, and the finished runs on each: `from_files` and `from_shards`."""
    top = tmp_path_factory.mktemp("imagenet")
    miniatures.imagenet(top / "pictures" / "imagenet_1k")
    miniatures.conventional(top / "pictures", per_set=PER_SET, per_texture=PER_TEXTURE)
    data = f"paths.data_root={top / 'pictures'}"
    prepared = ("data", "prepare", "imagenet_1k", f"output={top / 'shards'}", "workers=1", data)
    # The shards are all that these runs may look at.
    sources = {"from_files": (data,), "from_shards": (f"data.shards={top / 'shards'}", f"paths.data_root={top}")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("negprompt.phases.score_histograms", lambda *_, **__: None)
        assert call(*prepared, f"paths.runs_dir={top / 'prepared'}") == 0
        for (name, source), command in itertools.product(sources.items(), COMMANDS):
            runs_dir = top / name / ("none" if "features=none" in command else "store")
            assert call("train", *LIGHT, f"paths.runs_dir={runs_dir}", *source, *command) == 0, (name, command)
        for command in FILES_ONLY:
            runs_dir = top / "from_files" / "store"
            assert call("train", *LIGHT, f"paths.runs_dir={runs_dir}", data, *command) == 0, command
    return top


@pytest.fixture(scope="module")
def runs(folders):
    """Folder of each run from files on stored features, by benchmark and method."""
    return {done.parts[-5:-3]: done.parent for done in folders.glob("from_files/store/*/*/*/*/DONE")}


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def trained_names(folder):
    return bundles.load(folder).metadata["train_class_names"]


def of_every_score(folder, ood):
    """`n_id` and `n_ood` of a set, which no score may change."""
    return {(one[ood]["n_id"], one[ood]["n_ood"]) for one in metrics_of(folder)["scores"].values()}


def test_shards_give_the_folders_and_the_bytes_of_files(folders):
    files, shards = results(folders / "from_files"), results(folders / "from_shards")
    assert len([path for path in shards if path.endswith("DONE")]) == 8  # stage 1 is a run of its own
    assert set(shards) <= set(files)
    assert [path for path in shards if files[path] != shards[path]] == []


def test_every_method_is_tested_on_all_pictures_of_table_2(runs):
    sizes = {"iNaturalist": PER_SET, "SUN": PER_SET, "Places": PER_SET, "Texture": 47 * PER_TEXTURE}
    for method in ("zero_shot", "coop", "negprompt"):
        metrics = metrics_of(runs["imagenet_1k", method])
        assert metrics["num_classes"] == 1000
        assert next(iter(metrics["scores"].values())).keys() == {*sizes, "mean"}
        for ood, size in sizes.items():
            assert of_every_score(runs["imagenet_1k", method], ood) == {(1000, size)}


@pytest.mark.parametrize("split", TRAINED)
def test_a_hard_split_is_tested_on_the_pictures_of_its_classes(runs, split):
    folder, name = runs[f"imagenet_hard_{split}", "zero_shot"], f"imagenet_hard_{split}"
    assert of_every_score(folder, name) == {(len(split_ids(split, "id")), len(split_ids(split, "ood")))}
    with np.load(folder / "scores.npz") as saved:
        labels = {f"ILSVRC2012_val_{i + 1:08d}.JPEG": label for i, label in enumerate(miniatures.validation_labels())}
        ids = miniatures.resource("wordnet_ids.txt")
        assert sorted(ids[labels[key]] for key in saved[f"ood/{name}/key"]) == sorted(split_ids(split, "ood"))
        assert sorted(ids[labels[key]] for key in saved["id/key"]) == sorted(split_ids(split, "id"))


@pytest.mark.parametrize(("split", "trained"), TRAINED.items())
def test_a_tenth_of_the_classes_is_trained_on(runs, split, trained):
    assert len(trained_names(runs[f"imagenet_hard_{split}", "zero_shot"])) == trained


def test_a_tenth_of_all_classes_is_a_hundred(runs):
    assert {len(trained_names(runs["imagenet_1k", method])) for method in ("zero_shot", "coop", "negprompt")} == {100}


def test_features_that_are_stored_score_like_those_computed_at_every_step(folders):
    """Both augment epoch 0 alike, so that one epoch of training sees the same."""
    runs = [done.parent for done in folders.glob("from_files/*/imagenet_hard_2/negprompt/*/*/DONE")]
    assert len(runs) == 2
    with np.load(runs[0] / "scores.npz") as one, np.load(runs[1] / "scores.npz") as other:
        assert one.keys() == other.keys()
        for name in one:
            if one[name].dtype.kind == "f":
                np.testing.assert_allclose(one[name], other[name], atol=1e-3)


def test_the_script_of_table_3_finds_the_runs_and_writes_its_results(folders, tmp_path):
    experiments = Path(__file__).parents[2] / "experiments"
    (tmp_path / "table3_hard").mkdir()
    shutil.copy(experiments / "paper.sh", tmp_path)
    script = shutil.copy(experiments / "table3_hard" / "run.sh", tmp_path / "table3_hard")
    runs_dir = folders / "from_files" / "store"
    words = (*LIGHT, f"paths.data_root={folders / 'pictures'}", "features.views=1", "method=zero_shot", "seed=1")
    command = ["bash", script, *words, "data=imagenet_hard_1,imagenet_hard_2", "score=auto"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"NEGPROMPT_RUNS": str(runs_dir), "PATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 done" not in done.stdout  # both were finished
    results = (tmp_path / "table3_hard" / "results.csv").read_text().splitlines()
    assert results[0].startswith('group,system,Split-1 AUROC,"Split-1 AUROC, paper"')
    assert any(line.startswith("hand-written prompts,MCM,") for line in results)


def test_the_report_is_one_table_of_all_runs(folders, capsys):
    runs = folders / "from_files" / "store"
    said = Said(call("report", f"runs={runs}", f"output={folders / 'report'}"), *capsys.readouterr())
    assert (said.code, said.messages) == (0, [])
    text = (folders / "report" / "summary.md").read_text()
    for found in ("OOD sets of imagenet_1k", "Hard splits of imagenet", *(f"Split-{split}" for split in TRAINED)):
        assert found in text
