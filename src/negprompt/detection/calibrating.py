"""The detector's record that a training run leaves: its score on held-out ID pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from negprompt.detection.calibration import Calibration
from negprompt.detection.record import DetectorRecord
from negprompt.prompts.reader import Reader
from negprompt.scores.choice import ScoreChoice
from negprompt.scores.headline import headline_score
from negprompt.types import ImageSet

_AT_ONCE = 256
_FROM_FEATURES = frozenset({"negative", "no_text", "candidates"})
"""What a score may need that image features alone can give."""


def calibrated_record(
    class_names: Sequence[str],
    scores: Mapping[str, ScoreChoice],
    reader: Reader,
    held_out: ImageSet | None,
    features_of: Callable[[ImageSet], Tensor],
) -> DetectorRecord:
    """Class names, the score a run is known for, and its scores of held-out pictures.

    Args:
        class_names: K names in label order.
        scores: of the run, by name.
        reader: compares pictures with the run's prompts.
        held_out: ID pictures that were neither trained on nor tested, None where there are none.
        features_of: image features (N, D) of pictures, not normalised.

    Returns:
        A record without calibration where there are no such pictures, or the score looks at more than features.
    """
    name = headline_score(scores)
    score = scores[name]
    calibration = None
    if held_out is not None and len(held_out.keys) and score.needs <= _FROM_FEATURES:
        values = scored(reader, score, features_of(held_out))
        calibration = Calibration.of(values.cpu().numpy(), held_out.name)
    return DetectorRecord(tuple(class_names), name, score.node, calibration)


@torch.no_grad()
def scored(reader: Reader, score: ScoreChoice, features: Tensor) -> Tensor:
    """Scores (N,) float64 of image features (N, D), which are not normalised."""
    device = reader.device
    parts = []
    for some in torch.split(features, _AT_ONCE):
        given = some.to(device)
        inputs = reader.inputs(given)
        if "candidates" in score.needs:
            inputs = inputs._replace(candidates=reader.candidates(given))
        parts.append(score.function(inputs).double())
    return torch.cat(parts)
