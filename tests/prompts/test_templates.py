"""Hand-written prompts: one sentence is zero-shot CLIP, several are the mean of their unit features."""

from __future__ import annotations

import open_clip
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers import CLASS_NAMES, scores, shared_backbone, tiny_clip
from helpers import request as request_of

from negprompt import api
from negprompt.errors import ConfigError
from negprompt.methods.zero_shot import ZeroShotSettings
from negprompt.prompts import bundle as bundles
from negprompt.prompts.templates import collections, load_templates
from negprompt.prompts.text_features import ensemble

TEMPLATES = ("a photo of a {}.", "the {} in a video game.", "'itap of my {}.',")


@pytest.mark.parametrize("path", ["auto", "cropped", "plain"])
def test_an_ensemble_is_what_open_clip_makes_of_the_sentences(path):
    backbone, model = shared_backbone(), tiny_clip().eval()
    backbone.text_path = path
    tokenize = open_clip.get_tokenizer("ViT-B-16")
    names = [name.replace("_", " ") for name in CLASS_NAMES[:6]]
    with torch.no_grad():
        each = [
            F.normalize(model.encode_text(tokenize([one.format(name) for name in names])), dim=-1) for one in TEMPLATES
        ]
    expected = F.normalize(torch.stack(each).mean(dim=0), dim=-1)
    try:
        torch.testing.assert_close(ensemble(backbone, TEMPLATES, CLASS_NAMES[:6]), expected, rtol=0, atol=1e-5)
    finally:
        backbone.text_path = "auto"


def test_one_template_is_zero_shot_with_these_words(icons, tmp_path, no_figures):
    words = ZeroShotSettings(name="zero_shot", context_init="words")
    sentence = ZeroShotSettings(name="zero_shot", context_init="words", prompt_templates=["a photo of a {}"])
    requests = [request_of(icons, tmp_path, method=method, scores=scores("mcm")) for method in (words, sentence)]
    one, two = map(api.train, requests)
    assert one.folder != two.folder
    assert one.metrics["id_accuracy"] == two.metrics["id_accuracy"]
    for name, table in one.metrics["scores"]["mcm"].items():
        assert table["auroc"] == pytest.approx(two.metrics["scores"]["mcm"][name]["auroc"], abs=0.02)
    assert bundles.load(two.folder).metadata["prompt_templates"] == ["a photo of a {}"]
    again = api.evaluate(requests[1], two.folder, tmp_path / "evaluation")
    assert again["scores"] == two.metrics["scores"]


def test_the_collections_have_the_published_sizes():
    assert {name: len(load_templates(name)) for name in collections()} == {"clipn128": 128, "openai80": 80}
    assert load_templates("clipn128")[34] == "'a photo of a {}.',"  # its comma reaches the tokeniser


def test_files_and_lists_are_collections_too(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("# of my own\na {}\n\nsome {}.\n")
    assert load_templates(str(file)) == load_templates(["a {}", "some {}."]) == ("a {}", "some {}.")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("clipn129", "neither a text file nor one of the collections clipn128, openai80"),
        (["a photo"], "has 0 slots for the class name in 'a photo'"),
        (["a {} and a {}"], "has 2 slots"),
        ([], "is empty"),
    ],
)
def test_bad_templates_are_named(given, said):
    with pytest.raises(ConfigError, match=said):
        ZeroShotSettings(name="zero_shot", context_init="words", prompt_templates=given)
