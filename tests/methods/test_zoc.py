"""ZOC as a whole: its decoder is trained once, goes on after a stop to the byte, and names what it sees."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from adapter_runs import adapters, crash_and_go_on, signal_and_go_on
from helpers import CLASS_NAMES, TinySettings, request, shared_backbone, tiny_backbone, write_captions
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file

from negprompt import api
from negprompt.backbones.embedded import EmbeddedSettings
from negprompt.cli.arguments import parse
from negprompt.cli.build import build_request
from negprompt.cli.compose import compositions, plain
from negprompt.data.captions import load_captions
from negprompt.errors import ConfigError, DataError, PromptMismatchError
from negprompt.evaluation.module import PromptEvaluation
from negprompt.features.settings import FeatureSettings
from negprompt.methods.caption_adapter import adapter_file, framed
from negprompt.methods.zero_shot import ZeroShotSettings
from negprompt.methods.zoc import ZocSettings
from negprompt.methods.zoc_decoder import DecoderTraining, load_decoder, vocabulary_of
from negprompt.prompts import bundle as bundles
from negprompt.prompts.caption_decoder import CaptionDecoder, DecoderSettings, decoder_of
from negprompt.scores.choice import choose
from negprompt.scores.mcm import mcm
from negprompt.scores.zoc import zoc
from negprompt.training.schedule import AdamWSettings
from negprompt.types import ScoreInputs, Similarity

PAIRS, STEPS = 48, 6  # two epochs of three batches
TRAINING = AdamWSettings(lr=3e-3, epochs=2, batch_size=16)
SIZE = DecoderSettings(width=16, layers=1, heads=2)
TEMPLATE = {"num_context_tokens": 6, "context_init": "words", "context_words": "this is a photo of a"}
pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    return write_captions(tmp_path_factory.mktemp("captions"), shards=2, pairs=PAIRS // 2)


def settings(captions=None, **changes):
    given = {"name": "zoc", **TEMPLATE, "training": TRAINING, "decoder": SIZE}
    return ZocSettings(**{**given, "captions": None if captions is None else str(captions), **changes})


def scores():
    return {score.__name__: choose(score.__name__, score, {}, f"{score.__module__}") for score in (zoc, mcm)}


def wanted(icons, runs_dir, captions=None, *, method=None, **changes):
    method = method or settings(captions)
    return request(icons, runs_dir, method=method, **{"scores": scores(), "stage_scores": scores(), **changes})


@pytest.fixture(scope="module")
def run(icons, captions, tmp_path_factory):
    """A request and its finished run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("negprompt.phases.score_histograms", lambda *_, **__: None)
        asked = wanted(icons, tmp_path_factory.mktemp("zoc"), captions)
        return asked, api.train(asked)


# --- a run ---------------------------------------------------------------------------------------------------------


def test_the_decoder_lies_beside_the_prompts_and_says_what_it_belongs_to(run, captions):
    asked, finished = run
    (trained,) = adapters(asked.runs_dir, "zoc")
    tensors = bundles.load_adapter(finished.folder)
    vocabulary = vocabulary_of(load_captions(str(captions), None, 1.0, "stop"), shared_backbone())
    assert torch.equal(tensors["decoder.vocabulary"].long(), vocabulary)
    assert tensors["decoder.table.weight"].shape == (len(vocabulary), 16)
    assert all(torch.equal(tensor, load_file(trained)[name]) for name, tensor in tensors.items())
    for file in (trained, finished.folder / "adapter.safetensors"):
        with safe_open(file, framework="pt") as handle:
            metadata = json.loads(handle.metadata()["negprompt"])
        assert (metadata["backbone"], metadata["method"], metadata["steps"]) == ("tiny_test", "zoc", STEPS)
        assert metadata["weights_sha256"] == tiny_backbone().weights_sha256()


def test_every_part_of_the_decoder_was_trained(run):
    after = bundles.load_adapter(run[1].folder)
    before = CaptionDecoder(after["decoder.vocabulary"].long(), 16, 76, SIZE, seed=1).tensors()
    same = {name for name, tensor in before.items() if torch.equal(tensor.float(), after[name])}
    assert same == {"decoder.vocabulary", "decoder.heads"}


def test_the_decoder_learned_captions(run):
    (trained,) = adapters(run[0].runs_dir, "zoc")
    rows = np.genfromtxt(trained.with_name("metrics.csv"), delimiter=",", names=True)
    assert rows["step"].tolist() == [3, STEPS]
    assert rows["trainloss"][-1] < rows["trainloss"][0]


