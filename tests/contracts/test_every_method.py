"""Holds for every method that has a yaml in conf/method: nothing to list here when one is added."""

from __future__ import annotations

import csv
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import QUIET, TinySettings, listening, write_captions
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from negprompt import api
from negprompt.cli.build import build_request
from negprompt.features.workbench import load_backbone
from negprompt.methods.base import PromptLearning
from negprompt.prompts import bundle as bundles

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
# Single-precision gradients of a random CLIP are steep: with larger steps the paper's NIS jumps about its floor.
SHORT = {"epochs": 4, "batch_size": 16, "lr": 1e-5, "warmup_epochs": 0}
STEPS = 12  # four epochs of sixty pictures


def request_of(name, icons, runs_dir):
    """What `negprompt train method=<name>` asks for, without a backbone's preset, on a random CLIP for a few steps."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [f"method={name}", f"data.root={icons}", "data.num_shots=3", "backbone=vit_b16_laion2b"]
        config = OmegaConf.to_container(compose("train", overrides), resolve=True)
    for stage in (config["method"], config["method"].get("positive", {})):
        if stage.get("optimizer"):
            stage["optimizer"] |= SHORT
    if "captions" in config["method"]:  # what is trained once for all benchmarks
        captions = write_captions(runs_dir / "captions")
        config["method"] |= {"captions": str(captions), "cache_dir": None}
        config["method"]["training"] |= {"epochs": 1, "batch_size": 16}
    return replace(build_request(config), backbone=TinySettings(), trainer=QUIET, runs_dir=runs_dir, features_dir=None)


@pytest.fixture(scope="module", params=NAMES)
def run(request, icons, tmp_path_factory):
    """A request and the finished run of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("negprompt.phases.score_histograms", lambda *_, **__: None)
        weights = load_backbone(TinySettings())[0].weights_sha256()
        wanted = request_of(request.param, icons, tmp_path_factory.mktemp(request.param))
        finished = api.train(wanted)
        assert load_backbone(TinySettings())[0].weights_sha256() == weights
    return wanted, finished


def module_of(wanted, finished):
    """The module as it was before training."""
    stage1 = finished.metrics["positive_prompts"]
    found = next((path for path in wanted.runs_dir.rglob(stage1) if path.is_dir()), None) if stage1 else None
    positive = None if found is None else bundles.load(found)
    bench = api._workbench(wanted)
    return wanted.method.module(bench.backbone, bench.train_class_names, wanted.seed, positive)


def test_its_name_is_that_of_its_yaml_and_of_its_folder(run):
    wanted, finished = run
    assert wanted.method.name in NAMES
    assert finished.metrics["method"] == wanted.method.name == finished.folder.parents[1].name


def test_it_finishes_with_a_table_of_every_score_it_can_give(run):
    wanted, finished = run
    scores = finished.metrics["scores"]
    assert ("negprompt" in scores) == ("negative" in wanted.method.provides)
    assert {"mcm", "msp", "max_logit", "energy"} <= set(scores)
    for table in scores.values():
        assert list(table) == ["near", "symbols", "logos", "flags", "mean"]
        assert all(0 <= value <= 1 for key, value in table["mean"].items() if key != "n")


def test_its_prompts_hold_what_it_says_it_provides(run):
    wanted, finished = run
    bundle = bundles.load(finished.folder)
    assert (bundle.negative is not None) == ("negative" in wanted.method.provides)
    assert bool(torch.isfinite(bundle.positive).all())
    assert bundle.positive.shape[-2] == wanted.method.num_context_tokens
    assert finished.metrics["num_negatives"] == (wanted.method.num_negatives if bundle.negative is not None else 0)


def test_it_trains_contexts_and_no_weight_of_the_backbone(run):
    module = module_of(*run)
    trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    assert not any(name.startswith("backbone.") for name in trained)
    assert bool(trained) == (run[0].method.optimizer is not None)


def test_what_it_trains_has_changed_and_nothing_else(run):
    wanted, finished = run
    module, learned = module_of(wanted, finished), bundles.load(finished.folder)
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    before = module.contexts()
    pairs = {"positive": (before.positive, learned.positive), "negative": (before.negative, learned.negative)}
    moved = {name for name, (one, two) in pairs.items() if one is not None and not torch.equal(one, two)}
    assert len(moved) == len(trained)


def test_its_checkpoint_holds_no_backbone(run):
    wanted, finished = run
    file = finished.folder / "checkpoints" / "last.ckpt"
    assert file.is_file() == (wanted.method.optimizer is not None)
    if file.is_file():
        assert not any(name.startswith("backbone.") for name in torch.load(file, weights_only=True)["state_dict"])


def test_its_loss_falls(run):
    wanted, finished = run
    if wanted.method.optimizer is None:
        assert not (finished.folder / "metrics.csv").exists()
        return
    rows = list(csv.DictReader((finished.folder / "metrics.csv").open()))
    assert [row["step"] for row in rows] == ["3", "6", "9", "12"]
    assert float(rows[-1]["train/loss"]) < float(rows[0]["train/loss"])


def test_it_goes_on_after_a_crash_as_if_there_had_been_none(run, icons, tmp_path, monkeypatch, no_figures):
    wanted, finished = run
    if wanted.method.optimizer is None:
        assert finished.metrics["steps"] == 0
        return
    own, step, crashes = type(module_of(wanted, finished)), PromptLearning.training_step, []

    def crashing(self, batch, batch_idx):
        if isinstance(self, own) and self.global_step == STEPS - 2 and not crashes:
            crashes.append(self.global_step)
            raise OSError("power cut")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(PromptLearning, "training_step", crashing)
    again = replace(wanted, runs_dir=tmp_path)
    with pytest.raises(OSError, match="power cut"):
        api.train(again)
    resumed = api.train(again)
    assert resumed.folder.name == finished.folder.name
    for name in ("prompts.safetensors", "metrics.json", "scores.npz", "metrics.csv"):
        assert (resumed.folder / name).read_bytes() == (finished.folder / name).read_bytes()


@pytest.mark.parametrize("stop", [1, 3, 5, STEPS])
def test_a_signal_at_a_step_changes_nothing(run, tmp_path, monkeypatch, no_figures, stop):
    """In the middle of an epoch, at its end, and at the last step of all."""
    wanted, finished = run
    if wanted.method.optimizer is None:
        return
    own, step = type(module_of(wanted, finished)), PromptLearning.training_step

    def signalled(self, batch, batch_idx):
        if isinstance(self, own) and self.global_step == stop - 1:
            signal.raise_signal(signal.SIGUSR1)
        return step(self, batch, batch_idx)

    again = replace(wanted, runs_dir=tmp_path, features_dir=wanted.features_dir or wanted.runs_dir / "_features")
    with monkeypatch.context() as patch:
        patch.setattr(PromptLearning, "training_step", signalled)
        with listening(), pytest.raises(KeyboardInterrupt):
            api.train(again)
    resumed = api.train(again)
    assert resumed.folder.name == finished.folder.name
    for name in ("prompts.safetensors", "metrics.json", "scores.npz", "metrics.csv"):
        assert (resumed.folder / name).read_bytes() == (finished.folder / name).read_bytes()


def test_its_accuracy_is_that_of_its_positive_prompts(run):
    wanted, finished = run
    stage1 = finished.metrics["positive_prompts"]
    if stage1 is not None:
        (folder,) = [path for path in wanted.runs_dir.rglob(stage1) if path.is_dir()]
        assert json.loads((folder / "metrics.json").read_text())["id_accuracy"] == finished.metrics["id_accuracy"]
