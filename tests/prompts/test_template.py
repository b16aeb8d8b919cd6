"""Token sequences: every token and every context vector in its place."""

from __future__ import annotations

import open_clip
import pytest
import torch

from negprompt.backbones.text import insert_context
from negprompt.errors import ConfigError
from negprompt.prompts.template import PromptLayout, prompt_tokens
from negprompt.types import NO_SLOT

START, END = 900, 901
WORDS = {"fire": 11, "truck": 12, "bell": 13, ".": 20}


def words(text):
    return [WORDS[word] for word in text.replace(".", " .").split()]


def rows(class_names, layout, context_length=10):
    """Readable sequences: token ids, and c0, c1, ... where a context vector stands; cut after the end token."""
    prompts = prompt_tokens(class_names, layout, words, start=START, end=END, context_length=context_length)
    return [
        [int(token) if slot == NO_SLOT else f"c{slot}" for token, slot in zip(tokens, slots, strict=True)][: end + 1]
        for tokens, slots, end in zip(*prompts, strict=True)
    ]


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("end", [START, "c0", "c1", "c2", 11, 12, END]),
        ("middle", [START, "c0", 11, 12, "c1", "c2", END]),  # CoOp: the smaller half in front
        ("front", [START, 11, 12, "c0", "c1", "c2", END]),
    ],
)
def test_the_class_name_stands_where_the_layout_says(position, expected):
    assert rows(["fire_truck"], PromptLayout(3, position)) == [expected]


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("end", [START, "c0", "c1", 13, 20, END]),
        ("middle", [START, "c0", 13, "c1", 20, END]),
        ("front", [START, 13, "c0", "c1", 20, END]),
    ],
)
def test_a_full_stop_closes_the_sentence_wherever_the_name_stands(position, expected):
    assert rows(["bell"], PromptLayout(2, position, full_stop=True)) == [expected]


def test_names_of_different_lengths_end_at_different_places():
    assert rows(["bell", "fire truck"], PromptLayout(1)) == [[START, "c0", 13, END], [START, "c0", 11, 12, END]]


def test_nothing_follows_the_end_token():
    prompts = prompt_tokens(["bell", "fire truck"], PromptLayout(1), words, start=START, end=END, context_length=10)
    assert prompts.tokens.shape == prompts.slots.shape == (2, 5)  # as long as the longest
    assert prompts.tokens[0, 4:].tolist() == [0]
    assert prompts.slots[0, 4:].tolist() == [NO_SLOT]


def test_underscores_and_runs_of_spaces_are_single_spaces():
    spellings = ["fire truck", "fire_truck", " fire __ truck "]
    assert len({str(row) for row in rows(spellings, PromptLayout(2))}) == 1


@pytest.mark.parametrize("name", ["", " ", "_", "__ _"])
def test_an_empty_name_is_refused(name):
    with pytest.raises(ConfigError, match="class name is empty"):
        rows(["bell", name], PromptLayout(2))


def test_a_prompt_may_fill_the_text_tower_to_the_last_token():
    (row,) = rows(["fire truck"], PromptLayout(6), context_length=10)
    assert len(row) == 10
    assert row[-1] == END


def test_one_token_more_is_an_error_that_names_class_and_setting():
    with pytest.raises(ConfigError, match=r"'fire truck' has 11 tokens with 7 context .* method\.num_context_tokens"):
        rows(["bell", "fire truck"], PromptLayout(7), context_length=10)


def test_the_end_position_is_that_of_open_clips_own_tokenizer():
    tokenizer = open_clip.SimpleTokenizer()
    names = ["owl", "ice_cream", "Mexican hairless dog (xoloitzcuintli)"]
    prompts = prompt_tokens(
        names,
        PromptLayout(4),
        tokenizer.encode,
        start=tokenizer.sot_token_id,
        end=tokenizer.eot_token_id,
        context_length=77,
    )
    literal = tokenizer([f"a photo of a {name.replace('_', ' ')}" for name in names])
    assert prompts.end_positions.tolist() == literal.argmax(dim=1).tolist() == [6, 7, 17]
    kept = prompts.slots == NO_SLOT
    assert torch.equal(prompts.tokens[kept], literal[:, : kept.shape[1]][kept])


def test_context_vectors_replace_their_slots_and_nothing_else():
    slots = torch.tensor([[-1, 1, 0, -1]])
    table = torch.arange(8.0).reshape(1, 4, 2)
    context = torch.tensor([[10.0, 10.0], [20.0, 20.0]])
    expected = torch.tensor([[0.0, 1.0], [20.0, 20.0], [10.0, 10.0], [6.0, 7.0]])
    placed = insert_context(table, slots, torch.stack([context, -context]).unsqueeze(0))
    assert placed.shape == (1, 2, 4, 2)
    assert torch.equal(placed[0, 0], expected)
    assert torch.equal(placed[0, 1, 1:3], -expected[1:3])


def test_class_specific_vectors_go_to_their_class():
    slots = torch.tensor([[-1, 0], [0, -1]])
    context = torch.tensor([[[[1.0]]], [[[2.0]]]])
    placed = insert_context(torch.zeros(2, 2, 1), slots, context)
    assert placed.flatten(1).tolist() == [[0.0, 1.0], [2.0, 0.0]]
