"""CLIPN's second tower: starts as the first, what is added where, and whose adapter fits."""

from __future__ import annotations

import pytest
import torch
from helpers import CLASS_NAMES, shared_backbone, tiny_backbone
from safetensors.torch import save

from negprompt.backbones.embedded import EmbeddedSettings
from negprompt.errors import BackboneError, PromptMismatchError
from negprompt.methods.caption_adapter import framed
from negprompt.prompts.encoder import PromptEncoder
from negprompt.prompts.no_text import NoText, compact, dense, drawn_prompts, encode_captions, no_text_of
from negprompt.prompts.template import PromptLayout
from negprompt.prompts.text_features import ensemble

CAPTIONS = ("a photo of a drum", "fire truck", "an ice cream, and a large box of many other words in a longer sentence")


def batch(backbone):
    ids = [framed(backbone, caption) for caption in CAPTIONS]
    tokens = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.long)
    for row, sequence in enumerate(ids):
        tokens[row, : len(sequence)] = torch.tensor(sequence)
    return tokens, torch.tensor([len(sequence) - 1 for sequence in ids])


def trained(backbone, seed=0):
    """A tower whose every weight has moved."""
    tower, generator = NoText(backbone), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return tower


@pytest.mark.parametrize("custom_text", [False, True])
def test_captions_are_encoded_as_the_model_itself_does(custom_text):
    backbone = tiny_backbone(custom_text=custom_text)
    tokens, end = batch(backbone)
    whole = torch.nn.functional.pad(tokens, (0, 77 - tokens.shape[1]))
    expected = torch.nn.functional.normalize(backbone.model.encode_text(whole), dim=-1)
    assert torch.allclose(encode_captions(backbone.text_tower(), tokens, end), expected, atol=1e-6)


@pytest.mark.parametrize("custom_text", [False, True])
def test_it_starts_as_the_backbone_s_own_tower(custom_text):
    backbone = tiny_backbone(custom_text=custom_text)
    tokens, end = batch(backbone)
    no = NoText(backbone)(tokens, end, torch.tensor([0, 5, 16]))
    assert torch.allclose(no, encode_captions(backbone.text_tower(), tokens, end), atol=1e-6)


@pytest.mark.parametrize("name", ["tiny_rn", "tiny_lit", "tiny_vit"])
def test_the_embedded_backbones_have_one(name):
    backbone = EmbeddedSettings(name=name).build()
    tokens, end = batch(backbone)
    no = NoText(backbone)(tokens, end, torch.zeros(3, dtype=torch.long))
    assert torch.allclose(no, encode_captions(backbone.text_tower(), tokens, end), atol=1e-6)


def test_all_of_it_is_trained_and_nothing_of_the_backbone():
    backbone = shared_backbone()
    tower = NoText(backbone)
    tokens, end = batch(backbone)
    tower(tokens, end, torch.tensor([0, 1, 16]))[:, 0].sum().backward()
    assert all(parameter.grad is not None for parameter in tower.parameters())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in backbone.parameters())


def test_a_drawn_prompt_is_added_at_every_place():
    tower = trained(shared_backbone())
    tokens, end = batch(shared_backbone())
    for number in (3, 16):
        added = tower.prompts.mean(0) if number == 16 else tower.prompts[number]
        same = encode_captions(tower.text.tower(), tokens, end, added[: tokens.shape[1]])
        assert torch.allclose(tower(tokens, end, torch.full((3,), number)), same, atol=1e-6)


def test_at_test_time_the_mean_of_the_prompts_is_added():
    backbone, tower = shared_backbone(), trained(shared_backbone())
    tokens, end = batch(backbone)
    expected = tower(tokens, end, torch.full((3,), 16))
    says_no = no_text_of(backbone, tower.tensors()).beside(backbone)
    assert torch.allclose(encode_captions(says_no.text_tower(), tokens, end), expected, atol=1e-6)
    encoder = PromptEncoder(says_no, ["drum"], PromptLayout(0))
    no = tower(*alone("drum"), torch.tensor([16]))[0]
    assert torch.allclose(encoder(says_no, torch.zeros(0, 32))[0], no, atol=1e-6)


