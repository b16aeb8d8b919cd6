"""The test loop of every method: prompts of a bundle, all class names, any number of scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import lightning
import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import PromptMismatchError
from negprompt.evaluation.recorder import SetRecord, SetRecorder
from negprompt.prompts import bundle as bundles
from negprompt.prompts.encoder import PromptEncoder
from negprompt.prompts.similarity import similarity
from negprompt.types import Batch, PromptBundle, ScoreInputs, Similarity

ScoreFunctions = Mapping[str, Callable[[ScoreInputs], Tensor]]


class PromptEvaluation(lightning.LightningModule):
    """Scores pictures with learned or hand-written prompts; trains nothing.

    Args:
        backbone: frozen CLIP.
        bundle: context vectors; class-specific ones only go with the names they were learned on.
        class_names: all K names of the benchmark in label order, also those never trained on.
        scores: name -> score function.
        set_names: names of the test loaders in order.

    Raises:
        PromptMismatchError: class-specific prompts and other class names, or another backbone.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        bundle: PromptBundle,
        class_names: Sequence[str],
        scores: ScoreFunctions,
        set_names: Sequence[str],
    ) -> None:
        super().__init__()
        bundles.check(bundle, backbone)
        if bundles.is_class_specific(bundle) and bundle.metadata["train_class_names"] != list(class_names):
            msg = (
                f"Class-specific prompts of {len(bundle.positive)} classes cannot name the {len(class_names)} here: "
                "use method.class_specific=false, or the class names they were learned on."
            )
            raise PromptMismatchError(msg)
        self.backbone = backbone
        self._scores = dict(scores)
        self._bundle = bundle
        self._encoder = PromptEncoder(backbone, class_names, bundles.layout(bundle))
        self._set_names = tuple(set_names)
        self._recorders = [SetRecorder() for _ in self._set_names]
        self._on_device = torch.nn.ModuleList(self._recorders)  # so that Lightning moves their states
        self._positive: Tensor | None = None
        self._negative: Tensor | None = None

    @torch.no_grad()
    def on_test_start(self) -> None:
        """Encode all prompts once."""
        bundle = self._bundle
        self._positive = self._encoder(self.backbone, bundle.positive.to(self.device))
        if bundle.negative is not None:
            self._negative = self._encoder.encode_negative(self.backbone, bundle.negative.to(self.device))

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        """Record predictions and all scores of one batch."""
        inputs = ScoreInputs(self._similarity(batch), self.backbone.logit_scale)
        scores = torch.stack([score(inputs).double() for score in self._scores.values()], dim=1)
        recorder = self._recorders[dataloader_idx]
        recorder.update(batch["index"], batch["label"], inputs.similarity.positive.argmax(dim=1), scores)

    def _similarity(self, batch: Batch) -> Similarity:
        features = batch["image_features"] if "image_features" in batch else self.backbone.encode_image(batch["image"])
        images = F.normalize(features.float(), dim=-1)
        if self._positive is None:
            msg = "test_step before on_test_start"
            raise RuntimeError(msg)
        return similarity(images, self._positive, self._negative)

    def records(self) -> dict[str, SetRecord]:
        """What the test loop saw, by set name, on the CPU."""
        named = zip(self._set_names, self._recorders, strict=True)
        return {name: SetRecord(*(value.cpu() for value in recorder.record())) for name, recorder in named}
