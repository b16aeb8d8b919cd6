"""What scores see of a batch of pictures: the same for a test loop and for a detector."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.prompts.reader import Reader
from negprompt.types import Batch, Pixels, ScoreInputs, Similarity


def score_inputs(reader: Reader, backbone: FrozenBackbone, batch: Batch, needs: AbstractSet[str]) -> ScoreInputs:
    """Inputs of scores, with what they need beside global image features.

    Args:
        reader: compares pictures with the prompts.
        backbone: frozen CLIP.
        batch: pixels, or stored features.
        needs: keys of `scores.base.NEEDS` that some score looks at.
    """
    features, local = _features(backbone, batch, needs)
    inputs = reader.inputs(features, local)
    if "candidates" in needs:
        inputs = inputs._replace(candidates=reader.candidates(features))
    if "pixels" not in needs:
        return inputs

    def similarity(pixels: Tensor) -> Similarity:
        return reader.similarity(backbone.encode_image(pixels))

    return inputs._replace(pixels=Pixels(batch["image"], backbone.image_spec.std, similarity))


def _features(backbone: FrozenBackbone, batch: Batch, needs: AbstractSet[str]) -> tuple[Tensor, Tensor | None]:
    """Image features and, where a score looks at them, local ones."""
    if "image_features" in batch:
        return batch["image_features"], batch.get("local_features")
    if "local" in needs:
        return backbone.encode_image_with_local(batch["image"])
    return backbone.encode_image(batch["image"]), None
