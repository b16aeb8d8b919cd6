"""What a run wrote, computed again from its prompts and the pictures with open_clip, NumPy and scikit-learn alone."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import open_clip
import pytest
import torch
from helpers import CLASS_NAMES, SPEC, TinySettings, coop, tiny_clip, two_stage, write_benchmark
from helpers import request as request_of
from PIL import Image
from safetensors.torch import load_file
from scipy.special import logsumexp, softmax
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import nn

from negprompt import api
from negprompt.data.icons import IconsOOD
from negprompt.errors import PromptMismatchError
from negprompt.features.workbench import load_backbone
from negprompt.methods.zero_shot import ZeroShotSettings

pytestmark = pytest.mark.usefixtures("no_figures")

OOD = ("near", "symbols", "logos", "flags")
LAYOUTS = {
    "NegPrompt": (two_stage(), "{x} {name}"),
    "one negative, name in front, full stop": (
        two_stage(num_negatives=1, class_token_position="front", full_stop=True),
        "{name} {x}.",
    ),
    "three tokens, class-specific": (two_stage(num_context_tokens=3, class_specific=True), "{x} {name}"),
    "CoOp": (coop(), "{x} {name}"),
    "zero-shot": (ZeroShotSettings(name="zero_shot", context_init="words"), "{x} {name}"),
}


@pytest.fixture(scope="module", params=LAYOUTS.values(), ids=LAYOUTS)
def run(request, icons, tmp_path_factory):
    method, template = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("negprompt.phases.score_histograms", lambda *_, **__: None)
        return api.train(request_of(icons, tmp_path_factory.mktemp("runs"), method=method)).folder, template


@pytest.fixture(scope="module")
def clip():
    return tiny_clip().eval()


def pictures(icons, shard):
    """Keys, names and decoded pictures of a shard, in its order."""
    with tarfile.open(icons / shard) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}
    keys = [name.removesuffix(".webp") for name in files if name.endswith(".webp")]
    names = [json.loads(files[f"{key}.json"])["name"] for key in keys]
    return keys, names, [Image.open(io.BytesIO(files[f"{key}.webp"])) for key in keys]


@torch.no_grad()
def unit_image_features(clip, images):
    transform = open_clip.image_transform(SPEC.size, is_train=False, mean=SPEC.mean, std=SPEC.std)
    features = clip.encode_image(torch.stack([transform(image) for image in images])).double().numpy()
    return features / np.linalg.norm(features, axis=1, keepdims=True)


class Fixed(nn.Module):
    """A token table that answers with ready embeddings."""

    def __init__(self, embeddings):
        super().__init__()
        self.embeddings = embeddings

    def forward(self, _tokens):
        return self.embeddings


@torch.no_grad()
def unit_text_features(clip, contexts, template):
    """open_clip's own text features of sentences in which the placeholders `x` have learned embeddings (K, n, d)."""
    count = contexts.shape[1]
    names = [name.replace("_", " ") for name in CLASS_NAMES]
    tokens = open_clip.SimpleTokenizer()([template.format(x=" ".join("x" * count), name=name) for name in names])
    (placeholder,) = set(open_clip.SimpleTokenizer().encode("x"))
    table = clip.token_embedding
    embeddings = table(tokens)
    for row, context in enumerate(contexts):
        places = (tokens[row] == placeholder).nonzero().flatten()  # no class name has a token that reads "x"
        assert len(places) == count
        embeddings[row, places] = context
    clip.token_embedding = Fixed(embeddings)
    try:
        features = clip.encode_text(tokens).double().numpy()
    finally:
        clip.token_embedding = table
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def per_class(context):
    """Contexts (K, n, d) of a shared (n, d) or class-specific (K, n, d) one."""
    return context if context.dim() == 3 else context.expand(len(CLASS_NAMES), -1, -1)


def texts_by_hand(clip, folder, template):
    """Unit features of the positive prompts (K, D) and of each negative (P times (K, D)) of a run."""
    tensors = load_file(folder / "prompts.safetensors")
    positive = unit_text_features(clip, per_class(tensors["positive"]), template)
    contexts = tensors["negative"].unbind(-3) if "negative" in tensors else []
    return positive, [unit_text_features(clip, per_class(one), template) for one in contexts]


def cosines_by_hand(clip, texts, images):
    """Cosines to positives (B, K) and negatives (B, K, P) or None."""
    positive, negatives = texts
    features = unit_image_features(clip, images)
    negative = np.stack([features @ one.T for one in negatives], axis=2) if negatives else None
    return features @ positive.T, negative


def scores_by_hand(positive, negative):
    logits = 100.0 * positive
    scores = {
        "mcm": softmax(positive, axis=1).max(axis=1),
        "msp": softmax(logits, axis=1).max(axis=1),
        "max_logit": logits.max(axis=1),
        "energy": logsumexp(logits, axis=1),
    }
    if negative is not None:
        joint = softmax(np.concatenate([positive, negative.reshape(len(positive), -1)], axis=1), axis=1)
        scores["negprompt"] = joint[:, : positive.shape[1]].max(axis=1)
    return scores


