"""Prompt encoding: the sentence CLIP would read, on every layout and text path, values and gradients."""

from __future__ import annotations

import logging

import open_clip
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers import tiny_backbone

from negprompt.errors import ConfigError
from negprompt.prompts.context import initial_context
from negprompt.prompts.encoder import PromptEncoder, _warn_once
from negprompt.prompts.template import PromptLayout

NAMES = ("owl", "ice_cream", "Mexican hairless dog (xoloitzcuintli)", "fire truck")
WORDS = "a photo of a"


@pytest.fixture(scope="module", params=[False, True], ids=["CLIP", "CustomTextCLIP"])
def backbone(request):
    return tiny_backbone(custom_text=request.param)


@pytest.fixture(scope="module")
def either_path():
    """The same weights on the cropped and on the plain path."""
    return tiny_backbone(text_path="cropped"), tiny_backbone(text_path="plain")


def noise(*shape, seed=0):
    return 0.02 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def encode(backbone, context, names=NAMES, **layout):
    encoder = PromptEncoder(backbone, names, PromptLayout(context.shape[-2], **layout))
    return encoder(backbone, context)


@torch.no_grad()
def open_clip_features(backbone, sentences):
    return F.normalize(backbone.model.encode_text(open_clip.SimpleTokenizer()(sentences)), dim=-1)


def largest_gap(one, other):
    return float((one - other).abs().max())


@pytest.mark.parametrize(
    ("layout", "sentence"),
    [
        ({}, "a photo of a {}"),
        ({"full_stop": True}, "a photo of a {}."),
        ({"class_token_position": "middle"}, "a photo {} of a"),
        ({"class_token_position": "front", "full_stop": True}, "{} a photo of a."),
    ],
)
def test_the_words_own_embeddings_give_open_clips_features_of_the_sentence(backbone, layout, sentence):
    context = initial_context(backbone, 4, "words", WORDS, seed=0)
    literal = open_clip_features(backbone, [sentence.format(name.replace("_", " ")) for name in NAMES])
    assert largest_gap(encode(backbone, context, **layout), literal) < 1e-5


def test_a_prompt_that_fills_all_77_places_is_encoded_exactly(backbone):
    words = " ".join(["photo"] * 74)
    context = initial_context(backbone, 74, "words", words, seed=0)
    literal = open_clip_features(backbone, [f"{words} owl"])
    assert largest_gap(encode(backbone, context, names=["owl"]), literal) < 1e-5


def test_a_longer_prompt_is_refused_before_anything_is_encoded(backbone):
    with pytest.raises(ConfigError, match="has 78 tokens with 75 context tokens"):
        PromptEncoder(backbone, ["owl"], PromptLayout(75))


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_cropping_changes_neither_features_nor_gradients(either_path, position):
    features, gradients = [], []
    weights = torch.randn(len(NAMES), 16, generator=torch.Generator().manual_seed(1))
    for backbone in either_path:
        context = noise(16, 32).requires_grad_()
        text = encode(backbone, context, class_token_position=position)
        (text * weights).sum().backward()
        features.append(text.detach())
        gradients.append(context.grad)
    assert largest_gap(*features) < 1e-6
    assert largest_gap(*gradients) < 1e-6 * float(gradients[0].abs().max())


def test_cropping_a_batch_of_negatives_changes_no_gradient(either_path):
    gradients = []
    for backbone in either_path:
        context = noise(2, 4, 32).requires_grad_()
        encoder = PromptEncoder(backbone, NAMES, PromptLayout(4))
        encoder.encode_negative(backbone, context).square()[..., :3].sum().backward()
        gradients.append(context.grad)
    assert largest_gap(*gradients) < 1e-6 * float(gradients[0].abs().max())


def test_equal_class_specific_contexts_are_a_shared_one(backbone):
    shared = noise(4, 32)
    specific = encode(backbone, shared.expand(len(NAMES), -1, -1))
    assert largest_gap(specific, encode(backbone, shared)) < 1e-6


def test_a_class_specific_context_reaches_its_own_class_only(backbone):
    context = noise(len(NAMES), 4, 32)
    changed = context.clone()
    changed[2] = noise(4, 32, seed=1)
    before, after = encode(backbone, context), encode(backbone, changed)
    moved = (before - after).abs().amax(dim=1) > 1e-4
    assert moved.tolist() == [False, False, True, False]


@pytest.mark.parametrize("leading", [(3,), (len(NAMES), 3)], ids=["shared", "class-specific"])
def test_negative_prompts_are_encoded_like_positive_ones(backbone, leading):
    context = noise(*leading, 4, 32)
    encoder = PromptEncoder(backbone, NAMES, PromptLayout(4))
    together = encoder.encode_negative(backbone, context)
    one_by_one = torch.stack([encoder(backbone, one) for one in context.unbind(-3)], dim=1)
    assert largest_gap(together, one_by_one) < 1e-6
    assert largest_gap(together[:, 0], together[:, 1]) > 1e-3


def test_features_are_of_unit_length_and_depend_on_the_name(backbone):
    text = encode(backbone, noise(4, 32))
    assert torch.allclose(text.norm(dim=-1), torch.ones(len(NAMES)), atol=1e-6)
    cosines = (text @ text.T)[~torch.eye(len(NAMES), dtype=torch.bool)]
    assert float(cosines.max()) < 0.99


def test_a_name_does_not_change_another_names_features(backbone):
    context = noise(4, 32)
    assert largest_gap(encode(backbone, context, names=["owl"])[0], encode(backbone, context)[0]) < 1e-6


def test_gradients_reach_the_context_and_no_weight(backbone):
    context = noise(4, 32).requires_grad_()
    encode(backbone, context)[:, 0].sum().backward()
    assert float(context.grad.abs().min()) > 0
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_names_with_untrained_tokens_are_named_in_a_warning(caplog):
    _warn_once.cache_clear()
    backbone = tiny_backbone()
    with torch.no_grad():
        backbone.model.token_embedding.weight[backbone.tokenize("truck")] = 0
    with caplog.at_level(logging.WARNING):
        PromptEncoder(backbone, NAMES, PromptLayout(4))
        PromptEncoder(backbone, NAMES, PromptLayout(4))  # says it once
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("tiny_test never saw")
    assert message.endswith(": fire truck")


def test_known_names_draw_no_warning(caplog, backbone):
    with caplog.at_level(logging.WARNING):
        PromptEncoder(backbone, NAMES, PromptLayout(4))
    assert not caplog.records
