"""What a test loop remembers of every picture: a thin torchmetrics state that also gathers under DDP."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric


class SetRecord(NamedTuple):
    """One test set in the order of its pictures: `label`, `prediction` (N,), `scores` (N, S) float64."""

    label: Tensor
    prediction: Tensor
    scores: Tensor


class SetRecorder(Metric):
    """Collects labels, predictions and scores of one test set, batch by batch."""

    full_state_update = False
    index: list[Tensor]
    label: list[Tensor]
    prediction: list[Tensor]
    scores: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("index", "label", "prediction", "scores"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, index: Tensor, label: Tensor, prediction: Tensor, scores: Tensor) -> None:
        """Add a batch: positions in the set (B,), labels (B,), predicted classes (B,), scores (B, S)."""
        self.index.append(index)
        self.label.append(label)
        self.prediction.append(prediction)
        self.scores.append(scores.double())

    def compute(self) -> SetRecord:
        """All pictures once, in order, whatever the ranks saw twice to fill their last batch."""
        index = _all(self.index)
        _, first = _first_occurrence(index)
        return SetRecord(_all(self.label)[first], _all(self.prediction)[first], _all(self.scores)[first])

    def record(self) -> SetRecord:
        """`compute()` with its axes: torchmetrics squeezes them away for a set of one picture."""
        label, prediction, scores = self.compute()
        return SetRecord(label.reshape(-1), prediction.reshape(-1), scores.reshape(label.numel(), -1))


def _all(state: list[Tensor] | Tensor) -> Tensor:
    # torchmetrics turns a list state into one tensor when it gathers ranks.
    return state if isinstance(state, Tensor) else torch.cat(state)


def _first_occurrence(index: Tensor) -> tuple[Tensor, Tensor]:
    """Sorted unique values and the place where each stands first."""
    unique, inverse = torch.unique(index, sorted=True, return_inverse=True)
    place = torch.arange(len(index), device=index.device)
    first = torch.full_like(unique, len(index)).scatter_reduce(0, inverse, place, reduce="amin")
    return unique, first
