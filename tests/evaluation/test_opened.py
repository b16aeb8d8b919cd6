"""A finished run, looked into: what lies in it equals what its training and its test saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import coop, two_stage
from helpers import request as request_of
from safetensors.torch import load_file

from negprompt import api
from negprompt.features.workbench import load_backbone
from negprompt.methods.imported import ImportedSettings
from negprompt.prompts.context import initial_context, initial_negative_context
from negprompt.request import Request

Run = tuple[Request, Path]


@pytest.fixture(scope="module")
def run(icons: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    request = request_of(icons, tmp_path_factory.mktemp("runs"), method=two_stage())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("negprompt.phases.score_histograms", lambda *_, **__: None)
        return request, api.train(request).folder


def test_the_nearest_positive_class_is_the_runs_prediction(run: Run) -> None:
    found = api.nearest_prompts(*run)
    assert list(found) == ["id", "ood/near", "ood/symbols", "ood/logos", "ood/flags"]
    with np.load(run[1] / "scores.npz") as scores:
        assert found["id"].positive_class.tolist() == scores["id/prediction"].tolist()
        # max_logit is the largest cosine times the logit scale, 100 here
        assert scores["ood/near/max_logit"] == pytest.approx(100 * found["ood/near"].positive.numpy(), rel=1e-5)


def test_no_picture_is_encoded_where_features_are_stored(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, _ = load_backbone(run[0].backbone)

    def refuse(_: object) -> None:
        raise AssertionError("a picture was encoded")

    monkeypatch.setattr(type(backbone), "encode_image", refuse)
    assert len(api.nearest_prompts(*run)["id"].positive) == 40


def test_starts_are_those_that_training_began_with(run: Run) -> None:
    request, folder = run
    positive, negative = api.open_run(request, folder).starts()
    backbone, _ = load_backbone(request.backbone)
    stage1 = load_file(folder / "prompts.safetensors")["positive"]
    assert torch.equal(positive, initial_context(backbone, 4, "words", "a photo of a", 1))  # type: ignore[arg-type]
    expected = initial_negative_context(stage1, 2, "positive_uniform", 0.02, 1)
    assert torch.equal(negative, expected)  # type: ignore[arg-type]
    assert not torch.equal(positive, stage1)  # type: ignore[arg-type]


def test_starts_of_prompts_from_elsewhere_are_not_known(run: Run, tmp_path: Path) -> None:
    request, folder = run
    given = request_of(Path(request.data.root), tmp_path, method=two_stage(positive_prompts=str(folder)))  # type: ignore[attr-defined]
    positive, negative = api.open_run(given, folder).starts()
    assert positive is None
    assert negative is not None
    imported = request_of(
        Path(request.data.root),  # type: ignore[attr-defined]
        tmp_path,
        method=ImportedSettings(name="theirs", num_negatives=2),
    )
    assert api.open_run(imported, folder).starts() == (None, None)


def test_a_random_context_is_drawn_again_with_the_seed(icons: Path, tmp_path: Path, no_figures: None) -> None:
    request = request_of(icons, tmp_path, seed=3, method=coop(context_init="random", num_context_tokens=2))
    folder = api.train(request).folder
    positive, negative = api.open_run(request, folder).starts()
    backbone, _ = load_backbone(request.backbone)
    assert torch.equal(positive, initial_context(backbone, 2, "random", "a photo of a", 3))  # type: ignore[arg-type]
    assert negative is None
