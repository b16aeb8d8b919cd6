"""The likelihood of captions: by hand, its gradient, and parts of a batch."""

from __future__ import annotations

import math

import pytest
import torch

from negprompt.objectives.zoc import caption_loss

GENERATOR = torch.Generator().manual_seed(2)
LOGITS, TARGETS = torch.randn(9, 7, generator=GENERATOR), torch.randint(7, (9,), generator=GENERATOR)


def test_the_loss_of_two_captions_by_hand():
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0], [math.log(4), 0.0]])
    targets = torch.tensor([1, 0, 0])  # probabilities 3/4, 1/2 of one caption and 4/5 of the other
    wanted = -(math.log(3 / 4) + math.log(1 / 2) + math.log(4 / 5)) / 2
    assert float(caption_loss(logits, targets, captions=2)) == pytest.approx(wanted, rel=1e-6)


def test_its_gradient_is_the_softmax_minus_the_target():
    logits = LOGITS.clone().requires_grad_()
    caption_loss(logits, TARGETS, captions=4).backward()
    wanted = (LOGITS.softmax(dim=1) - torch.nn.functional.one_hot(TARGETS, 7)) / 4
    torch.testing.assert_close(logits.grad, wanted)


def test_parts_of_a_batch_count_by_their_captions():
    whole = caption_loss(LOGITS, TARGETS, captions=4)
    parts = caption_loss(LOGITS[:2], TARGETS[:2], captions=1), caption_loss(LOGITS[2:], TARGETS[2:], captions=3)
    torch.testing.assert_close((parts[0] + 3 * parts[1]) / 4, whole)


def test_half_precision_logits_are_summed_in_single_precision():
    half = LOGITS.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = caption_loss(half, TARGETS, captions=4)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, caption_loss(half.float(), TARGETS, captions=4), rtol=0, atol=0)
