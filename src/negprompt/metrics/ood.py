"""The rank metrics as a torchmetrics.Metric: it stores scores and gathers them over processes, no more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from negprompt.metrics.functional import ood_metrics
from negprompt.types import OOD_LABEL


class OODMetrics(Metric):
    """Metrics of one score for one ID set against one OOD set, over all batches and all processes.

    The scores are kept raw and `negprompt.metrics.functional.ood_metrics` is called on all of them at the end.

    Args:
        settings: passed on to torchmetrics, for example `sync_on_compute`.

    Example:
        >>> metric = OODMetrics()
        >>> metric.update(torch.tensor([28.5, 27.0, 26.0]), torch.tensor([3, 0, -1]))
        >>> metric.compute()["auroc"]
        1.0
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    id_scores: list[Tensor]
    ood_scores: list[Tensor]

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**settings)
        self.set_dtype(torch.float64)  # what a process without any batch contributes, or the gather garbles the scores
        self.add_state("id_scores", default=[], dist_reduce_fx="cat")
        self.add_state("ood_scores", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            scores: (B,), higher = more in-distribution.
            labels: (B,) integer class labels with -1 = OOD, or a boolean mask that is true for ID images.
        """
        is_id = labels if labels.dtype == torch.bool else labels != OOD_LABEL
        raw = scores.detach().double()  # one type in all processes, also where a batch came in half precision
        self.id_scores.append(raw[is_id])
        self.ood_scores.append(raw[~is_id])

    def compute(self) -> dict[str, float]:
        """Return `ood_metrics` of all scores seen.

        Raises:
            DataError: if no ID or no OOD score was seen, or one is NaN or infinite.
        """
        return ood_metrics(_joined(self.id_scores), _joined(self.ood_scores))


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """One 1-D tensor, whether the state is still a list or already joined by a gather over processes."""
    if isinstance(state, Tensor):
        return state
    return torch.cat(state) if state else torch.zeros(0)
