"""CLIPN as a whole: its tower is trained once, goes on after a stop to the byte, and is read by every benchmark."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from adapter_runs import adapters, assert_same, crash_and_go_on, signal_and_go_on
from helpers import QUIET, TinySettings, request, shared_backbone, tiny_backbone, write_captions
from safetensors import safe_open
from safetensors.torch import load_file

from negprompt import api
from negprompt.backbones.embedded import EmbeddedSettings
from negprompt.cli.arguments import parse
from negprompt.cli.build import build_request
from negprompt.cli.compose import compositions, plain
from negprompt.errors import ConfigError, DataError, PromptMismatchError, RunError
from negprompt.methods.caption_adapter import adapter_file, framed
from negprompt.methods.caption_training import decay_groups
from negprompt.methods.clipn import ClipnSettings
from negprompt.methods.clipn_adapter import load_tower
from negprompt.methods.clipn_tower import NoTextTraining
from negprompt.prompts import bundle as bundles
from negprompt.prompts.no_text import NoText, compact, no_text_of
from negprompt.prompts.templates import load_templates
from negprompt.prompts.text_features import ensemble
from negprompt.scores.atd import atd
from negprompt.scores.choice import choose
from negprompt.scores.ctw import ctw
from negprompt.scores.mcm import mcm
from negprompt.training.schedule import AdamWSettings
from negprompt.types import ScoreInputs

PAIRS, STEPS = 48, 6  # two epochs of three batches
TRAINING = AdamWSettings(lr=1e-3, epochs=2, batch_size=16)
pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    return write_captions(tmp_path_factory.mktemp("captions"), shards=2, pairs=PAIRS // 2)


def clipn(captions=None, **changes):
    given = {"name": "clipn", "num_context_tokens": 4, "context_init": "words", "training": TRAINING}
    return ClipnSettings(**{**given, "captions": None if captions is None else str(captions), **changes})


def scores():
    return {score.__name__: choose(score.__name__, score, {}, f"{score.__module__}") for score in (ctw, atd, mcm)}


def wanted(icons, runs_dir, captions=None, *, method=None, **changes):
    method = method or clipn(captions)
    return request(icons, runs_dir, method=method, scores=scores(), **{"stage_scores": scores(), **changes})


@pytest.fixture(scope="module")
def run(icons, captions, tmp_path_factory):
    """A request and its finished run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("negprompt.phases.score_histograms", lambda *_, **__: None)
        asked = wanted(icons, tmp_path_factory.mktemp("clipn"), captions)
        return asked, api.train(asked)


# --- a run ---------------------------------------------------------------------------------------------------------


def test_the_adapter_lies_beside_the_prompts_and_says_what_it_belongs_to(run):
    asked, finished = run
    (trained,) = adapters(asked.runs_dir, "clipn")
    tensors = bundles.load_adapter(finished.folder)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: tensor.shape for name, tensor in NoText(shared_backbone()).tensors().items()
    }
    assert all(torch.equal(tensor, load_file(trained)[name]) for name, tensor in tensors.items())
    for file in (trained, finished.folder / "adapter.safetensors"):
        with safe_open(file, framework="pt") as handle:
            metadata = json.loads(handle.metadata()["negprompt"])
        assert (metadata["backbone"], metadata["method"], metadata["steps"]) == ("tiny_test", "clipn", STEPS)
        assert metadata["weights_sha256"] == tiny_backbone().weights_sha256()


def test_every_part_of_the_tower_was_trained(run):
    before, after = NoText(shared_backbone()).tensors(), bundles.load_adapter(run[1].folder)
    assert not [name for name, tensor in before.items() if torch.equal(tensor, after[name])]


def test_the_tower_learned_to_say_no(run):
    (trained,) = adapters(run[0].runs_dir, "clipn")
    rows = np.genfromtxt(trained.with_name("metrics.csv"), delimiter=",", names=True)
    assert rows["step"].tolist() == [3, STEPS]
    assert rows["trainloss"][-1] < rows["trainloss"][0]


