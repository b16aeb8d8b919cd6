"""Cropped prompt encoding: the same numbers as all 77 tokens, values and gradients, up to double precision."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny_clip

from negprompt.backbones.text import TextTower, encode_prompts


@pytest.fixture(scope="module")
def tower():
    model = tiny_clip().double().eval().requires_grad_(False)
    return TextTower(
        blocks=lambda hidden, mask: model.transformer(hidden, attn_mask=mask),
        positions=model.positional_embedding,
        causal_mask=model.attn_mask.double(),
        final_norm=model.ln_final,
        project=lambda hidden: hidden @ model.text_projection,
    )


def prompts(count=3, length=77):
    return torch.randn(count, length, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


ENDS = torch.tensor([5, 17, 2])


def test_cropping_gives_the_features_of_the_full_length(tower):
    cropped, plain = (encode_prompts(tower, prompts(), ENDS, path) for path in ("cropped", "plain"))
    assert float((cropped - plain).abs().max()) < 1e-12


def test_cropping_gives_the_gradients_of_the_full_length(tower):
    gradients = []
    for path in ("cropped", "plain"):
        embeddings = prompts().requires_grad_()
        encode_prompts(tower, embeddings, ENDS, path).pow(3).sum().backward()
        gradients.append(embeddings.grad)
    assert float((gradients[0] - gradients[1]).abs().max()) < 1e-10 * float(gradients[0].abs().max())


@pytest.mark.parametrize("path", ["cropped", "plain"])
def test_nothing_behind_the_end_token_reaches_the_feature(tower, path):
    changed = prompts()
    changed[0, 6:] = 9.0
    before, after = encode_prompts(tower, prompts(), ENDS, path), encode_prompts(tower, changed, ENDS, path)
    assert float((before - after).abs().max()) < 1e-12


def test_everything_up_to_the_end_token_reaches_the_feature(tower):
    embeddings = prompts().requires_grad_()
    encode_prompts(tower, embeddings, ENDS)[:, 0].sum().backward()
    used = embeddings.grad.abs().amax(dim=-1) > 0
    assert used.sum(dim=1).tolist() == [6, 18, 3]


def test_auto_runs_no_more_tokens_than_needed(tower):
    lengths = []

    def counted(hidden, mask):
        lengths.append((hidden.shape[1], tuple(mask.shape)))
        return hidden

    for path in ("auto", "cropped", "plain"):
        encode_prompts(tower._replace(blocks=counted), prompts(), ENDS, path)
    assert lengths == [(18, (18, 18)), (18, (18, 18)), (77, (77, 77))]
