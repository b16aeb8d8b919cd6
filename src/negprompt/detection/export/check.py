"""An exported file is asked what the detector is asked, and its answers are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from negprompt.detection.export.formats import Answer
from negprompt.detection.export.graph import DetectorGraph
from negprompt.errors import ExportError
from negprompt.types import ScoreInputs

TOLERANCE = 1e-4
"""Largest difference of a cosine; of a score too, and of one beyond -1 to 1 (energy, max_logit) relative to it."""

BATCHES = (1, 2, 7)
"""Pictures in the batches that are compared."""

_SEED = 0


class Checked(NamedTuple):
    """Pictures that were compared, and the largest difference of a cosine or score among them."""

    pictures: int
    difference: float


@torch.no_grad()
def check(graph: DetectorGraph, answer: Answer, pictures: Tensor) -> Checked:
    """Compare a file with the graph it was made of, on given pictures and on noise.

    What follows from a score (p-value, verdict) is compared with what the file's own score gives: a calibration picture
    ties with itself, and a difference in the last digit there is a step of the p-value. Two classes whose cosines are
    within the tolerance may change places.

    Args:
        graph: where `answer` looks for its pictures too.
        answer: of the file.
        pictures: at least 7 (N, 3, size, size) in [0, 1].

    Returns:
        What was compared.

    Raises:
        ExportError: an answer differs; it is named with the batch size.
    """
    seen, worst = 0, 0.0
    for batch in _batches(graph, pictures):
        expected = graph.answers(batch)
        found = {name: value.to(graph.device) for name, value in answer(batch).items()}
        _same_form(found, expected)
        worst = max(worst, _difference(found, expected, graph.inputs(batch), graph, len(batch)))
        seen += len(batch)
    return Checked(seen, worst)


def _batches(graph: DetectorGraph, pictures: Tensor) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(_SEED)
    for size in BATCHES:
        yield pictures[:size].to(graph.device)
        yield torch.rand(size, 3, graph.size, graph.size, generator=generator).to(graph.device)


def _same_form(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    forms = [{name: (tuple(value.shape), value.dtype) for name, value in one.items()} for one in (found, expected)]
    if forms[0] != forms[1]:
        msg = f"The file answers {forms[0]}, and {forms[1]} is expected. Please report this; nothing was written."
        raise ExportError(msg)


def _difference(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    inputs: ScoreInputs,
    graph: DetectorGraph,
    size: int,
) -> float:
    """The largest difference of a batch."""
    cosines = inputs.similarity
    off = {
        "similarity": (found["similarity"] - expected["similarity"]).abs().double(),
        "score": (found["score"] - expected["score"]).abs() / expected["score"].abs().clamp(min=1),
        "label": _below_best(cosines.positive, found["label"]),
    }
    if cosines.negative is not None and "nearest_negative" in found:
        off["nearest_negative"] = _below_best(cosines.negative.amax(dim=2), found["nearest_negative"])
    for name, value in graph.verdict(found["score"]).items():
        off[name] = (found[name].double() - value.double()).abs()
    for name, difference in off.items():
        worst = float(difference.max())
        if not worst <= TOLERANCE:  # NaN as well
            msg = (
                f"The file's {name} is off by {worst:.2g} in a batch of {size}, {TOLERANCE:g} is allowed: this version "
                "of PyTorch exports this backbone or score wrongly. Try another format=; nothing was written."
            )
            raise ExportError(msg)
    return max(float(off[name].max()) for name in ("similarity", "score"))


def _below_best(cosines: Tensor, chosen: Tensor) -> Tensor:
    """How far the cosine of a chosen class is below the largest (B,)."""
    return (cosines.amax(dim=1) - cosines.gather(1, chosen.unsqueeze(1)).squeeze(1)).double()
