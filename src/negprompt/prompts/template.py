"""Class names to token sequences: which place holds which token, and which place a learned context vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch

from negprompt.errors import ConfigError
from negprompt.types import NO_SLOT, PromptTokens

ClassTokenPosition = Literal["end", "middle", "front"]


class PromptLayout(NamedTuple):
    """How a prompt is put together: number of context vectors, place of the class name, full stop or none."""

    num_context_tokens: int
    class_token_position: ClassTokenPosition = "end"
    full_stop: bool = False


def clean_name(name: str) -> str:
    """Underscores to spaces, white space collapsed (method: CoOp).

    Example:
        >>> clean_name("great_white  shark")
        'great white shark'
    """
    return " ".join(name.replace("_", " ").split())


def prompt_tokens(
    class_names: Sequence[str],
    layout: PromptLayout,
    tokenize: Callable[[str], list[int]],
    *,
    start: int,
    end: int,
    context_length: int,
) -> PromptTokens:
    """Lay out `[start] context name [.] [end]` for each class, with the name at the end, in the middle or in front.

    Args:
        class_names: K names; underscores become spaces.
        layout: number of context vectors, place of the name, full stop.
        tokenize: text -> token ids without start and end.
        start: id of the start token.
        end: id of the end token.
        context_length: longest sequence the text tower takes (77).

    Returns:
        Token ids, context slots and end positions, padded with 0 to the longest prompt.

    Raises:
        ConfigError: an empty name, or a prompt longer than `context_length`.
    """
    count = layout.num_context_tokens
    tokens = torch.zeros(len(class_names), context_length, dtype=torch.long)
    slots = torch.full((len(class_names), context_length), NO_SLOT, dtype=torch.long)
    end_positions = torch.empty(len(class_names), dtype=torch.long)
    for row, class_name in enumerate(class_names):
        body = _body(clean_name(class_name), layout, tokenize)
        if len(body) + 2 > context_length:
            msg = (
                f"The prompt of class {class_name!r} has {len(body) + 2} tokens with {count} context tokens; the text "
                f"tower takes {context_length}: lower method.num_context_tokens or shorten the class name."
            )
            raise ConfigError(msg)
        for place, (token, slot) in enumerate([(start, NO_SLOT), *body, (end, NO_SLOT)]):
            tokens[row, place], slots[row, place] = token, slot
        end_positions[row] = len(body) + 1
    longest = int(end_positions.max()) + 1
    return PromptTokens(tokens[:, :longest], slots[:, :longest], end_positions)


def _body(name: str, layout: PromptLayout, tokenize: Callable[[str], list[int]]) -> list[tuple[int, int]]:
    """Pairs (token id, context slot) between the start and the end token."""
    if not name:
        msg = "A class name is empty: every class needs a name with at least one letter."
        raise ConfigError(msg)
    context = [(0, slot) for slot in range(layout.num_context_tokens)]
    half = len(context) // 2
    stop_text = "." if layout.full_stop else ""
    if layout.class_token_position == "end":  # the stop may merge with the name's last token: "(dog)." ends in ")."
        return context + [(token, NO_SLOT) for token in tokenize(name + stop_text)]
    word = [(token, NO_SLOT) for token in tokenize(name)]
    stop = [(token, NO_SLOT) for token in tokenize(stop_text)]
    if layout.class_token_position == "middle":
        return context[:half] + word + context[half:] + stop
    return word + context + stop
