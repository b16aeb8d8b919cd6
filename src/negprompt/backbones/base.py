"""What the rest of the project knows of a CLIP: images and prompt embeddings in, features out, never trained."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from negprompt.backbones.chunks import TextChunk
from negprompt.backbones.text import TextPath, TextTower
from negprompt.backbones.text_copy import TextCopy
from negprompt.backbones.weights import Shape, Weights
from negprompt.errors import BackboneError
from negprompt.settings import Settings
from negprompt.types import ImageSpec


class TokenizerInfo(NamedTuple):
    """Special tokens and the longest sequence of a text tower."""

    start: int
    end: int
    context_length: int


class FrozenBackbone(nn.Module, abc.ABC):
    """A CLIP whose parameters never change: no gradient to its weights, evaluation mode whatever `train()` says.

    Image features are not normalised: whoever needs cosines normalises, whoever needs lengths (ReAct) still has them.
    `text_path` and `text_chunk` say how prompts are encoded; neither changes a result beyond rounding.
    """

    name: str
    tag: str
    image_spec: ImageSpec
    tokenizer_info: TokenizerInfo
    text_path: TextPath
    text_chunk: TextChunk

    @abc.abstractmethod
    def encode_image(self, images: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) -> image features (B, D), not of unit length."""

    def encode_image_with_local(self, images: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002 -- for those that can
        """Global and local image features from one pass, for methods and scores that look at regions (LoCoOp, GL-MCM).

        Args:
            images: normalised pixels (B, 3, H, W).

        Returns:
            The features (B, D) of `encode_image`, and local features (B, R, D) in the same space: one for each of R
            regions of the picture, row by row. R depends on the tower and the picture size. Neither is of unit length.

        Raises:
            BackboneError: this backbone has no local features.
        """
        msg = f"The backbone {self.name} has no local image features: choose another one, such as ViT-B-16."
        raise BackboneError(msg)

    @abc.abstractmethod
    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Token ids (..., L) -> rows of the token table (..., L, d), without positions."""

    @abc.abstractmethod
    def text_tower(self) -> TextTower:
        """The parts of the text tower that prompts are encoded with; gradients pass, the weights have none."""

    def text_copy(self) -> TextCopy:
        """A text tower of its own with the same weights, which can be trained (CLIPN).

        Raises:
            BackboneError: this backbone's text tower cannot be copied, or reads more than a sentence up to its end.
        """
        msg = f"The text tower of {self.name} cannot be copied: choose an open_clip backbone such as ViT-B-16."
        raise BackboneError(msg)

    @abc.abstractmethod
    def tokenize(self, text: str) -> list[int]:
        """Byte-pair tokens of a text, without start and end token."""

    def word_ends(self) -> dict[int, str]:
        """Tokens that end a word, by id, with their letters: a whole word where one stands first in it (ZOC).

        Raises:
            BackboneError: this backbone's tokenizer does not tell where words end.
        """
        msg = f"The tokenizer of {self.name} does not tell where words end: choose an open_clip backbone."
        raise BackboneError(msg)

    def token_texts(self) -> dict[int, str]:
        """Every row of the token table that is a token, by id, as one reads it; a part of a word ends with a hyphen.

        Raises:
            BackboneError: this backbone's tokenizer has no list of its tokens.
        """
        msg = f"The tokenizer of {self.name} does not list its tokens: choose an open_clip backbone."
        raise BackboneError(msg)

    @property
    @abc.abstractmethod
    def logit_scale(self) -> float:
        """CLIP's learned inverse temperature, exp of the stored logarithm."""

    @abc.abstractmethod
    def unknown_tokens(self, tokens: Sequence[int]) -> list[int]:
        """Those of `tokens` whose embedding was never trained."""

    def freeze(self) -> Self:
        """Take every parameter out of training and switch to evaluation mode."""
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 -- nn.Module's signature
        """Stay in evaluation mode: batch norm and dropout of a frozen tower must not wake up with `model.train()`."""
        return super().train(False)

    def weights_sha256(self) -> str:
        """Hash of all weights (names, shapes, types, bytes): equal hashes give equal features."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


class BackboneSettings(Settings, abc.ABC):
    """Settings of one backbone: `build()` loads it."""

    name: str
    text_path: Annotated[TextPath, Field(exclude=True)] = "auto"
    text_chunk: Annotated[TextChunk, Field(exclude=True)] = "auto"

    @abc.abstractmethod
    def build(self) -> FrozenBackbone:
        """Load the frozen backbone.

        Raises:
            BackboneError: unknown model, or weights that are not at hand or do not fit.
        """

    def weights(self) -> Weights | None:
        """Where the weights are, without loading or fetching them; None where they come with the package."""
        return None

    def fetch(self, folder: Path) -> Path | None:  # noqa: ARG002 -- for those that are fetched
        """Bring the weights into a folder, so that `paths.weights_dir` finds them; None where nothing is to be fetched.

        Raises:
            BackboneError: there is no network, or what came is not the weights.
            RunError: the folder cannot be written.
        """
        return None

    def shape(self) -> Shape | None:
        """Sizes, told without the weights; None where they are not known."""
        return None
