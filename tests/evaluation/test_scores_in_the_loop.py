"""Scores that need more than cosines, in whole runs: from stored features and from pictures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from command_line import LIGHT, ONE_STAGE, call
from helpers import TinySettings, coop, scores
from helpers import request as request_of

from negprompt import api
from negprompt.errors import BackboneError
from negprompt.features.settings import FeatureSettings
from negprompt.methods.zero_shot import ZeroShotSettings
from negprompt.scores.choice import choose
from negprompt.scores.gl_mcm import gl_mcm
from negprompt.scores.odin import odin
from negprompt.scores.react import react

pytestmark = pytest.mark.usefixtures("no_figures")
MORE = {
    "react": choose("react", react, {"percentile": 100.0}, "negprompt.scores.react.react"),
    "gl_mcm": choose("gl_mcm", gl_mcm, {"local_weight": 0.0}, "negprompt.scores.gl_mcm.gl_mcm"),
    "odin": choose("odin", odin, {"temperature": 1.0, "step_size": 0.0}, "negprompt.scores.odin.odin"),
}


def zero_shot():
    return ZeroShotSettings(name="zero_shot", context_init="words")


@pytest.mark.parametrize("mode", ["store", "none"])
def test_their_limits_hold_in_a_run(icons, tmp_path, mode):
    wanted = {**scores("mcm", "msp", "energy"), **MORE}
    features = FeatureSettings(mode=mode, views=1)
    finished = api.train(request_of(icons, tmp_path, method=zero_shot(), scores=wanted, features=features))
    found = np.load(finished.folder / "scores.npz")
    for ours, limit in (("odin", "msp"), ("gl_mcm", "mcm")):
        np.testing.assert_allclose(found[f"id/{ours}"], found[f"id/{limit}"], rtol=1e-6)
    # Test pictures may have larger features than any training picture; most have not.
    assert np.median(np.abs(found["id/react"] - found["id/energy"])) < 1e-2


def test_odin_moves_pictures_in_a_run(icons, tmp_path):
    moved = choose("odin", odin, {"temperature": 1.0, "step_size": 0.01}, "negprompt.scores.odin.odin")
    wanted = {**scores("msp"), "odin": moved}
    finished = api.train(request_of(icons, tmp_path, method=zero_shot(), scores=wanted))
    found = np.load(finished.folder / "scores.npz")
    assert (found["id/odin"] > found["id/msp"]).mean() > 0.9


@pytest.mark.parametrize("score", ["react", "gl_mcm"])
def test_a_score_beside_auto_is_asked_for(icons, tmp_path, capsys, score):
    light = (*(word for word in LIGHT if ".positive." not in word), "method=coop", f"data.root={icons}")
    assert call("train", *light, f"paths.runs_dir={tmp_path}", f"score=[auto,{score}]") == 0, capsys.readouterr().err
    (metrics,) = tmp_path.glob("icons/coop/*/*/metrics.json")
    assert score in json.loads(metrics.read_text())["scores"]


def test_a_run_knows_its_templates_when_their_file_has_gone(icons, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("a {} on white\n")
    words = (*ONE_STAGE, "method=zero_shot", f"data.root={icons}", "paths.runs_dir=runs", "score=[mcm]")
    assert call("train", *words, "method.prompt_templates=mine.txt") == 0, capsys.readouterr().err
    (tmp_path / "mine.txt").unlink()
    (folder,) = tmp_path.glob("runs/icons/zero_shot/*/*")
    assert call("evaluate", f"run={folder}", "score=[mcm]") == 0, capsys.readouterr().err
    (again,) = folder.glob("evaluation/*/metrics.json")
    assert json.loads(again.read_text())["scores"] == json.loads((folder / "metrics.json").read_text())["scores"]


def test_a_run_asks_for_local_features_before_it_trains(icons, tmp_path, monkeypatch):
    wanted = request_of(icons, tmp_path, method=coop(), scores={"gl_mcm": MORE["gl_mcm"]}, cut_scores=frozenset())
    wanted = replace(wanted, features=FeatureSettings(mode="none"), backbone=TinySettings(init_seed=5))

    def none(self, images):
        raise BackboneError("no local features")

    monkeypatch.setattr("negprompt.backbones.openclip.OpenClipBackbone.encode_image_with_local", none)
    with pytest.raises(BackboneError):
        api.train(wanted)
    assert not list(tmp_path.rglob("last.ckpt"))
