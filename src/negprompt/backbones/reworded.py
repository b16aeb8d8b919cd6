"""A backbone whose prompts another text tower reads; pictures, tokenizer and scale stay its own."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.backbones.text import TextTower
from negprompt.backbones.text_copy import TextCopy


class Reworded(FrozenBackbone):
    """Whatever encodes prompts on a backbone encodes them with the second tower here.

    Args:
        backbone: gives everything but the text tower.
        text: the other tower; frozen from now on.
    """

    def __init__(self, backbone: FrozenBackbone, text: TextCopy) -> None:
        super().__init__()
        self.name, self.tag = backbone.name, backbone.tag
        self.image_spec, self.tokenizer_info = backbone.image_spec, backbone.tokenizer_info
        self.text_path, self.text_chunk = backbone.text_path, backbone.text_chunk
        self._backbone = backbone
        self._text = text
        self.freeze()

    def encode_image(self, images: Tensor) -> Tensor:
        """Image features of the backbone."""
        return self._backbone.encode_image(images)

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Rows of the second tower's own token table."""
        embeddings: Tensor = self._text.token_embedding(tokens)
        return embeddings

    def text_tower(self) -> TextTower:
        """The second tower."""
        return self._text.tower()

    def tokenize(self, text: str) -> list[int]:
        """Tokens of the backbone."""
        return self._backbone.tokenize(text)

    @property
    def logit_scale(self) -> float:
        """That of the backbone."""
        return self._backbone.logit_scale

    def unknown_tokens(self, tokens: Sequence[int]) -> list[int]:
        """Tokens that the backbone never saw."""
        return self._backbone.unknown_tokens(tokens)
