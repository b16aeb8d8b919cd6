"""The test loop of every method: what its reader makes of pictures, any number of scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import lightning
import torch
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.evaluation.recorder import SetRecord, SetRecorder
from negprompt.prompts.looking import score_inputs
from negprompt.prompts.reader import Reader
from negprompt.scores.choice import ScoreChoice
from negprompt.types import Batch


class PromptEvaluation(lightning.LightningModule):
    """Scores pictures with learned or hand-written prompts; trains nothing.

    Args:
        backbone: frozen CLIP.
        make_reader: encodes the prompts, called once the backbone is where the test runs.
        scores: by name.
        set_names: names of the test loaders in order.
        training_features: (N, D) of the training pictures, not normalised, for the scores that fit; else None.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        make_reader: Callable[[], Reader],
        scores: Mapping[str, ScoreChoice],
        set_names: Sequence[str],
        training_features: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self._make_reader = make_reader
        self._reader: Reader | None = None
        self._scores = dict(scores)
        self._needs = frozenset().union(*(score.needs for score in scores.values()))
        self._fitted = {
            name: score.fit(training_features)
            for name, score in scores.items()
            if score.fit is not None and training_features is not None
        }
        self._set_names = tuple(set_names)
        self._recorders = [SetRecorder() for _ in self._set_names]
        self._on_device = torch.nn.ModuleList(self._recorders)  # so that Lightning moves their states

    @property
    def reader(self) -> Reader:
        """What compares pictures with the prompts, made when first asked for."""
        if self._reader is None:
            self._reader = self._make_reader()
        return self._reader

    def on_test_start(self) -> None:
        """Encode all prompts once."""
        _ = self.reader

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        """Record predictions and all scores of one batch."""
        inputs = score_inputs(self.reader, self.backbone, batch, self._needs)
        scores = [
            score.function(inputs._replace(fitted=self._fitted.get(name))).double()
            for name, score in self._scores.items()
        ]
        recorder = self._recorders[dataloader_idx]
        predictions = inputs.similarity.positive.argmax(dim=1)
        recorder.update(batch["index"], batch["label"], predictions, torch.stack(scores, dim=1))

    def records(self) -> dict[str, SetRecord]:
        """What the test loop saw, by set name, on the CPU."""
        named = zip(self._set_names, self._recorders, strict=True)
        return {name: SetRecord(*(value.cpu() for value in recorder.record())) for name, recorder in named}
