"""A small causal transformer that writes a caption about a picture, token after token (ZOC's textual decoder)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from pydantic import Field, model_validator
from torch import Tensor, nn

from negprompt.errors import ConfigError, PromptMismatchError
from negprompt.prompts.bundle import check_shapes
from negprompt.settings import Settings

PREFIX = "decoder."
"""Of the decoder's tensors in an adapter."""

_INIT_STD = 0.02


class DecoderSettings(Settings):
    """Size of the decoder: `width` of its hidden states, a multiple of `heads`; `layers` of attention."""

    width: Annotated[int, Field(ge=1)] = 256
    layers: Annotated[int, Field(ge=1)] = 4
    heads: Annotated[int, Field(ge=1)] = 4

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.width % self.heads:
            msg = (
                f"method.decoder.width={self.width} cannot be shared by method.decoder.heads={self.heads}: "
                "make the width a multiple of the heads."
            )
            raise ConfigError(msg)
        return self


class CaptionDecoder(nn.Module):
    """The picture stands where a text tower has its start token; every place predicts the token behind it.

    Tokens are those of the backbone's tokenizer, of which the decoder knows the V that its captions had. Inside it
    counts them by their place among these, their column. One table embeds tokens and reads them out.

    Args:
        vocabulary: ids (V,) in ascending order.
        image_width: D of the backbone's image features.
        length: most places L, the picture included.
        size: of the transformer.
        seed: of the initial weights.
    """

    vocabulary: Tensor
    heads: Tensor

    def __init__(self, vocabulary: Tensor, image_width: int, length: int, size: DecoderSettings, seed: int = 0) -> None:
        super().__init__()
        self.register_buffer("vocabulary", vocabulary)
        self.register_buffer("heads", torch.tensor([size.heads]))  # the one size that no shape tells
        with torch.random.fork_rng(devices=[]):  # torch's layers draw their weights from the global generator
            torch.manual_seed(seed)
            self.table = nn.Embedding(len(vocabulary), size.width)
            self.positions = nn.Parameter(_INIT_STD * torch.randn(length, size.width))
            self.picture = nn.Linear(image_width, size.width)
            self.blocks = nn.ModuleList(
                nn.TransformerEncoderLayer(
                    size.width, size.heads, 4 * size.width, 0.0, "gelu", batch_first=True, norm_first=True
                )
                for _ in range(size.layers)
            )
            self.norm = nn.LayerNorm(size.width)
            self.bias = nn.Parameter(torch.zeros(len(vocabulary)))
            nn.init.normal_(self.table.weight, std=_INIT_STD)

    def forward(self, images: Tensor, columns: Tensor) -> Tensor:
        """Hidden states (B, n + 1, d) of pictures and the n tokens behind each; none depends on a later token.

        Args:
            images: unit features (B, D).
            columns: of the tokens (B, n), n < L.
        """
        numbers = images * images.shape[-1] ** 0.5  # of about unit size, whatever the width
        hidden = torch.cat([self.picture(numbers).unsqueeze(1), self.table(columns)], dim=1)
        hidden = hidden + self.positions[: hidden.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(hidden.shape[1], hidden.device, hidden.dtype)
        for block in self.blocks:
            hidden = block(hidden, src_mask=mask, is_causal=True)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., d) -> logits (..., V) of the next token."""
        return F.linear(self.norm(hidden), self.table.weight, self.bias)

    def columns(self, tokens: Tensor) -> Tensor:
        """Token ids -> their columns; of an id that is not in the vocabulary any column."""
        return torch.searchsorted(self.vocabulary, tokens.contiguous()).clamp(max=len(self.vocabulary) - 1)

    def tensors(self) -> dict[str, Tensor]:
        """All that was learned, by the names of an adapter."""
        return {f"{PREFIX}{name}": tensor for name, tensor in self.state_dict().items()}


def decoder_of(adapter: Mapping[str, Tensor], image_width: int, end: int) -> CaptionDecoder:
    """The decoder that an adapter holds, in single precision.

    Args:
        adapter: tensors by name.
        image_width: D of the backbone's image features.
        end: id of the backbone's end token, its last.

    Raises:
        PromptMismatchError: tensors are missing, have other shapes, or are about another vocabulary.
    """
    given = {name.removeprefix(PREFIX): tensor for name, tensor in adapter.items() if name.startswith(PREFIX)}
    missing = {"vocabulary", "heads", "table.weight", "positions"} - given.keys()
    if missing:
        first = f"{PREFIX}{min(missing)}"
        msg = f"This run has no caption decoder ({first} is missing in its adapter): use one of method=zoc."
        raise PromptMismatchError(msg)
    vocabulary = given["vocabulary"].long()
    if vocabulary.dim() != 1 or not len(vocabulary) or not _fits(vocabulary, end):
        msg = (
            f"{PREFIX}vocabulary holds no ascending token ids that end with {end}, the backbone's end token: use a "
            "decoder that was trained on this backbone."
        )
        raise PromptMismatchError(msg)
    try:
        decoder = CaptionDecoder(vocabulary, image_width, len(given["positions"]), _size(given))
        wanted = decoder.state_dict()
    except (ConfigError, IndexError, ValueError) as error:
        msg = f"The sizes of the caption decoder do not fit together ({error}): train it again."
        raise PromptMismatchError(msg) from error
    where = f"in a decoder for image features of width {image_width}: use one that was trained on this backbone."
    check_shapes(given, wanted, where, PREFIX)
    decoder.load_state_dict(given)
    return decoder


def _fits(vocabulary: Tensor, end: int) -> bool:
    return bool((vocabulary.diff() > 0).all()) and int(vocabulary[0]) >= 0 and int(vocabulary[-1]) == end


def _size(given: Mapping[str, Tensor]) -> DecoderSettings:
    layers = {name.split(".")[1] for name in given if name.startswith("blocks.")}
    return DecoderSettings(
        width=given["table.weight"].shape[1], layers=len(layers), heads=int(given["heads"].flatten()[0])
    )
