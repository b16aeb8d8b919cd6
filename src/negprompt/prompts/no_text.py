"""CLIPN's second text tower (Wang et al., ICCV 2023): a copy of CLIP's, and learnable prompts added to every place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor, nn

from negprompt.backbones.base import FrozenBackbone
from negprompt.backbones.reworded import Reworded
from negprompt.backbones.text import TextTower
from negprompt.backbones.text_copy import encode_hidden
from negprompt.errors import PromptMismatchError
from negprompt.prompts.bundle import check_shapes
from negprompt.prompts.context import initial_context
from negprompt.prompts.reader import Reader
from negprompt.prompts.text_features import text_features
from negprompt.types import PromptBundle, TextFeatures

NUM_PROMPTS = 16
PREFIX = "no."
"""Of the tower's tensors in an adapter; the names behind it are open_clip's."""

_PROMPTS = f"{PREFIX}prompts"
_TABLE = f"{PREFIX}token_embedding."


class NoText(nn.Module):
    """The trainable tower, which starts as a copy of the backbone's.

    Args:
        backbone: whose text tower is copied.
        num_prompts: learnable prompts (P, 77, d); they start at zero.

    Raises:
        BackboneError: the backbone has no text tower of the kind.
    """

    def __init__(self, backbone: FrozenBackbone, num_prompts: int = NUM_PROMPTS) -> None:
        super().__init__()
        self.text = backbone.text_copy()
        self.prompts = nn.Parameter(torch.zeros(num_prompts, *self.text.positional_embedding.shape))

    def forward(self, tokens: Tensor, end: Tensor, drawn: Tensor) -> Tensor:
        """Unit "no" features (N, D) float32 of captions.

        Args:
            tokens: ids (N, L).
            end: place of the end token (N,).
            drawn: prompt of each caption (N,), from `drawn_prompts`.
        """
        choices = torch.cat([self.prompts, self.prompts.mean(dim=0, keepdim=True)])[:, : tokens.shape[1]]
        return encode_captions(self.text.tower(), tokens, end, choices[drawn])

    def tensors(self) -> dict[str, Tensor]:
        """All that was learned, by the names of an adapter."""
        text = {f"{PREFIX}{name}": tensor for name, tensor in self.text.state_dict().items()}
        return {**text, _PROMPTS: self.prompts.detach()}

    def beside(self, backbone: FrozenBackbone) -> Reworded:
        """The backbone whose prompts say "no": with the mean of the learned prompts at every place (test time)."""
        with torch.no_grad():
            self.text.positional_embedding.add_(self.prompts.mean(dim=0))
            self.prompts.zero_()
        return Reworded(backbone, self.text)


def encode_captions(tower: TextTower, tokens: Tensor, end: Tensor, added: Tensor | None = None) -> Tensor:
    """Unit features (N, D) float32 of captions.

    Args:
        tower: a causal one.
        tokens: ids (N, L), L up to the tower's context length.
        end: place of the end token (N,).
        added: (N, L, d) to the embeddings of tokens and positions.
    """
    hidden = tower.embed(tokens)
    if tower.causal is not None:
        hidden = hidden + tower.causal.positions[: tokens.shape[1]]
    if added is not None:
        hidden = hidden + added
    return F.normalize(encode_hidden(tower, hidden, end).float(), dim=-1)


def drawn_prompts(seed: int, epochs: Tensor, rows: Tensor, num_prompts: int) -> Tensor:
    """Which prompt each pair is trained with (N,): one of `num_prompts`, or, as number `num_prompts`, their mean.

    A function of seed, epoch and place of the pair alone, so that neither a stop nor the number of processes matters.
    """
    where = zip(epochs.tolist(), rows.tolist(), strict=True)
    drawn = [int(np.random.default_rng([seed, epoch, row]).integers(num_prompts + 1)) for epoch, row in where]
    return torch.tensor(drawn, dtype=torch.long, device=rows.device)


def no_text_of(backbone: FrozenBackbone, adapter: Mapping[str, Tensor]) -> NoText:
    """The tower that an adapter holds, on the backbone's device.

    Raises:
        PromptMismatchError: tensors are missing, or have other shapes than this backbone's text tower.
    """
    given = dense(adapter)
    if _PROMPTS not in given:
        msg = f'This run has no "no" text tower ({_PROMPTS} is missing in its adapter): use one of method=clipn.'
        raise PromptMismatchError(msg)
    tower = NoText(backbone, len(given[_PROMPTS]))
    check_shapes(
        given,
        tower.tensors(),
        f"in the text tower of {backbone.name}: use an adapter that was trained on backbone={backbone.name}.",
    )
    state = {f"text.{name.removeprefix(PREFIX)}": tensor for name, tensor in given.items() if name != _PROMPTS}
    tower.load_state_dict({**state, "prompts": given[_PROMPTS]})
    return tower.to(next(backbone.parameters()).device)


def yes_no_reader(
    backbone: FrozenBackbone,
    bundle: PromptBundle,
    adapter: Mapping[str, Tensor],
    class_names: Sequence[str],
    context_words: str,
) -> Reader:
    """Compares pictures with what both towers make of the same sentences.

    Args:
        backbone: frozen CLIP, on the device where pictures will be.
        bundle: the template's context vectors, or whole templates.
        adapter: with the "no" tower.
        class_names: K names in label order.
        context_words: of the template.

    Raises:
        PromptMismatchError: the run has no "no" tower, or that of another backbone.
    """
    says_no = no_text_of(backbone, adapter).beside(backbone)
    words = bundle.positive
    if len(words):  # a tower embeds words with its own token table
        words = initial_context(says_no, len(words), "words", context_words, seed=0)
    yes = text_features(backbone, bundle, class_names).positive
    no = text_features(says_no, bundle._replace(positive=words), class_names).positive
    return Reader(TextFeatures(yes, no.unsqueeze(1)), backbone.logit_scale)


def compact(adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same in half precision and without the rows of the token table that are zero, for shipping.

    The embedded backbones know few of their tokens: their tables shrink to a tenth.
    """
    table = adapter[f"{_TABLE}weight"]
    rows = table.any(dim=1).nonzero().flatten()
    rest = {name: tensor.half() for name, tensor in adapter.items() if name != f"{_TABLE}weight"}
    sizes = torch.tensor([len(table)])
    return {**rest, f"{_TABLE}rows": rows.int(), f"{_TABLE}values": table[rows].half(), f"{_TABLE}size": sizes.int()}


def dense(adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An adapter in single precision with its whole token table, `compact` or not."""
    given = dict(adapter)
    if f"{_TABLE}rows" in given:
        rows, values = given.pop(f"{_TABLE}rows").long(), given.pop(f"{_TABLE}values").float()
        table = torch.zeros(int(given.pop(f"{_TABLE}size")), values.shape[1])
        table[rows] = values
        given[f"{_TABLE}weight"] = table
    return {name: tensor.float() for name, tensor in given.items()}
