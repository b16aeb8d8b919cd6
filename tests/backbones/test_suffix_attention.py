"""Attention to a shared prefix: the library's attention on the copied prefix, values and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from negprompt.backbones import suffix_attention as module
from negprompt.backbones.suffix_attention import suffix_attention

HEADS, WIDTH, PREFIX = 2, 6, 3


def inputs(lengths, contexts=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(contexts, sum(lengths), 3 * WIDTH, generator=generator, dtype=dtype)
    keys, values = torch.randn(2, contexts, HEADS, PREFIX, WIDTH // HEADS, generator=generator, dtype=dtype)
    return [mixed.requires_grad_(), keys.clone().requires_grad_(), values.clone().requires_grad_()]


def copied_prefix(mixed, keys, values, lengths):
    """Every name with a copy of the prefix in front, one library call a name."""
    parts = []
    for name in mixed.split(list(lengths), dim=1):
        length = name.shape[1]
        q, k, v = name.view(len(name), length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mask = torch.ones(length, PREFIX + length, dtype=torch.bool).tril(PREFIX)
        k, v = torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)
        parts.append(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("few_tokens", [0, 4096])
@pytest.mark.parametrize("lengths", [(1,), (2, 2, 5), (1, 1, 3, 3, 3, 13)])
def test_it_is_the_librarys_attention_with_a_copy_of_the_prefix(lengths, few_tokens, monkeypatch):
    monkeypatch.setattr(module, "_FEW_TOKENS", few_tokens)
    results, gradients = [], []
    for attention in (suffix_attention, copied_prefix):
        leaves = inputs(lengths)
        attended = attention(*leaves, lengths)
        gradients.append(torch.autograd.grad(attended.pow(3).cumsum(1).sum(), leaves))
        results.append(attended.detach())
    assert float((results[0] - results[1]).abs().max()) < 1e-12
    for ours, theirs in zip(*gradients, strict=True):
        assert float((ours - theirs).abs().max()) < 1e-10 * float(theirs.abs().max())


@pytest.mark.parametrize("few_tokens", [0, 4096])
def test_its_gradients_are_the_numerical_ones(few_tokens, monkeypatch):
    monkeypatch.setattr(module, "_FEW_TOKENS", few_tokens)
    assert torch.autograd.gradcheck(lambda *leaves: suffix_attention(*leaves, (1, 2, 2)), inputs((1, 2, 2)))


def test_one_token_and_one_prefix_key_by_hand():
    mixed = torch.tensor([[[2.0, 1.0, 10.0]]])  # query 2, key 1, value 10
    keys, values = torch.tensor([[[[3.0]]]]), torch.tensor([[[[-10.0]]]])
    # logits 2 * 3 = 6 to the prefix, 2 * 1 = 2 to itself: weights 1 / (1 + e^-4) and the rest
    share = 1 / (1 + torch.tensor(-4.0).exp())
    assert float(suffix_attention(mixed, keys, values, (1,))) == pytest.approx(float(10 * (1 - share) - 10 * share))


def test_a_name_sees_neither_later_tokens_nor_other_names():
    mixed, keys, values = inputs((2, 2))
    for token, seen_by in ((1, [1]), (2, [2, 3])):
        changed = mixed.detach().clone()
        changed[:, token, WIDTH:] += 1  # its key and value
        moved = suffix_attention(changed, keys, values, (2, 2)) - suffix_attention(mixed, keys, values, (2, 2))
        assert moved.abs().amax(dim=(0, 2)).nonzero().flatten().tolist() == seen_by


def test_half_precision_stays_close_and_in_half_precision():
    leaves = [leaf.detach().bfloat16().requires_grad_() for leaf in inputs((2, 3))]
    attended = suffix_attention(*leaves, (2, 3))
    exact = suffix_attention(*[leaf.detach().double() for leaf in leaves], (2, 3))
    assert attended.dtype == torch.bfloat16
    assert float((attended.detach().double() - exact).abs().max()) < 0.03
    assert all(part.dtype == torch.bfloat16 for part in torch.autograd.grad(attended.sum(), leaves))
