"""Training of ZOC's caption decoder (Esmaeilpour et al., AAAI 2022, section 3.1), and finished ones."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.data.base import Augmentation
from negprompt.data.caption_loader import CaptionBatch
from negprompt.data.captions import Captions
from negprompt.methods.base import Surroundings
from negprompt.methods.caption_adapter import Recipe, framed
from negprompt.methods.caption_training import CaptionTraining
from negprompt.objectives.zoc import caption_loss
from negprompt.prompts import bundle as bundles
from negprompt.prompts.bundle import Adapter
from negprompt.prompts.caption_decoder import CaptionDecoder, DecoderSettings, decoder_of
from negprompt.training.schedule import AdamWSettings

SCHEMA = 1
"""Number of the training; raised when equal settings would give another decoder."""


class DecoderTraining(CaptionTraining):
    """Teaches a decoder to caption pictures; the backbone stays as it is.

    Args:
        backbone: frozen CLIP.
        decoder: what is trained.
        optimizer: recipe.
        num_steps: over which the learning rate falls to 0.
    """

    def __init__(
        self, backbone: FrozenBackbone, decoder: CaptionDecoder, optimizer: AdamWSettings, num_steps: int
    ) -> None:
        super().__init__(backbone, optimizer, num_steps)
        self.decoder = decoder

    def tensors(self) -> dict[str, Tensor]:
        """The decoder."""
        return self.decoder.tensors()

    def loss(self, batch: CaptionBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean -log p of this process's captions, and the share of their tokens that were the most likely ones."""
        targets = self.decoder.columns(batch["tokens"][:, 1:])  # the picture stands in place of the start token
        images = F.normalize(self.encode_image(batch["image"]).float(), dim=-1)
        hidden = self.decoder(images, targets[:, :-1])
        counts = torch.arange(targets.shape[1], device=targets.device) < batch["end"].unsqueeze(1)
        logits = self.decoder.logits(hidden[counts])
        right = (logits.argmax(dim=1) == targets[counts]).float().mean()
        return caption_loss(logits, targets[counts], len(targets)), {"accuracy": right}


def vocabulary_of(captions: Captions, backbone: FrozenBackbone) -> Tensor:
    """Ids (V,) of all tokens of all captions and of the end token, in ascending order."""
    texts = {captions.text(row) for row in range(len(captions.pictures))}
    tokens = {token for text in texts for token in framed(backbone, text)[1:]}
    return torch.tensor(sorted(tokens))


@torch.no_grad()
def image_width(backbone: FrozenBackbone) -> int:
    """D of a backbone's image features."""
    side, device = backbone.image_spec.size, next(backbone.parameters()).device
    return backbone.encode_image(torch.zeros(1, 3, side, side, device=device)).shape[1]


def load_decoder(file: Path, backbone: FrozenBackbone, weights_sha256: str) -> Adapter:
    """A finished decoder, in single precision.

    Raises:
        PromptMismatchError: it is damaged, or belongs to another backbone.
    """
    adapter = bundles.read_adapter(file)
    bundles.check_adapter(adapter, file, backbone.name, weights_sha256)
    decoder = decoder_of(adapter.tensors, image_width(backbone), backbone.tokenizer_info.end)
    return adapter._replace(tensors=decoder.tensors())


def decoder_recipe(
    training: AdamWSettings,
    augmentation: Augmentation,
    size: DecoderSettings,
    captions: Captions,
    around: Surroundings,
) -> Recipe:
    """How a decoder for these captions is trained, from random weights."""
    backbone = around.backbone

    def make(steps: int) -> DecoderTraining:
        length = backbone.tokenizer_info.context_length - 1  # what a caption has behind its start token
        vocabulary = vocabulary_of(captions, backbone)
        decoder = CaptionDecoder(vocabulary, image_width(backbone), length, size, around.seed)
        return DecoderTraining(backbone, decoder, training, steps)

    return Recipe("zoc", SCHEMA, {"decoder": size.hash_payload()}, training, augmentation, make)