def test_its_checkpoint_holds_no_backbone(run):
    (trained,) = adapters(run[0].runs_dir, "zoc")
    state = torch.load(trained.parent / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert state
    assert all(name.startswith("decoder.") for name in state)


def test_it_classifies_as_zero_shot_with_its_prompt(run, icons, tmp_path):
    zero_shot = ZeroShotSettings(name="zero_shot", **TEMPLATE)
    plain_run = api.train(wanted(icons, tmp_path, method=zero_shot, scores={"mcm": scores()["mcm"]}))
    ours, theirs = (np.load(folder / "scores.npz") for folder in (run[1].folder, plain_run.folder))
    assert np.array_equal(ours["id/prediction"], theirs["id/prediction"])
    assert np.array_equal(ours["id/mcm"], theirs["id/mcm"])
    assert not np.array_equal(ours["id/zoc"], ours["id/mcm"])


def test_pixels_and_stored_features_give_the_same_scores(run, icons, tmp_path):
    asked, finished = run
    assert asked.features.mode != "none"
    seen = replace(asked, runs_dir=tmp_path, features=FeatureSettings(mode="none"))
    again = api.evaluate(seen, finished.folder, tmp_path / "again")
    stored, from_pixels = (np.load(folder / "scores.npz") for folder in (finished.folder, tmp_path / "again"))
    assert list(again["scores"]) == ["zoc", "mcm"]
    for side in ("id", "ood/near"):
        assert np.unique(stored[f"{side}/zoc"]).size > 1
        np.testing.assert_allclose(from_pixels[f"{side}/zoc"], stored[f"{side}/zoc"], rtol=1e-4)


def test_candidates_are_looked_for_only_where_a_score_needs_them(run, tmp_path, monkeypatch):
    asked, finished = run
    looked = []
    monkeypatch.setattr(
        "negprompt.prompts.candidates.NamingReader.candidates", lambda *_: looked.append(1) or torch.zeros(1, 0)
    )
    api.evaluate(replace(asked, scores={"mcm": scores()["mcm"]}), finished.folder, tmp_path)
    assert not looked


def test_evaluating_a_run_needs_no_captions(run, tmp_path):
    asked, finished = run
    gone = asked.method.model_copy(update={"captions": str(tmp_path / "gone")})
    assert api.evaluate(replace(asked, method=gone), finished.folder, tmp_path / "again") == finished.metrics


def test_a_decoder_that_has_learned_enough_names_what_it_sees(captions):
    backbone, pairs = shared_backbone(), load_captions(str(captions), None, 1.0, "stop")
    vocabulary = vocabulary_of(pairs, backbone)
    decoder = CaptionDecoder(vocabulary, 16, 76, DecoderSettings(width=32, layers=1, heads=2), seed=0)
    module = DecoderTraining(backbone, decoder, AdamWSettings(lr=3e-3), 300)
    optimizer = module.configure_optimizers()["optimizer"]
    names = [name.replace("_", " ") for name in CLASS_NAMES if len(backbone.tokenize(name)) == 1]
    features = torch.randn(len(names), 16, generator=torch.Generator().manual_seed(0))
    module.encode_image = lambda images: images  # one direction a name
    batch = batch_of([f"a picture of a {name}" for name in names], features)
    for _ in range(150):
        loss, _ = module.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    method = settings(top_k=1, steps=10)
    context = method.module(backbone, ["thing"], 1, None).contexts().positive
    bundle = bundles.PromptBundle(context, None, {"class_token_position": "end", "full_stop": False})
    reader = method.reader(backbone, bundle, decoder.tensors(), ["thing"])
    proposed = reader._proposals(features)
    for row, name in enumerate(names):
        (token,) = backbone.tokenize(name)
        assert bool(proposed[row, decoder.columns(torch.tensor([token]))]), name
    assert torch.isfinite(reader.candidates(features)).sum(dim=1).tolist() == [2] * len(names)  # "picture", the name


def batch_of(texts, images):
    ids = [framed(shared_backbone(), text) for text in texts]
    tokens = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.long)
    for row, sequence in enumerate(ids):
        tokens[row, : len(sequence)] = torch.tensor(sequence)
    end = torch.tensor([len(sequence) - 1 for sequence in ids])
    rows = torch.arange(len(ids))
    return {"image": images, "tokens": tokens, "end": end, "row": rows, "epoch": torch.zeros_like(rows)}


# --- the loss of a batch -------------------------------------------------------------------------------------------


