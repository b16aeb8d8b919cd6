"""Means over groups of OOD sets, covariate-shifted ID sets, and means over the classes of an OOD set."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from helpers import CLASS_NAMES, image_set, request, scores
from sklearn.metrics import roc_auc_score, roc_curve

from negprompt import api
from negprompt.data.base import load_split
from negprompt.errors import DataError
from negprompt.evaluation.recorder import SetRecord
from negprompt.evaluation.results import by_side, full_spectrum, run_metrics, score_metrics, scores_npz
from negprompt.features.settings import FeatureSettings
from negprompt.methods.zero_shot import ZeroShotSettings
from negprompt.types import PromptBundle, Split

BUNDLE = PromptBundle(
    torch.zeros(1, 1),
    None,
    {
        "schema": 1,
        "method": "zero_shot",
        "backbone": "tiny_test",
        "seed": 1,
        "num_shots": 0,
        "class_fraction": 1.0,
        "positive_prompts": None,
        "weights_sha256": "",
        "steps": 0,
    },
)


def record(values, labels, predictions=None):
    scores_ = torch.tensor(values, dtype=torch.float64).reshape(len(values), 1)
    labels = torch.tensor(labels)
    return SetRecord(labels, labels if predictions is None else torch.tensor(predictions), scores_)


def outside(*values):
    return record(values, [-1] * len(values))


ID = record([0.9, 0.8, 0.7, 0.6], [0, 1, 2, 3], [0, 1, 0, 3])
SHIFTED = {"sketch": record([0.55, 0.2], [1, 2], [1, 0]), "noise": record([0.3], [3], [3])}
OOD = {"hard": outside(0.75, 0.1), "ninco": outside(0.65, 0.5, 0.4), "easy": outside(0.0)}
GROUPS = {"near": ("hard", "ninco"), "far": ("easy",)}
NINCO_KEYS = ("ninco/bee/1.jpg", "ninco/bee/2.jpg", "ninco/sky/1.jpg")


def split(**changes):
    ood = {name: image_set(len(one.label), name)._replace(labels=[-1] * len(one.label)) for name, one in OOD.items()}
    ood["ninco"] = ood["ninco"]._replace(keys=NINCO_KEYS)
    shifted = {name: image_set(len(one.label), name) for name, one in SHIFTED.items()}
    made = Split("some", CLASS_NAMES[:4], 4, image_set(4), image_set(4, "test"), ood, "", shifted, GROUPS)
    return made._replace(**changes)


# --- groups --------------------------------------------------------------------------------------------------------


def test_a_group_is_the_plain_mean_over_its_sets_and_stands_between_the_sets_and_the_mean():
    table = score_metrics(ID, OOD, ["mcm"], GROUPS)["mcm"]
    assert list(table) == ["hard", "ninco", "easy", "near", "far", "mean"]
    # 0.75 lies above two of four ID scores, 0.65 above one.
    assert [table[name]["auroc"] for name in OOD] == [6 / 8, 11 / 12, 1.0]
    assert table["near"]["auroc"] == pytest.approx((6 / 8 + 11 / 12) / 2, abs=1e-15)
    assert table["near"]["fpr95_id_positive"] == pytest.approx((1 / 2 + 1 / 3) / 2, abs=1e-15)
    assert table["near"]["fpr95_ood_positive"] == pytest.approx((2 / 4 + 1 / 4) / 2, abs=1e-15)
    assert table["mean"]["auroc"] == pytest.approx((6 / 8 + 11 / 12 + 1) / 3, abs=1e-15)
    assert list(table["near"]) == list(table["mean"])


def test_a_group_of_one_set_has_its_values():
    table = score_metrics(ID, OOD, ["mcm"], GROUPS)["mcm"]
    assert table["far"] == {key: value for key, value in table["easy"].items() if not key.startswith("n_")}


@pytest.mark.parametrize("groups", [{"hard": ("easy",)}, {"mean": ("easy",)}])
def test_a_group_never_overwrites_another_entry(groups):
    with pytest.raises(DataError, match=f"'{next(iter(groups))}' names both"):
        run_metrics(ID, OOD, ["mcm"], split(groups=groups), BUNDLE)


def test_a_set_called_mean_is_refused():
    with pytest.raises(DataError, match="'mean' names both"):
        score_metrics(ID, {"mean": OOD["hard"]}, ["mcm"])


# --- full spectrum -------------------------------------------------------------------------------------------------


def test_shifted_pictures_join_the_id_side():
    spectrum = full_spectrum(ID, SHIFTED, OOD, ["mcm"], GROUPS)
    assert spectrum["sets"] == {"sketch": {"accuracy": 0.5, "n": 2}, "noise": {"accuracy": 1.0, "n": 1}}
    assert spectrum["n_id"] == 7 == len(ID.label) + sum(one["n"] for one in spectrum["sets"].values())
    assert spectrum["id_accuracy"] == pytest.approx(5 / 7, abs=1e-15)
    table = spectrum["scores"]["mcm"]
    # ID 0.9 0.8 0.7 0.6 0.55 0.3 0.2: above 0.75 lie two, above 0.1 seven.
    assert table["hard"]["auroc"] == pytest.approx((2 + 7) / 14, abs=1e-15)
    assert (table["hard"]["n_id"], table["hard"]["n_ood"]) == (7, 2)
    # Below 0.75, the OOD score that 95 % of OOD do not exceed, lie five of seven ID pictures.
    assert table["hard"]["fpr95_ood_positive"] == pytest.approx(5 / 7, abs=1e-15)
    assert table["near"]["auroc"] == pytest.approx((table["hard"]["auroc"] + table["ninco"]["auroc"]) / 2, abs=1e-15)


def untied_records():
    rng = np.random.default_rng(0)
    values = rng.permutation(600) / 600
    inside, moved, far = values[:200] + 0.2, values[200:350] + 0.1, values[350:]
    return record(inside, [0] * 200), {"moved": record(moved, [0] * 150)}, {"far": record(far, [-1] * 250)}


def test_the_enlarged_id_side_agrees_with_scikit_learn():
    inside, shifted, ood = untied_records()
    found = full_spectrum(inside, shifted, ood, ["mcm"])["scores"]["mcm"]["far"]
    enlarged = np.concatenate([inside.scores[:, 0], shifted["moved"].scores[:, 0]])
    values = np.concatenate([enlarged, ood["far"].scores[:, 0]])
    is_ood = np.arange(len(values)) >= len(enlarged)
    assert found["auroc"] == pytest.approx(roc_auc_score(~is_ood, values), abs=1e-12)
    fpr, tpr, _ = roc_curve(is_ood, -values, drop_intermediate=False)
    assert found["fpr95_ood_positive"] == pytest.approx(fpr[np.argmax(tpr >= 0.95)], abs=1e-12)


def test_fpr95_with_ood_positive_is_that_with_id_positive_with_roles_and_signs_swapped():
    inside, _, ood = untied_records()
    there = score_metrics(inside, ood, ["mcm"])["mcm"]["far"]
    negated = (one._replace(scores=-one.scores) for one in (ood["far"], inside))
    back = score_metrics(next(negated), {"far": next(negated)}, ["mcm"])["mcm"]["far"]
    assert there["fpr95_ood_positive"] == back["fpr95_id_positive"]
    assert there["fpr95_id_positive"] == back["fpr95_ood_positive"]


# --- mean over classes ---------------------------------------------------------------------------------------------


def test_classes_of_a_set_count_alike_however_many_pictures_they_have():
    metrics = run_metrics(ID, OOD, ["mcm"], split(), BUNDLE)
    bees, sky = ([0.65, 0.5], [0.4])
    inside = ID.scores[:, 0].numpy()
    areas = [roc_auc_score([1] * 4 + [0] * len(some), [*inside, *some]) for some in (bees, sky)]
    assert metrics["class_means"] == {
        "mcm": {
            "ninco": {
                "auroc": pytest.approx(np.mean(areas), abs=1e-12),
                "fpr95_id_positive": (1 / 2 + 0) / 2,
                "fpr95_ood_positive": (1 / 4 + 0) / 2,
                "num_classes": 2,
            }
        }
    }
    assert metrics["scores"]["mcm"]["ninco"]["auroc"] == pytest.approx(11 / 12, abs=1e-15)  # pooled


def test_sets_with_class_means_can_be_chosen():
    assert "class_means" not in run_metrics(ID, OOD, ["mcm"], split(), BUNDLE, class_mean_sets=["absent"])


def test_a_set_without_class_folders_has_no_mean_over_classes():
    flat = split().ood["ninco"]._replace(keys=("1.jpg", "2.jpg", "3.jpg"))
    assert "class_means" not in run_metrics(ID, OOD, ["mcm"], split(ood={**split().ood, "ninco": flat}), BUNDLE)


# --- files ---------------------------------------------------------------------------------------------------------


def test_what_a_benchmark_lacks_leaves_no_key():
    plain = run_metrics(ID, {"hard": OOD["hard"]}, ["mcm"], split(groups={}, shifted={}), BUNDLE)
    assert list(plain)[-1] == "scores"
    full = run_metrics(ID, OOD, ["mcm"], split(), BUNDLE, SHIFTED)
    assert list(full) == [*plain, "groups", "class_means", "full_spectrum"]
    assert full["groups"] == {"near": ["hard", "ninco"], "far": ["easy"]}
    assert {key: full[key] for key in plain if key != "scores"} == {key: plain[key] for key in plain if key != "scores"}


def test_saved_scores_hold_the_shifted_sets_after_all_others():
    with np.load(io.BytesIO(scores_npz(ID, OOD, ["mcm"], split(), SHIFTED))) as saved:
        assert list(saved)[-8:] == [
            f"shifted/{name}/{array}" for name in SHIFTED for array in ("label", "prediction", "key", "mcm")
        ]
        assert saved["shifted/sketch/mcm"].tolist() == [0.55, 0.2]
        assert saved["shifted/sketch/prediction"].tolist() == [1, 0]
        assert saved["shifted/sketch/label"].tolist() == [1, 2]
        assert saved["shifted/sketch/key"].tolist() == ["sketch-0", "sketch-1"]


# --- the test loop -------------------------------------------------------------------------------------------------


def test_test_sets_are_id_then_ood_then_shifted_ones_that_have_pictures():
    made = split(shifted={"none": image_set(0), **split().shifted})
    assert list(made.test_sets()) == [
        "id", "ood/hard", "ood/ninco", "ood/easy", "shifted/sketch", "shifted/noise"
    ]  # fmt: skip


def test_an_ood_set_may_be_called_like_another_side():
    sides = by_side({"id": ID, "ood/id": OOD["easy"], "ood/shifted/a": OOD["hard"], "shifted/id": ID})
    assert sides == (ID, {"id": OOD["easy"], "shifted/a": OOD["hard"]}, {"id": ID})


@pytest.mark.usefixtures("no_figures")
def test_a_run_tests_shifted_sets_alike_on_stored_features_and_on_pictures(icons, tmp_path, monkeypatch):
    def loaded(*settings):
        shifted = {"tilted": image_set(7, "tilted"), "none": image_set(0, "none"), "near": image_set(3, "other")}
        return load_split(*settings)._replace(shifted=shifted, groups={"drawn": ("symbols", "logos")})

    monkeypatch.setattr(api, "load_split", loaded)
    method = ZeroShotSettings(name="zero_shot", context_init="words")
    stored, pictures = (
        api.train(request(icons, tmp_path / mode, method=method, scores=scores("mcm"), features=features)).folder
        for mode, features in (("memory", FeatureSettings()), ("none", FeatureSettings(mode="none", views=1)))
    )
    with np.load(stored / "scores.npz") as one, np.load(pictures / "scores.npz") as other:
        assert list(one) == list(other)
        for name in ("tilted", "near"):
            assert one[f"shifted/{name}/mcm"] == pytest.approx(other[f"shifted/{name}/mcm"], abs=1e-6)
            assert one[f"shifted/{name}/label"].tolist() == [
                place % 4 for place in range(len(one[f"shifted/{name}/key"]))
            ]
        assert one["ood/near/mcm"].shape == (6,)
        enlarged = np.concatenate([one["id/mcm"], one["shifted/tilted/mcm"], one["shifted/near/mcm"]])
        flags = one["ood/flags/mcm"]
    metrics = json.loads((stored / "metrics.json").read_text())
    spectrum = metrics["full_spectrum"]
    assert {name: one["n"] for name, one in spectrum["sets"].items()} == {"tilted": 7, "near": 3}
    assert spectrum["n_id"] == metrics["scores"]["mcm"]["flags"]["n_id"] + 10
    labels = np.arange(len(enlarged) + len(flags)) < len(enlarged)
    area = roc_auc_score(labels, np.concatenate([enlarged, flags]))
    assert spectrum["scores"]["mcm"]["flags"]["auroc"] == pytest.approx(area, abs=1e-12)
    assert list(metrics["scores"]["mcm"]) == ["near", "symbols", "logos", "flags", "drawn", "mean"]
