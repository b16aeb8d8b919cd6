"""LoCoOp: CoOp to the bit without its term, local features from pictures and from the store, K."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import CLASS_NAMES, coop, image_set, scores, shared_backbone
from helpers import request as request_of
from pydantic import ValidationError
from safetensors.torch import load_file

from negprompt import api
from negprompt.data.datamodule import ImageDataset
from negprompt.errors import ConfigError
from negprompt.features.settings import FeatureSettings
from negprompt.methods.locoop import LoCoOpSettings
from negprompt.prompts import bundle as bundles
from negprompt.scores.choice import choose
from negprompt.scores.gl_mcm import gl_mcm
from negprompt.types import SampleIndex

pytestmark = pytest.mark.usefixtures("no_figures")


def locoop(**changes):
    return LoCoOpSettings(**{"name": "locoop", "optimizer": coop().optimizer, **changes})


def module(**changes):
    return locoop(**changes).module(shared_backbone(), CLASS_NAMES[:4], 0, None)


def pictures(count=6):
    data = ImageDataset(image_set(count), shared_backbone().image_spec)
    return data.__getitems__([SampleIndex(row, 0) for row in range(count)])


def test_stored_local_features_give_the_loss_of_the_pictures():
    batch, stage = pictures(), module(top_k=1)
    features, local = shared_backbone().encode_image_with_local(batch["image"])
    stored = {"image_features": features, "local_features": local, "label": batch["label"]}
    (one, terms), (two, _) = stage.batch_loss(batch), stage.batch_loss(stored)
    torch.testing.assert_close(one, two)
    assert float(terms["irrelevant"]) > 0


def test_the_loss_is_cross_entropy_plus_the_weighted_mean_over_regions():
    batch = pictures()
    plain, _ = module(ood_weight=0.0).batch_loss(batch)
    whole, terms = module(ood_weight=0.3, top_k=1).batch_loss(batch)
    torch.testing.assert_close(whole, plain + 0.3 * terms["ood"])


@pytest.mark.parametrize("mode", ["store", "none"])
def test_without_its_term_it_is_coop_to_the_bit(icons, tmp_path, mode):
    features = FeatureSettings(mode=mode, views=2)
    common = {"scores": scores("mcm"), "features": features}
    ours = api.train(request_of(icons, tmp_path, method=locoop(ood_weight=0.0), **common)).folder
    theirs = api.train(request_of(icons, tmp_path, method=coop(), **common)).folder
    assert torch.equal(
        load_file(ours / "prompts.safetensors")["positive"], load_file(theirs / "prompts.safetensors")["positive"]
    )
    one, two = np.load(ours / "scores.npz"), np.load(theirs / "scores.npz")
    assert all(np.array_equal(one[key], two[key]) for key in two)


def test_a_run_says_its_k_and_scores_regions(icons, tmp_path):
    chosen = scores("mcm") | {"gl_mcm": choose("gl_mcm", gl_mcm, {}, "negprompt.scores.gl_mcm.gl_mcm")}
    finished = api.train(request_of(icons, tmp_path, method=locoop(), scores=chosen))
    assert bundles.load(finished.folder).metadata["top_k"] == 4  # a fifth of twenty
    assert set(finished.metrics["scores"]) == {"mcm", "gl_mcm"}
    wanted = request_of(icons, tmp_path, method=coop(), scores=chosen)
    assert "gl_mcm" not in replace(wanted, cut_scores=frozenset({"gl_mcm"})).chosen_scores()
    assert "gl_mcm" in replace(wanted, cut_scores=frozenset()).chosen_scores()


def test_a_k_that_selects_nothing_is_refused_before_training(icons, tmp_path):
    with pytest.raises(ConfigError, match=r"method\.top_k=20 with 20 training classes"):
        api.train(request_of(icons, tmp_path, method=locoop(top_k=20)))


@pytest.mark.parametrize(("given", "used"), [(None, 4), (0.1, 2), (0.01, 1), (3, 3)])
def test_k_is_a_number_of_classes_or_a_share_of_them(given, used):
    names = [f"name {number}" for number in range(20)]
    assert locoop(top_k=given).module(shared_backbone(), names, 1, None).metadata()["top_k"] == used


@pytest.mark.parametrize("given", [0, 0.0, 1.5, -0.2, "half"])
def test_other_values_of_k_are_refused(given):
    with pytest.raises(ValidationError, match="top_k"):
        locoop(top_k=given)