def test_its_checkpoint_holds_no_backbone(run):
    (trained,) = adapters(run[0].runs_dir, "clipn")
    state = torch.load(trained.parent / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert state
    assert all(name.startswith("tower.") for name in state)


def test_both_towers_read_the_same_sentences(run):
    asked, finished = run
    backbone = tiny_backbone()
    reader = asked.method.reader(
        backbone, bundles.load(finished.folder), bundles.load_adapter(finished.folder), ["drum", "fire truck"]
    )
    tower = no_text_of(backbone, bundles.load_adapter(finished.folder))
    image = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    cosines = reader.similarity(image)
    unit = torch.nn.functional.normalize(image, dim=-1)
    for place, name in enumerate(("drum", "fire truck")):
        ids = framed(backbone, f"a photo of a {name}")
        no = tower(torch.tensor([ids]), torch.tensor([len(ids) - 1]), torch.tensor([16]))[0]
        assert cosines.negative.shape == (3, 2, 1)
        assert torch.allclose(cosines.negative[:, place, 0], unit @ no, atol=1e-6)
        whole = torch.nn.functional.pad(torch.tensor([ids]), (0, 77 - len(ids)))
        yes = torch.nn.functional.normalize(backbone.model.encode_text(whole), dim=-1)[0]
        assert torch.allclose(cosines.positive[:, place], unit @ yes, atol=1e-6)


def test_templates_are_averaged_in_both_towers(run):
    asked, finished = run
    backbone, templates = tiny_backbone(), ("a photo of a {}", "{} in the rain")
    adapter = bundles.load_adapter(finished.folder)
    settings = asked.method.model_copy(update={"prompt_templates": templates})
    module = settings.module(backbone, ["drum", "owl"], 1, None)
    bundle = bundles.load(finished.folder)
    bundle = bundle._replace(positive=module.contexts().positive, metadata={**bundle.metadata, **module.metadata()})
    reader = settings.reader(backbone, bundle, adapter, ["drum", "owl"])
    says_no = no_text_of(backbone, adapter).beside(backbone)
    cosines = reader.similarity(torch.eye(16))
    assert torch.allclose(cosines.positive.T, ensemble(backbone, templates, ["drum", "owl"]), atol=1e-6)
    assert torch.allclose(cosines.negative[..., 0].T, ensemble(says_no, templates, ["drum", "owl"]), atol=1e-6)


def test_the_collection_of_128_templates_is_a_setting():
    assert clipn(prompt_templates="clipn128").prompt_templates == load_templates("clipn128")


def test_its_scores_are_those_of_what_its_reader_gives(run):
    finished = run[1]
    assert list(finished.metrics["scores"]) == ["ctw", "atd", "mcm"]
    assert finished.metrics["num_negatives"] == 0
    stored = np.load(finished.folder / "scores.npz")
    assert all(0 <= stored[f"id/{name}"].min() <= stored[f"id/{name}"].max() <= 1 for name in ("ctw", "atd"))


def test_an_untrained_tower_says_yes_and_no_alike(run):
    backbone = tiny_backbone()
    reader = run[0].method.reader(backbone, bundles.load(run[1].folder), NoText(backbone).tensors(), ["drum", "owl"])
    cosines = reader.similarity(torch.randn(4, 16, generator=torch.Generator().manual_seed(1)))
    assert torch.allclose(ctw(ScoreInputs(cosines, 100.0)), torch.full((4,), 0.5).double(), atol=1e-4)


# --- once for all --------------------------------------------------------------------------------------------------


def test_other_splits_templates_and_scores_share_one_tower(run, icons, captions, monkeypatch):
    asked, _ = run
    monkeypatch.setattr(NoTextTraining, "training_step", lambda *_: pytest.fail("trained again"))
    for other in (
        wanted(icons, asked.runs_dir, captions, num_shots=1),
        wanted(icons, asked.runs_dir, captions, class_fraction=0.5),
        wanted(icons, asked.runs_dir, method=clipn(captions, prompt_templates=("a {}",))),
    ):
        assert not api.train(other).reused
    assert len(adapters(asked.runs_dir, "clipn")) == 1


@pytest.mark.parametrize("change", ["seed", "training", "num_prompts", "captions"])
def test_whatever_can_change_it_makes_another_tower(run, icons, captions, tmp_path, change):
    asked, _ = run
    before = len(adapters(asked.runs_dir, "clipn"))
    short = TRAINING.model_copy(update={"epochs": 1})
    others = {
        "seed": wanted(icons, asked.runs_dir, captions, seed=2),
        "training": wanted(icons, asked.runs_dir, method=clipn(captions, training=short)),
        "num_prompts": wanted(icons, asked.runs_dir, method=clipn(captions, num_prompts=2)),
        "captions": wanted(icons, asked.runs_dir, write_captions(tmp_path, shards=1, pairs=32)),
    }
    api.train(others[change])
    assert len(adapters(asked.runs_dir, "clipn")) == before + 1


def test_members_that_start_together_train_once(icons, captions, tmp_path, monkeypatch):
    step, steps = NoTextTraining.training_step, []

    def counted(self, batch, batch_idx):
        steps.append(threading.get_ident())
        return step(self, batch, batch_idx)

    from negprompt.training import once

    looked = threading.Barrier(2, timeout=60)
    held = once.held

    def together(*args, **kwargs):  # both have seen that there is none
        looked.wait()
        return held(*args, **kwargs)

    monkeypatch.setattr(NoTextTraining, "training_step", counted)
    monkeypatch.setattr(once, "held", together)
    monkeypatch.setattr("negprompt.runs.lease.WAIT_S", 0.1)
    around = api._surroundings(asked := wanted(icons, tmp_path, captions), api._workbench(asked))
    found = []
    threads = [threading.Thread(target=lambda: found.append(asked.method.outside_adapter(around))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(steps) == STEPS
    assert len(set(steps)) == 1
    assert all(torch.equal(found[0].tensors[name], tensor) for name, tensor in found[1].tensors.items())


# --- stops ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", range(STEPS))
def test_a_crash_at_any_step_changes_no_byte(run, tmp_path, stop):
    assert crash_and_go_on(run, tmp_path, NoTextTraining, stop) == STEPS - stop


@pytest.mark.parametrize("stop", [1, 3, STEPS])
def test_a_signal_at_a_step_changes_no_byte(run, tmp_path, stop):
    signal_and_go_on(run, tmp_path, NoTextTraining, stop)


def test_loader_processes_change_no_byte(run, tmp_path):
    asked, finished = run
    several = replace(asked, runs_dir=tmp_path, trainer=asked.trainer.model_copy(update={"num_workers": 2}))
    assert_same(api.train(several), finished, tmp_path, asked.runs_dir)


def test_steps_end_training_in_the_middle_of_an_epoch(icons, captions, tmp_path):
    training = TRAINING.model_copy(update={"steps": 4})
    method = clipn(captions, training=training)
    api.train(wanted(icons, tmp_path, method=method))
    (trained,) = adapters(tmp_path, "clipn")
    assert bundles.read_adapter(trained).metadata["steps"] == 4
    last = torch.load(trained.parent / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 4
    assert last["optimizer_states"][0]["param_groups"][0]["lr"] == 0
    before = trained.read_bytes()
    for name in ("adapter.safetensors", "DONE"):  # killed between its last step and its result
        trained.with_name(name).unlink()
    api.train(wanted(icons, tmp_path, method=method, num_shots=1))
    assert trained.read_bytes() == before


def test_a_finished_folder_without_its_file_is_named(tmp_path, icons, captions):
    asked = wanted(icons, tmp_path, captions)
    api.train(asked)
    (trained,) = adapters(tmp_path, "clipn")
    trained.unlink()
    with pytest.raises(RunError, match=r"marked DONE but has no adapter\.safetensors: delete the folder"):
        api.train(replace(asked, seed=1, data=asked.data.model_copy(update={"num_shots": 1})))


# --- a finished tower ----------------------------------------------------------------------------------------------


def test_a_named_tower_gives_the_run_that_trained_it(run, icons, tmp_path):
    finished = run[1]
    for number, given in enumerate((finished.folder, finished.folder / "adapter.safetensors")):
        again = api.train(wanted(icons, tmp_path / str(number), method=clipn(adapter=str(given))))
        assert not adapters(tmp_path / str(number), "clipn")
        for name in ("scores.npz", "metrics.json"):
            assert (again.folder / name).read_bytes() == (finished.folder / name).read_bytes()


def test_a_compact_tower_is_unpacked_in_the_run(run, icons, tmp_path):
    file = tmp_path / "small.safetensors"
    trained = bundles.read_adapter(run[1].folder / "adapter.safetensors")
    file.write_bytes(bundles.adapter_bytes(compact(trained.tensors), trained.metadata, dtype=None))
    finished = api.train(wanted(icons, tmp_path, method=clipn(adapter=str(file))))
    assert set(bundles.load_adapter(finished.folder)) == set(trained.tensors)


def test_the_run_of_a_named_tower_follows_its_content_and_not_how_another_would_be_trained(run, icons, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(bundles.adapter_bytes(NoText(tiny_backbone()).tensors(), {"backbone": "tiny_test"}))
    file = run[1].folder / "adapter.safetensors"

    def name(**settings):
        return api.find(wanted(icons, tmp_path, method=clipn(**settings))).path.name

    assert name(adapter=str(file)) == name(adapter=str(run[1].folder), num_prompts=3, training=AdamWSettings())
    assert name(adapter=str(file)) != name(adapter=str(other))


def test_the_tower_of_another_backbone_is_refused(run, icons, tmp_path):
    file = run[1].folder / "adapter.safetensors"
    other = wanted(icons, tmp_path, method=clipn(adapter=str(file)), backbone=TinySettings(init_seed=1))
    with pytest.raises(PromptMismatchError, match=r"learned on tiny_test \(weights .*use those weights"):
        api.train(other)
    with pytest.raises(
        PromptMismatchError, match=r"learned on tiny_test .* this run uses tiny_rn .*set backbone=tiny_test"
    ):
        load_tower(file, EmbeddedSettings(name="tiny_rn").build(), "0" * 64)


def test_a_tower_that_does_not_say_whose_it_is_is_refused(tmp_path):
    file = tmp_path / "adapter.safetensors"
    file.write_bytes(bundles.adapter_bytes(NoText(tiny_backbone()).tensors()))
    with pytest.raises(PromptMismatchError, match="does not say which backbone"):
        load_tower(file, tiny_backbone(), "0" * 64)
    file.write_bytes(b"not a tensor")
    with pytest.raises(PromptMismatchError, match="cannot be read"):
        load_tower(file, tiny_backbone(), "0" * 64)


def test_the_tower_that_ships_belongs_to_the_weights_that_ship():
    backbone = EmbeddedSettings(name="tiny_rn").build()
    adapter = load_tower(adapter_file("embedded/tiny_rn", "clipn"), backbone, backbone.weights_sha256())
    own = NoText(backbone).tensors()
    assert adapter.tensors.keys() == own.keys()
    assert float(adapter.tensors["no.prompts"].abs().max()) > 0


# --- settings ------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_said_before_anything_runs(tmp_path, icons):
    with pytest.raises(ConfigError, match=r"method\.captions=<folder.*method\.adapter="):
        wanted(icons, tmp_path, method=clipn()).check()
    with pytest.raises(DataError, match="there is no shard"):
        wanted(icons, tmp_path, tmp_path / "nowhere").check()
    with pytest.raises(ConfigError, match=r"method\.captions=x and method\.adapter=y: .*method\.adapter=null"):
        wanted(icons, tmp_path, method=clipn("x", adapter="y")).check()
    with pytest.raises(PromptMismatchError, match=r"method\.adapter=embedded/tiny_vit: there is no file"):
        wanted(icons, tmp_path, method=clipn(adapter="embedded/tiny_vit")).check()
    with pytest.raises(PromptMismatchError, match=r"method\.adapter=nowhere: there is no file"):
        wanted(icons, tmp_path, method=clipn(adapter="nowhere")).check()


def test_the_paper_s_recipe_is_the_default():
    (composed,) = compositions("train", parse(["method=clipn", "backbone=vit_b16_laion2b"]))
    training = build_request(plain(composed)).method.training
    assert training == AdamWSettings(
        lr=3e-4, beta1=0.9, beta2=0.98, eps=1e-6, weight_decay=0.2, epochs=10, steps=None, batch_size=2048
    )


def test_biases_norms_and_single_axes_have_no_weight_decay():
    tower = NoText(shared_backbone())
    decayed, free = decay_groups(tower.named_parameters(), 0.2)
    names = {id(parameter): name for name, parameter in tower.named_parameters()}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.2, 0.0)
    assert all("ln_" in names[id(one)] or "bias" in names[id(one)] for one in free["params"])
    assert {"prompts", "text.token_embedding.weight", "text.text_projection"} <= {
        names[id(p)] for p in decayed["params"]
    }
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_a_caption_that_is_too_long_is_cut():
    ids = framed(shared_backbone(), "dog " * 200)
    assert len(ids) == 77
    assert (ids[0], ids[-1]) == (49406, 49407)


def test_evaluating_a_run_needs_no_captions(run, tmp_path, icons):
    asked, finished = run
    gone = asked.method.model_copy(update={"captions": str(tmp_path / "gone")})
    metrics = api.evaluate(replace(asked, method=gone), finished.folder, tmp_path / "again")
    assert metrics == finished.metrics
    assert QUIET.precision == "32-true"
