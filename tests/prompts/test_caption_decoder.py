"""The caption decoder: what a place may look at, and which tensors make one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from negprompt.errors import ConfigError, PromptMismatchError
from negprompt.prompts.caption_decoder import CaptionDecoder, DecoderSettings, decoder_of

VOCABULARY = torch.tensor([3, 5, 8, 320, 1125, 49407])
SIZE = DecoderSettings(width=16, layers=2, heads=2)
IMAGES = F.normalize(torch.randn(4, 10, generator=torch.Generator().manual_seed(0)), dim=1)
COLUMNS = torch.randint(6, (4, 5), generator=torch.Generator().manual_seed(1))


def decoder(seed=0, size=SIZE):
    return CaptionDecoder(VOCABULARY, 10, 8, size, seed)


def logits(images=IMAGES, columns=COLUMNS):
    one = decoder().double()
    return one.logits(one(images.double(), columns))


# --- what counts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(5))
def test_a_later_token_changes_no_earlier_logit(place):
    changed = COLUMNS.clone()
    changed[:, place] = (changed[:, place] + 1) % 6
    before, after = logits(), logits(columns=changed)
    assert torch.equal(before[:, : place + 1], after[:, : place + 1])
    assert (before[:, place + 1 :] != after[:, place + 1 :]).any(dim=2).all()


def test_a_gradient_comes_from_the_picture_and_earlier_tokens_alone():
    one = decoder().double()
    images = IMAGES.double().requires_grad_()
    one.logits(one(images, COLUMNS))[:, 2].sum().backward()
    assert (images.grad != 0).any(dim=1).all()
    used = set(COLUMNS[:, :2].flatten().tolist())  # the table also reads out, with a gradient on each of its rows
    assert used
    one.zero_grad()
    hidden = one(IMAGES.double(), COLUMNS)
    (hidden[:, 2] * torch.arange(16)).sum().backward()
    assert set(one.table.weight.grad.any(dim=1).nonzero().flatten().tolist()) == used


def test_another_picture_changes_every_logit():
    assert (logits() != logits(images=IMAGES.flip(0))).any(dim=2).all()


def test_what_fills_up_a_caption_changes_nothing():
    longer = torch.cat([COLUMNS, torch.zeros(4, 2, dtype=torch.long)], dim=1)
    torch.testing.assert_close(logits(columns=longer)[:, :6], logits())


def test_columns_are_places_in_the_vocabulary():
    assert decoder().columns(torch.tensor([[49407, 3], [320, 8]])).tolist() == [[5, 0], [3, 2]]


def test_seeds_give_different_weights_and_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = decoder(0), decoder(0), decoder(1)
    assert torch.equal(torch.rand(3), wanted)
    assert all(torch.equal(one.tensors()[name], tensor) for name, tensor in same.tensors().items())
    assert not torch.equal(one.table.weight, other.table.weight)


def test_layers_start_different():
    first, second = (block.linear1.weight for block in decoder().blocks)
    assert not torch.equal(first, second)


# --- tensors -------------------------------------------------------------------------------------------------------


def test_a_decoder_is_its_tensors():
    one = decoder(3)
    stored = {name: tensor.float() for name, tensor in one.tensors().items()}  # as an adapter keeps them
    again = decoder_of(stored, 10, 49407)
    assert int(again.heads) == 2
    assert again.vocabulary.dtype == torch.long
    assert torch.equal(again.logits(again(IMAGES, COLUMNS)), one.logits(one(IMAGES, COLUMNS)))


def changed(name, value):
    tensors = decoder().tensors()
    if value is None:
        del tensors[f"decoder.{name}"]
        return tensors
    return {**tensors, f"decoder.{name}": value}


@pytest.mark.parametrize(
    ("tensors", "width", "message"),
    [
        ({"no.prompts": torch.zeros(1)}, 10, r"no caption decoder \(decoder.heads is missing.*method=zoc"),
        (changed("norm.weight", None), 10, r"decoder.norm.weight is missing in the adapter, and \(16,\)"),
        (changed("extra", torch.zeros(1)), 10, r"decoder.extra is \(1,\) in the adapter, and not there"),
        (changed("vocabulary", VOCABULARY.flip(0)), 10, "no ascending token ids that end with 49407"),
        (changed("vocabulary", VOCABULARY[:-1]), 10, "no ascending token ids that end with 49407"),
        (changed("vocabulary", VOCABULARY[1:]), 10, r"decoder.bias is \(6,\) in the adapter, and \(5,\)"),
        (changed("heads", torch.tensor([3])), 10, "do not fit together.*multiple of the heads"),
        (decoder().tensors(), 12, r"decoder.picture.weight is \(16, 10\).*image features of width 12"),
    ],
    ids=["none", "missing", "extra", "order", "no end", "other vocabulary", "heads", "width"],
)
def test_tensors_that_make_no_decoder_are_refused(tensors, width, message):
    with pytest.raises(PromptMismatchError, match=message):
        decoder_of(tensors, width, 49407)


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(ConfigError, match=r"method\.decoder\.width=10 cannot be shared by method\.decoder\.heads=4"):
        DecoderSettings(width=10, heads=4)
