"""Holds for every score that has a yaml in conf/score: nothing to list here when one is added."""

from __future__ import annotations

import functools
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from negprompt.errors import ConfigError
from negprompt.types import ScoreInputs, Similarity

CONF = Path(__file__).parents[2] / "conf" / "score"
GIVEN = {"negative"}  # what `images` can give beyond cosines and logit scale


def score_nodes() -> dict[str, dict[str, Any]]:
    nodes: dict[str, dict[str, Any]] = {}
    for path in sorted(CONF.glob("*.yaml")):
        content = yaml.safe_load(path.read_text()) or {}
        nodes |= {name: node for name, node in content.items() if isinstance(node, dict) and "_target_" in node}
    return nodes


NODES = score_nodes()


def load(name: str) -> Any:
    module, function = NODES[name]["_target_"].rsplit(".", 1)
    return getattr(importlib.import_module(module), function)


def configured(name: str) -> Any:
    arguments = {key: value for key, value in NODES[name].items() if not key.startswith("_")}
    return functools.partial(load(name), **arguments)


def images(batch: int = 9) -> ScoreInputs:
    generator = torch.Generator().manual_seed(4)
    positive = torch.rand(batch, 7, generator=generator) * 0.4 - 0.05
    negative = torch.rand(batch, 7, 2, generator=generator) * 0.4 - 0.05
    return ScoreInputs(Similarity(positive, negative), 100.0)


def take(inputs: ScoreInputs, rows: Tensor) -> ScoreInputs:
    positive, negative = inputs.similarity
    assert negative is not None
    return inputs._replace(similarity=Similarity(positive[rows], negative[rows]))


every_score = pytest.mark.parametrize("name", NODES)
scores_with_temperature = pytest.mark.parametrize("name", [name for name in NODES if "temperature" in NODES[name]])
scores_with_negatives = pytest.mark.parametrize("name", [name for name in NODES if "negative" in load(name).needs])


def test_the_scores_of_the_main_job_are_there() -> None:
    assert {"mcm", "msp", "max_logit", "energy", "negprompt"} <= NODES.keys()


@every_score
def test_the_yaml_names_the_score_and_lists_exactly_its_arguments(name: str) -> None:
    assert load(name).__name__ == name
    options = [p.name for p in inspect.signature(load(name)).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert sorted(options) == sorted(key for key in NODES[name] if not key.startswith("_"))


@every_score
def test_what_it_needs_can_be_given(name: str) -> None:
    assert load(name).needs <= GIVEN, "extend `images` by the new input"


@every_score
def test_one_finite_float_an_image(name: str) -> None:
    scores = configured(name)(images(9))
    assert scores.shape == (9,)
    assert scores.dtype in (torch.float32, torch.float64)
    assert torch.isfinite(scores).all()


@every_score
def test_follows_a_permutation_of_the_batch(name: str) -> None:
    order = torch.randperm(9, generator=torch.Generator().manual_seed(5))
    whole = configured(name)(images())
    torch.testing.assert_close(configured(name)(take(images(), order)), whole[order], rtol=1e-12, atol=0)


@every_score
def test_an_image_scores_the_same_alone(name: str) -> None:
    whole = configured(name)(images())
    alone = torch.cat([configured(name)(take(images(), torch.tensor([row]))) for row in range(9)])
    torch.testing.assert_close(alone, whole, rtol=1e-12, atol=0)


@every_score
def test_inputs_are_left_as_they_were(name: str) -> None:
    inputs, untouched = images(), images()
    configured(name)(inputs)
    assert torch.equal(inputs.similarity.positive, untouched.similarity.positive)
    assert inputs.similarity.negative is not None
    assert untouched.similarity.negative is not None
    assert torch.equal(inputs.similarity.negative, untouched.similarity.negative)


@every_score
def test_half_precision_cosines_do_not_lower_the_precision_of_the_score(name: str) -> None:
    positive, negative = images().similarity
    assert negative is not None
    half = Similarity(positive.half(), negative.half())
    full = Similarity(half.positive.float(), half.negative.float() if half.negative is not None else None)
    of_half, of_full = configured(name)(ScoreInputs(half, 100.0)), configured(name)(ScoreInputs(full, 100.0))
    torch.testing.assert_close(of_half, of_full, rtol=0, atol=0)


@every_score
def test_an_id_image_scores_above_an_ood_image(name: str) -> None:
    positive = torch.tensor([[0.35, 0.15, 0.12, 0.10], [0.20, 0.19, 0.18, 0.18]])  # one near class; none
    negative = torch.tensor([[[0.18], [0.10], [0.10], [0.08]], [[0.26], [0.25], [0.24], [0.24]]])
    id_score, ood_score = configured(name)(ScoreInputs(Similarity(positive, negative), 100.0)).tolist()
    assert id_score > ood_score


@scores_with_negatives
def test_without_negatives_the_error_says_what_to_change(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}.*negative prompts.*score="):
        configured(name)(ScoreInputs(Similarity(images().similarity.positive), 100.0))


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf")])
@scores_with_temperature
def test_a_temperature_that_is_no_positive_number_is_refused(name: str, temperature: float) -> None:
    with pytest.raises(ConfigError, match=rf"score\.{name}\.temperature={temperature}"):
        load(name)(images(), temperature=temperature)