def training(decoder=None):
    texts = ["a drum", "an owl on a fire truck", "jar"]
    tokens = {token for text in texts for token in framed(shared_backbone(), text)[1:]}
    decoder = decoder or CaptionDecoder(torch.tensor(sorted(tokens)), 16, 76, SIZE, seed=0)
    module = DecoderTraining(shared_backbone(), decoder, AdamWSettings(), 1)
    return module, batch_of(texts, torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


def test_the_loss_is_the_mean_of_that_of_each_caption_alone():
    module, batch = training()
    alone = []
    for row in range(3):
        one = {name: value[row : row + 1] for name, value in batch.items()}
        one["tokens"] = one["tokens"][:, : int(one["end"]) + 1]
        alone.append(module.loss(one)[0])
    torch.testing.assert_close(module.loss(batch)[0], torch.stack(alone).mean())


def test_what_stands_behind_the_end_of_a_caption_counts_nothing():
    module, batch = training()
    loss, _ = module.loss(batch)
    for row, end in enumerate(batch["end"].tolist()):
        batch["tokens"][row, end + 1 :] = int(module.decoder.vocabulary[1])
    assert torch.equal(module.loss(batch)[0], loss)
    batch["tokens"][0, 1] = int(module.decoder.vocabulary[1])
    assert not torch.equal(module.loss(batch)[0], loss)


def test_the_end_of_a_caption_is_learned():
    module, batch = training()
    loss, _ = module.loss(batch)
    batch["end"] = batch["end"] - 1
    assert bool(module.loss(batch)[0] < loss)


def test_a_picture_has_a_part_in_its_caption_and_the_backbone_no_gradient():
    module, batch = training()
    module.loss(batch)[0].backward()
    assert module.decoder.picture.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in shared_backbone().parameters())


# --- once for all, and stops ---------------------------------------------------------------------------------------


def test_other_splits_templates_and_searches_share_one_decoder(run, icons, captions, monkeypatch):
    asked, finished = run
    monkeypatch.setattr(DecoderTraining, "training_step", lambda *_: pytest.fail("trained again"))
    for other in (
        wanted(icons, asked.runs_dir, captions, num_shots=1),
        wanted(icons, asked.runs_dir, method=settings(captions, prompt_templates=("a {}",))),
        wanted(icons, asked.runs_dir, method=settings(captions, top_k=3, steps=2)),
    ):
        again = api.train(other)
        assert not again.reused
        assert again.folder.name != finished.folder.name
    assert len(adapters(asked.runs_dir, "zoc")) == 1


@pytest.mark.parametrize("change", ["seed", "training", "decoder", "captions"])
def test_whatever_can_change_it_makes_another_decoder(run, icons, captions, tmp_path, change):
    asked, _ = run
    before = len(adapters(asked.runs_dir, "zoc"))
    others = {
        "seed": wanted(icons, asked.runs_dir, captions, seed=2),
        "training": wanted(
            icons, asked.runs_dir, method=settings(captions, training=TRAINING.model_copy(update={"epochs": 1}))
        ),
        "decoder": wanted(
            icons, asked.runs_dir, method=settings(captions, decoder=SIZE.model_copy(update={"heads": 1}))
        ),
        "captions": wanted(icons, asked.runs_dir, write_captions(tmp_path, shards=1, pairs=32)),
    }
    api.train(others[change])
    assert len(adapters(asked.runs_dir, "zoc")) == before + 1


@pytest.mark.parametrize("stop", [0, 2, 3, STEPS - 1])
def test_a_crash_at_any_step_changes_no_byte(run, tmp_path, stop):
    assert crash_and_go_on(run, tmp_path, DecoderTraining, stop) == STEPS - stop


@pytest.mark.parametrize("stop", [1, STEPS])
def test_a_signal_at_a_step_changes_no_byte(run, tmp_path, stop):
    signal_and_go_on(run, tmp_path, DecoderTraining, stop)


# --- a finished decoder --------------------------------------------------------------------------------------------


def test_a_named_decoder_gives_the_run_that_trained_it(run, icons, tmp_path):
    finished = run[1]
    for number, given in enumerate((finished.folder, finished.folder / "adapter.safetensors")):
        again = api.train(wanted(icons, tmp_path / str(number), method=settings(adapter=str(given))))
        assert not adapters(tmp_path / str(number), "zoc")
        for name in ("scores.npz", "metrics.json"):
            assert (again.folder / name).read_bytes() == (finished.folder / name).read_bytes()


def test_the_run_of_a_named_decoder_follows_its_content_and_not_how_another_would_be_trained(run, icons, tmp_path):
    file = str(run[1].folder / "adapter.safetensors")

    def name(**changes):
        return api.find(wanted(icons, tmp_path, method=settings(adapter=file, **changes))).path.name

    assert name() == name(decoder=DecoderSettings(), training=AdamWSettings())
    assert len({name(), name(top_k=3), name(steps=3)}) == 3


