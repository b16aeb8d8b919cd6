"""Holds for every score that has a yaml in conf/score: nothing to list here when one is added."""

from __future__ import annotations

import functools
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import yaml
from torch import Tensor

from negprompt.errors import ConfigError
from negprompt.types import Pixels, ScoreInputs, Similarity

CONF = Path(__file__).parents[2] / "conf" / "score"
GIVEN = {"negative", "no_text", "candidates", "local", "training_features", "pixels"}  # what `images` can give


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


def fitted(name: str) -> Tensor | None:
    """What the score's fit makes of training features, under the settings of its yaml."""
    fit, arguments = load(name).fit, NODES[name]
    if fit is None:
        return None
    features = torch.randn(30, 5, generator=torch.Generator().manual_seed(6))
    return fit(features, **{key: arguments[key] for key in inspect.signature(fit).parameters if key in arguments})


def images(name: str, batch: int = 9) -> ScoreInputs:
    """Pictures of five pixels' width, whose features are their first row, seven classes, three regions."""
    generator = torch.Generator().manual_seed(4)
    pixels = torch.randn(batch, 3, 2, 5, generator=generator)
    text = F.normalize(torch.randn(7, 5, generator=generator), dim=1)

    def similarity(values: Tensor) -> Similarity:
        return Similarity(F.normalize(values[:, 0, 0], dim=1) @ text.T)

    num_negatives = 1 if "no_text" in load(name).needs else 2
    cosines = Similarity(
        similarity(pixels).positive,
        torch.rand(batch, 7, num_negatives, generator=generator) * 0.4 - 0.05,
        torch.rand(batch, 3, 7, generator=generator) * 0.4 - 0.05,
    )
    pictures = Pixels(pixels, (0.3, 0.3, 0.3), similarity)
    candidates = torch.rand(batch, 6, generator=generator) * 0.4 - 0.05
    candidates[torch.rand(batch, 6, generator=generator) < 0.3] = -torch.inf
    return ScoreInputs(cosines, 100.0, pixels[:, 0, 0], text, pictures, fitted(name), candidates)


def take(inputs: ScoreInputs, rows: Tensor) -> ScoreInputs:
    """Some of the pictures."""
    assert inputs.image_features is not None
    assert inputs.pixels is not None
    assert inputs.candidates is not None
    return inputs._replace(
        similarity=Similarity(*(part[rows] for part in inputs.similarity if part is not None)),
        image_features=inputs.image_features[rows],
        pixels=inputs.pixels._replace(values=inputs.pixels.values[rows]),
        candidates=inputs.candidates[rows],
    )


def rounding(name: str) -> float:
    """Relative difference that the order of sums inside the picture's own similarity may make."""
    return 1e-4 if "pixels" in load(name).needs else 1e-12


def flat(inputs: ScoreInputs) -> list[Tensor]:
    """All tensors of the inputs."""
    assert inputs.pixels is not None
    features = (inputs.image_features, inputs.text_features, inputs.candidates)
    parts = (*inputs.similarity, *features, inputs.pixels.values, inputs.fitted)
    return [part for part in parts if part is not None]


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
    scores = configured(name)(images(name))
    assert scores.shape == (9,)
    assert scores.dtype in (torch.float32, torch.float64)
    assert torch.isfinite(scores).all()


@every_score
def test_follows_a_permutation_of_the_batch(name: str) -> None:
    order = torch.randperm(9, generator=torch.Generator().manual_seed(5))
    whole = configured(name)(images(name))
    # A matrix product of other rows rounds its float32 cosines another way.
    torch.testing.assert_close(configured(name)(take(images(name), order)), whole[order], rtol=rounding(name), atol=0)


@every_score
def test_an_image_scores_the_same_alone(name: str) -> None:
    whole = configured(name)(images(name))
    alone = torch.cat([configured(name)(take(images(name), torch.tensor([row]))) for row in range(9)])
    torch.testing.assert_close(alone, whole, rtol=rounding(name), atol=0)


@every_score
def test_inputs_are_left_as_they_were(name: str) -> None:
    inputs, untouched = images(name), images(name)
    configured(name)(inputs)
    for one, two in zip(flat(inputs), flat(untouched), strict=True):
        assert torch.equal(one, two)


@every_score
def test_half_precision_cosines_do_not_lower_the_precision_of_the_score(name: str) -> None:
    inputs = images(name)
    half = Similarity(*(part.half() for part in inputs.similarity if part is not None))
    full = Similarity(*(part.float() for part in half if part is not None))
    assert inputs.candidates is not None
    candidates = inputs.candidates.half()
    of_half = configured(name)(inputs._replace(similarity=half, candidates=candidates))
    of_full = configured(name)(inputs._replace(similarity=full, candidates=candidates.float()))
    torch.testing.assert_close(of_half, of_full, rtol=0, atol=0)


@every_score
def test_an_id_image_scores_above_an_ood_image(name: str) -> None:
    text = torch.eye(4)
    features = torch.tensor([[0.35, 0.15, 0.12, 0.10], [0.20, 0.19, 0.18, 0.18]])  # one near class; none
    negative = torch.tensor([[[0.18], [0.10], [0.10], [0.08]], [[0.26], [0.25], [0.24], [0.24]]])

    def similarity(values: Tensor) -> Similarity:
        return Similarity(values[:, 0, 0] @ text.T)

    pixels = Pixels(features[:, None, None].expand(-1, 3, 1, -1), (1.0, 1.0, 1.0), similarity)
    cosines = Similarity(features, negative, features[:, None])
    limit = None if load(name).fit is None else torch.tensor(0.3)
    candidates = torch.tensor([[0.20, -torch.inf], [0.26, 0.25]])
    inputs = ScoreInputs(cosines, 100.0, features, text, pixels, limit, candidates)
    id_score, ood_score = configured(name)(inputs).tolist()
    assert id_score > ood_score


@scores_with_negatives
def test_without_negatives_the_error_says_what_to_change(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}.*negative prompts.*score="):
        configured(name)(ScoreInputs(Similarity(images(name).similarity.positive), 100.0))


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf")])
@scores_with_temperature
def test_a_temperature_that_is_no_positive_number_is_refused(name: str, temperature: float) -> None:
    with pytest.raises(ConfigError, match=rf"score\.{name}\.temperature={temperature}"):
        load(name)(images(name), temperature=temperature)