# What is not squeezed by a softmax at temperature 1 is a cosine times 100, or an exponential of it.
TOLERANCE = {"mcm": 1e-6, "negprompt": 1e-6, "msp": 1e-4, "max_logit": 1e-4, "energy": 1e-4}


def test_scores_and_predictions_are_those_of_the_saved_prompts_on_the_pictures(run, clip, icons):
    folder, template = run
    texts = texts_by_hand(clip, folder, template)
    with np.load(folder / "scores.npz") as saved:
        for prefix, shard in {"id": "id_test.tar", **{f"ood/{name}": f"{name}_test.tar" for name in OOD}}.items():
            keys, names, images = pictures(icons, shard)
            positive, negative = cosines_by_hand(clip, texts, images)
            assert saved[f"{prefix}/key"].tolist() == keys
            expected = scores_by_hand(positive, negative)
            for score, values in expected.items():
                assert np.abs(saved[f"{prefix}/{score}"] - values).max() < TOLERANCE[score], score
            if prefix == "id":
                assert saved["id/label"].tolist() == [CLASS_NAMES.index(name) for name in names]
                assert saved["id/prediction"].tolist() == positive.argmax(axis=1).tolist()
                assert {key.removeprefix("id/") for key in saved if key.startswith("id/")} == {
                    *expected, "label", "prediction", "key"
                }  # fmt: skip


def fpr_at_95(positive, negative):
    labels = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    rates = roc_curve(labels, np.r_[positive, negative], drop_intermediate=False)
    return rates[0][np.argmax(rates[1] >= 0.95)]


def metrics_by_hand(inside, outside):
    labels = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    scores = np.r_[inside, outside]
    return {
        "auroc": roc_auc_score(labels, scores),
        "aupr_in": average_precision_score(labels, scores),
        "aupr_out": average_precision_score(1 - labels, -scores),
        "fpr95_id_positive": fpr_at_95(inside, outside),
        "fpr95_ood_positive": fpr_at_95(-outside, -inside),
        "n_id": len(inside),
        "n_ood": len(outside),
    }


def test_metrics_are_scikit_learns_on_the_saved_scores(run):
    folder, _ = run
    metrics = json.loads((folder / "metrics.json").read_text())
    with np.load(folder / "scores.npz") as saved:
        assert metrics["id_accuracy"] == pytest.approx((saved["id/label"] == saved["id/prediction"]).mean(), abs=1e-9)
        for score, table in metrics["scores"].items():
            expected = {name: metrics_by_hand(saved[f"id/{score}"], saved[f"ood/{name}/{score}"]) for name in OOD}
            assert list(table) == [*OOD, "mean"]
            for name in OOD:
                assert table[name] == pytest.approx(expected[name], abs=1e-9)
            for key in table["mean"]:
                mean = np.mean([expected[name][key] for name in OOD])
                assert table["mean"][key] == pytest.approx(mean, abs=1e-9)


def test_metrics_name_what_was_run(run):
    folder, _ = run
    metrics = json.loads((folder / "metrics.json").read_text())
    assert list(metrics) == [
        "schema", "benchmark", "method", "backbone", "seed", "num_shots", "class_fraction", "num_classes",
        "num_negatives", "positive_prompts", "split_sha256", "class_names_sha256", "weights_sha256", "steps",
        "id_accuracy", "dropped_samples", "scores",
    ]  # fmt: skip
    negative = load_file(folder / "prompts.safetensors").get("negative")
    assert metrics["num_negatives"] == (0 if negative is None else negative.shape[-3])
    assert (metrics["num_classes"], metrics["num_shots"], metrics["class_fraction"]) == (20, 3, 1.0)
    assert metrics["steps"] == (0 if metrics["method"] == "zero_shot" else 9)
    assert (metrics["positive_prompts"] is None) == (negative is None)


# --- what follows from the formulas --------------------------------------------------------------------------------


def saved_scores(folder):
    with np.load(folder / "scores.npz") as saved:
        return dict(saved)


def test_zero_shot_is_open_clips_own_classifier(icons, tmp_path, clip):
    method = ZeroShotSettings(name="zero_shot", context_init="words", context_words="a photo of a")
    saved = saved_scores(api.train(request_of(icons, tmp_path, method=method)).folder)
    tokens = open_clip.SimpleTokenizer()([f"a photo of a {name.replace('_', ' ')}" for name in CLASS_NAMES])
    with torch.no_grad():
        text = clip.encode_text(tokens, normalize=True).double().numpy()
    _, _, images = pictures(icons, "id_test.tar")
    cosines = unit_image_features(clip, images) @ text.T
    assert np.abs(saved["id/mcm"] - softmax(cosines, axis=1).max(axis=1)).max() < 1e-6
    assert saved["id/prediction"].tolist() == cosines.argmax(axis=1).tolist()