def alone(caption):
    ids = framed(shared_backbone(), caption)
    return torch.tensor([ids]), torch.tensor([len(ids) - 1])


@pytest.mark.parametrize("path", ["shared", "cropped", "plain"])
def test_every_text_path_reads_the_second_tower(path):
    backbone = tiny_backbone(text_path=path)
    says_no = no_text_of(backbone, trained(backbone).tensors()).beside(backbone)
    found = ensemble(says_no, ["a photo of a {}"], CLASS_NAMES[:3])
    tower = trained(backbone)
    for row, name in enumerate(CLASS_NAMES[:3]):
        assert torch.allclose(found[row], tower(*alone(f"a photo of a {name}"), torch.tensor([16]))[0], atol=1e-5)


def test_the_backbone_itself_is_left_alone():
    backbone = tiny_backbone()
    before = backbone.weights_sha256()
    no_text_of(backbone, trained(backbone).tensors()).beside(backbone)
    assert backbone.weights_sha256() == before


def test_tensors_have_open_clip_s_names():
    names = set(NoText(shared_backbone()).tensors())
    assert {
        "no.prompts", "no.token_embedding.weight", "no.positional_embedding", "no.text_projection",
        "no.ln_final.weight", "no.transformer.resblocks.0.attn.in_proj_weight",
        "no.transformer.resblocks.1.mlp.c_fc.bias",
    } <= names  # fmt: skip
    assert not any("attn_mask" in name for name in names)


# --- drawing -------------------------------------------------------------------------------------------------------


def test_a_draw_depends_on_seed_epoch_and_pair_only():
    rows = torch.arange(50)
    first = drawn_prompts(1, torch.zeros(50, dtype=torch.long), rows, 16)
    assert torch.equal(drawn_prompts(1, torch.zeros(20, dtype=torch.long), rows[30:], 16), first[30:])
    assert not torch.equal(drawn_prompts(2, torch.zeros(50, dtype=torch.long), rows, 16), first)
    assert not torch.equal(drawn_prompts(1, torch.ones(50, dtype=torch.long), rows, 16), first)


def test_each_prompt_and_their_mean_are_drawn_alike():
    drawn = drawn_prompts(0, torch.zeros(8500, dtype=torch.long), torch.arange(8500), 16)
    counts = torch.bincount(drawn, minlength=17)
    assert len(counts) == 17
    assert int((counts - 500).abs().max()) < 100  # four and a half standard deviations


# --- adapters ------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_what_is_loaded():
    tower = trained(shared_backbone())
    loaded = no_text_of(shared_backbone(), tower.tensors())
    assert all(torch.equal(loaded.tensors()[name], tensor) for name, tensor in tower.tensors().items())


def test_a_compact_adapter_is_small_and_the_same_to_half_precision():
    backbone = EmbeddedSettings(name="tiny_rn").build()
    tensors = NoText(backbone).tensors()
    small = compact(tensors)
    assert len(save(small)) < 6_000_000
    again = dense(small)
    assert set(again) == set(tensors)
    assert all(torch.allclose(again[name], tensor, atol=1e-2, rtol=1e-3) for name, tensor in tensors.items())


def test_the_adapter_of_another_backbone_is_refused_by_shape():
    tensors = NoText(tiny_backbone()).tensors()
    tensors["no.text_projection"] = torch.zeros(32, 24)
    with pytest.raises(PromptMismatchError, match=r"no.text_projection is \(32, 24\) .* backbone=tiny_test"):
        no_text_of(shared_backbone(), tensors)
    del tensors["no.text_projection"]
    with pytest.raises(PromptMismatchError, match=r"no\.text_projection is missing"):
        no_text_of(shared_backbone(), tensors)
    with pytest.raises(PromptMismatchError, match="method=clipn"):
        no_text_of(shared_backbone(), {})


def test_a_tower_that_is_not_causal_is_refused():
    backbone = tiny_backbone(custom_text=True)
    backbone._not_causal = "the text tower has no causal mask"
    with pytest.raises(BackboneError, match="no causal mask"):
        backbone.text_copy()
