"""Chunks of classes: where they are cut, and that a budget holds."""

from __future__ import annotations

import pytest
import torch

from negprompt.backbones import chunks
from negprompt.backbones.chunks import activation_bytes, chunk_bounds, in_chunks

LENGTHS = [2] * 50 + [3] * 30 + [10] * 4


def bounds(chunk, lengths=LENGTHS):
    return chunk_bounds(lengths, chunk, num_contexts=2, depth=3, width=8)


@pytest.mark.parametrize("chunk", ["auto", "none", 1, 7, 84, 1000])
def test_chunks_cover_every_class_once_and_in_order(chunk, monkeypatch):
    monkeypatch.setattr(chunks, "MEMORY_BUDGET", activation_bytes(40, 3, 8))
    covered = [row for part in bounds(chunk) for row in range(part.start, part.stop)]
    assert covered == list(range(len(LENGTHS)))


def test_a_number_is_the_number_of_classes_in_a_chunk():
    assert [part.stop - part.start for part in bounds(30)] == [30, 30, 24]


def test_everything_at_once_where_it_fits_or_is_asked_for(monkeypatch):
    assert len(bounds("auto")) == 1
    monkeypatch.setattr(chunks, "MEMORY_BUDGET", 1)
    assert len(bounds("none")) == 1
    assert len(bounds("auto")) == len(LENGTHS)  # never less than one class


def test_a_budget_cuts_into_chunks_of_equally_many_tokens(monkeypatch):
    monkeypatch.setattr(chunks, "MEMORY_BUDGET", activation_bytes(sum(LENGTHS) * 2, 3, 8) // 5 + 1)
    tokens = [sum(LENGTHS[part]) for part in bounds("auto")]
    assert len(tokens) == 5
    assert max(tokens) < sum(LENGTHS) / 5 + max(LENGTHS)


def test_a_chunk_is_computed_again_and_changes_no_gradient():
    calls = []
    weight = torch.randn(84, 3, requires_grad=True)

    def encode(rows):
        calls.append(rows)
        return weight[rows].exp().sin()

    gradients = []
    for chunk in ("none", 30):
        calls.clear()
        (gradient,) = torch.autograd.grad(in_chunks(encode, bounds(chunk)).pow(2).sum(), weight)
        gradients.append(gradient)
    assert len(calls) == 6  # three chunks, each once more for its gradient
    assert torch.equal(*gradients)
