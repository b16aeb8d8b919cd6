"""The hardest mistakes of a run as pictures: ID pictures scored lowest, OOD pictures scored highest."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from negprompt.data.decoding import decode
from negprompt.errors import DataError, RunError
from negprompt.metrics.functional import id_threshold
from negprompt.reports.document import Mistake, Mistakes
from negprompt.reports.scored import Scored
from negprompt.types import OOD_LABEL, ImageSet, NearestPrompts, Split

log = logging.getLogger(__name__)

SIDE = 160
"""Longest side of a picture in pixels."""


def hardest_mistakes(
    run: str, scored: Scored, split: Split, nearest: Mapping[str, NearestPrompts], count: int = 12
) -> Mistakes:
    """Find the pictures that a run's score gets most wrong, ID first, then set by set.

    Args:
        run: key of the run in a report.
        scored: its scores.
        split: the benchmark it was tested on.
        nearest: nearest prompts by test set (`Split.test_sets`), empty where they are not wanted.
        count: pictures of each set. One that cannot be read is left out, with a line in the log.

    Raises:
        RunError: the pictures at hand are not those that the run was tested on.
    """
    sides = [_Side("id", split.name, split.test, scored.id, scored.id_keys, nearest.get("id"))]
    for name, scores in scored.ood.items():
        if name not in split.ood:
            msg = f"The run {run} was tested on the OOD set {name}, which is not at hand: load its own OOD sets."
            raise RunError(msg)
        sides.append(_Side("ood", name, split.ood[name], scores, scored.ood_keys[name], nearest.get(f"ood/{name}")))
    for side in sides:
        if list(side.images.keys) != list(side.keys):
            msg = (
                f"The pictures of {side.name} are not those that the run {run} was tested on ({len(side.images.keys)} "
                f"here, {len(side.keys)} there): its mistakes cannot be shown. Evaluate it again on these."
            )
            raise RunError(msg)
    pictures = tuple(one for side in sides for one in _worst(side, split.class_names, count))
    return Mistakes(run, scored.score, id_threshold(scored.id), pictures)


class _Side(NamedTuple):
    kind: Literal["id", "ood"]
    name: str
    images: ImageSet
    scores: npt.NDArray[np.float64]
    keys: Sequence[str]
    nearest: NearestPrompts | None


def _worst(side: _Side, class_names: Sequence[str], count: int) -> Iterator[Mistake]:
    """Worst first; among equal scores, in the order of the set."""
    wrong = side.scores if side.kind == "id" else -side.scores
    for rank, row in enumerate(np.argsort(wrong, kind="stable")[:count].tolist(), start=1):
        try:
            png = thumbnail(side.images.encoded[row], side.keys[row], side.name)
        except DataError as error:
            log.warning("A picture is left out of the report: %s", error)
            continue
        label = side.images.labels[row]
        positive, negative = _classes(side.nearest, row, class_names)
        yield Mistake(
            side.kind,
            side.name,
            side.keys[row],
            "" if label == OOD_LABEL else class_names[label],
            float(side.scores[row]),
            rank,
            positive,
            negative,
            png,
        )


def thumbnail(encoded: bytes, key: str, set_name: str) -> bytes:
    """A picture as a PNG of at most 160 pixels a side; a smaller one keeps its size.

    Raises:
        DataError: it cannot be decoded.
    """
    image = decode(encoded, key, set_name)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _classes(nearest: NearestPrompts | None, row: int, class_names: Sequence[str]) -> tuple[str, str]:
    if nearest is None:
        return "", ""
    negative = nearest.negative_class
    return (
        class_names[int(nearest.positive_class[row])],
        "" if negative is None else class_names[int(negative[row])],
    )