def test_accuracy_and_positive_scores_are_those_of_stage_1(icons, tmp_path):
    run = api.train(request_of(icons, tmp_path))
    (stage1,) = (tmp_path / "icons" / "coop").glob("*/*")
    mine, theirs = saved_scores(run.folder), saved_scores(stage1)
    for key in theirs:
        assert np.array_equal(mine[key], theirs[key]), key
    assert run.metrics["id_accuracy"] == json.loads((stage1 / "metrics.json").read_text())["id_accuracy"]


def test_stage_2_leaves_positives_and_weights_bit_for_bit(icons, tmp_path):
    backbone = TinySettings().build()
    weights = backbone.weights_sha256()
    run = api.train(request_of(icons, tmp_path))
    (stage1,) = (tmp_path / "icons" / "coop").glob("*/*")
    mine, theirs = (load_file(folder / "prompts.safetensors") for folder in (run.folder, stage1))
    assert torch.equal(mine["positive"], theirs["positive"])
    assert run.metrics["weights_sha256"] == weights
    assert load_backbone(TinySettings())[0].weights_sha256() == weights


# --- open vocabulary -----------------------------------------------------------------------------------------------


def test_a_tenth_of_the_classes_learns_prompts_for_all_of_them(icons, tmp_path, clip):
    run = api.train(request_of(icons, tmp_path, class_fraction=0.1))
    assert (run.metrics["num_classes"], run.metrics["class_fraction"]) == (20, 0.1)
    assert run.metrics["steps"] == 3  # six pictures of two classes: one batch an epoch
    saved = saved_scores(run.folder)
    assert set(saved["id/label"].tolist()) == set(range(20))
    _, _, images = pictures(icons, "id_test.tar")
    positive, negative = cosines_by_hand(clip, texts_by_hand(clip, run.folder, "{x} {name}"), images)
    assert positive.shape[1] == 20
    assert np.abs(saved["id/negprompt"] - scores_by_hand(positive, negative)["negprompt"]).max() < 1e-6


def test_names_that_training_never_saw_do_not_change_what_it_learns(tmp_path):
    other = [*CLASS_NAMES[:2], *(f"{name} thing" for name in CLASS_NAMES[2:])]
    learned = []
    for names in (CLASS_NAMES, other):
        root = write_benchmark(tmp_path / f"shards{len(learned)}", names)
        run = api.train(request_of(root, tmp_path / f"runs{len(learned)}", class_fraction=0.1))
        learned.append(load_file(run.folder / "prompts.safetensors"))
    assert torch.equal(learned[0]["positive"], learned[1]["positive"])
    assert torch.equal(learned[0]["negative"], learned[1]["negative"])


# --- evaluate without training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["", "prompts.safetensors"])
def test_evaluating_a_run_again_gives_its_numbers(icons, tmp_path, given):
    wanted = request_of(icons, tmp_path / "runs")
    run = api.train(wanted)
    metrics = api.evaluate(wanted, run.folder / given, tmp_path / "again")
    assert metrics == run.metrics
    for name in ("scores.npz", "metrics.json"):
        assert (tmp_path / "again" / name).read_bytes() == (run.folder / name).read_bytes()


def test_prompts_meet_other_ood_sets_without_training(icons, tmp_path):
    wanted = request_of(icons, tmp_path / "runs")
    run = api.train(wanted)
    val = request_of(icons, tmp_path, ood=IconsOOD(name="icons", root=str(icons), part="val", sets=["flags"]))
    metrics = api.evaluate(val, run.folder, tmp_path / "again")
    assert list(metrics["scores"]["mcm"]) == ["flags", "mean"]
    assert metrics["scores"]["mcm"]["flags"] != run.metrics["scores"]["mcm"]["flags"]
    assert metrics["id_accuracy"] == run.metrics["id_accuracy"]


def test_prompts_meet_other_class_names_unless_they_are_class_specific(icons, tmp_path):
    few = request_of(icons, tmp_path, class_names=["owl", "bell", "tent"], method=coop())
    shared = api.train(request_of(icons, tmp_path / "1", method=coop()))
    assert api.evaluate(few, shared.folder, tmp_path / "a")["num_classes"] == 3
    specific = api.train(request_of(icons, tmp_path / "2", method=coop(class_specific=True)))
    with pytest.raises(PromptMismatchError, match="Class-specific prompts of 20 classes cannot name the 3 here"):
        api.evaluate(few, specific.folder, tmp_path / "b")


def test_prompts_of_other_weights_are_refused(icons, tmp_path):
    run = api.train(request_of(icons, tmp_path / "runs", method=coop()))
    other = request_of(icons, tmp_path, backbone=TinySettings(init_seed=1))
    with pytest.raises(PromptMismatchError, match="other weights"):
        api.evaluate(other, run.folder, tmp_path / "again")