def test_the_decoder_of_another_backbone_is_refused(run, icons, tmp_path):
    file = run[1].folder / "adapter.safetensors"
    other = wanted(icons, tmp_path, method=settings(adapter=str(file)), backbone=TinySettings(init_seed=1))
    with pytest.raises(PromptMismatchError, match=r"learned on tiny_test \(weights .*use those weights"):
        api.train(other)
    with pytest.raises(PromptMismatchError, match=r"learned on tiny_test .*set backbone=tiny_test"):
        load_decoder(file, EmbeddedSettings(name="tiny_rn").build(), "0" * 64)


def test_an_adapter_of_another_method_is_refused(tmp_path):
    backbone, file = tiny_backbone(), tmp_path / "adapter.safetensors"
    belongs = {"backbone": "tiny_test", "weights_sha256": backbone.weights_sha256()}
    file.write_bytes(bundles.adapter_bytes({"no.prompts": torch.zeros(2)}, belongs))
    with pytest.raises(PromptMismatchError, match=r"no caption decoder .*use one of method=zoc"):
        load_decoder(file, backbone, belongs["weights_sha256"])


def test_a_run_without_its_decoder_says_so(run):
    asked, finished = run
    with pytest.raises(PromptMismatchError, match="no caption decoder"):
        asked.method.reader(shared_backbone(), bundles.load(finished.folder), {}, ["drum"])


# --- settings ------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_said_before_anything_runs(tmp_path, icons):
    with pytest.raises(ConfigError, match=r"method=zoc needs .*train its decoder on \(method\.captions=.*adapter="):
        wanted(icons, tmp_path, method=settings()).check()
    with pytest.raises(DataError, match="there is no shard"):
        wanted(icons, tmp_path, tmp_path / "nowhere").check()
    with pytest.raises(
        PromptMismatchError, match=r"method\.adapter=nowhere: there is no file.*run of method=zoc.*null"
    ):
        wanted(icons, tmp_path, method=settings(adapter="nowhere")).check()


@pytest.mark.parametrize("change", [{"top_k": 0}, {"steps": 0}, {"decoder": {"width": 0}}, {"unknown": 1}])
def test_impossible_values_are_refused(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        settings(**change)


def test_a_score_of_candidates_needs_a_method_that_has_some(icons, tmp_path):
    zero_shot = ZeroShotSettings(name="zero_shot", **TEMPLATE)
    with pytest.raises(ConfigError, match=r"score=zoc needs names that are proposed .*\(method=zoc\)"):
        wanted(icons, tmp_path, method=zero_shot, cut_scores=frozenset()).check()


def test_the_paper_s_search_is_the_default():
    (composed,) = compositions("train", parse(["method=zoc", "backbone=vit_b16_laion2b"]))
    method = build_request(plain(composed)).method
    assert (method.top_k, method.steps, method.context_words) == (35, 10, "this is a photo of a")


def test_the_score_is_among_those_that_come_with_the_method():
    (composed,) = compositions("train", parse(["method=zoc", "method.captions=x"]))
    chosen = build_request(plain(composed)).chosen_scores()
    assert next(iter(chosen)) == "zoc"
    (composed,) = compositions("train", parse(["method=zero_shot"]))
    assert "zoc" not in build_request(plain(composed)).chosen_scores()


def test_the_decoder_that_ships_belongs_to_the_weights_that_ship():
    backbone, file = EmbeddedSettings(name="tiny_rn").build(), adapter_file("embedded/tiny_rn", "zoc")
    adapter = load_decoder(file, backbone, backbone.weights_sha256())
    decoder = decoder_of(adapter.tensors, 256, backbone.tokenizer_info.end)
    assert all(tensor.dtype == torch.float32 for tensor in decoder.parameters())
    assert file.stat().st_size < 5_000_000


def test_the_test_loop_hands_candidates_to_the_score():
    class Naming:
        def inputs(self, features, _):
            return ScoreInputs(Similarity(torch.zeros(len(features), 3)), 1.0)

        def candidates(self, features):
            return torch.zeros(len(features), 1)

    module = PromptEvaluation(shared_backbone(), Naming, scores(), ["id"])
    rows = torch.arange(2)
    module.test_step({"image_features": torch.zeros(2, 16), "label": rows, "index": rows}, 0)
    assert module.records()["id"].scores[:, 0].tolist() == [0.75, 0.75]
