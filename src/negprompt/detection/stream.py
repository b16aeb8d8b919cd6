"""Answers for any number of image files, batch by batch: what is in memory does not grow with their number."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from negprompt import stopping
from negprompt.data.contents import Files
from negprompt.data.loader import Loader
from negprompt.data.strings import Strings
from negprompt.data.tree import PICTURES, list_tree
from negprompt.detection import calibration as conformal
from negprompt.detection.detector import PromptDetector
from negprompt.detection.pixels import pixels_of
from negprompt.errors import DataError
from negprompt.types import ImageSpec

STDIN = "-"
_GLOB = "*?["


class Answer(NamedTuple):
    """One image of a stream: what `Detections` says of it, or the `error` for which it could not be read."""

    path: str
    label: int | None = None
    class_name: str | None = None
    score: float | None = None
    p_value: float | None = None
    is_ood: bool | None = None
    nearest_negative: str | None = None
    error: str | None = None


class Looked(NamedTuple):
    """A batch from the loader: paths, pixels (B', 3, size, size) of those that were read, faults of others by row."""

    paths: list[str]
    pixels: Tensor | None
    faults: dict[int, str]


def find_images(given: str) -> Files:
    """The files that an input names, in a fixed order; they need not be readable.

    Args:
        given: a folder (all pictures below it), a glob pattern, a picture, a list (one path a line; relative ones count
            from the list's folder), or "-" for such lines on standard input (relative ones count from here).

    Raises:
        DataError: there is no such thing, or no picture in it.
    """
    path = Path(given)
    if given == STDIN:
        found = Files(Path(), _lines(sys.stdin))
    elif path.is_dir():
        found = Files(path, list_tree(path).paths)
    elif path.is_file():
        found = Files(Path(), Strings.of([given])) if path.suffix.lower() in PICTURES else _listed(path)
    elif any(sign in given for sign in _GLOB):
        names = sorted(name for name in glob.iglob(given, recursive=True) if os.path.isfile(name))  # noqa: PTH113, PTH207
        found = Files(Path(), Strings.of(names))
    else:
        msg = f"input={given}: there is no such folder, picture or list; a pattern has *, and - reads standard input."
        raise DataError(msg)
    if not len(found):
        kinds = ", ".join(sorted(PICTURES))
        msg = f"input={given} names no picture: a folder needs files that end with {kinds}, a list a path a line."
        raise DataError(msg)
    return found


def stream(
    detector: PromptDetector, files: Files, *, batch_size: int, num_workers: int, alpha: float | None
) -> Iterator[list[Answer]]:
    """Answers in the order of the files, a batch at a time.

    Args:
        detector: with a calibration where there are to be p-values.
        files: from `find_images`.
        batch_size: images at a time.
        num_workers: loader processes, 0 for this one.
        alpha: share of ID images that may be rejected, None to leave `is_ood` open.
    """
    dataset = _Images(files, detector.backbone.image_spec)
    batches = _Batches(len(files), batch_size)
    on_gpu = next(detector.backbone.parameters(), torch.zeros(0)).is_cuda
    loader = Loader(
        dataset,
        batch_sampler=batches,
        collate_fn=_as_is,
        num_workers=num_workers,
        pin_memory=on_gpu and num_workers > 0,
        worker_init_fn=stopping.leave_to_parent,
    )
    for looked in loader:
        yield answers_of(detector, Looked(*looked), alpha)


def answers_of(detector: PromptDetector, looked: Looked, alpha: float | None) -> list[Answer]:
    """What a detector says of one batch."""
    paths, pixels, faults = looked
    answers = [Answer(path, error=faults.get(row)) for row, path in enumerate(paths)]
    if pixels is None:
        return answers
    label, score, negative = detector.score_batch(pixels)
    names, scores = detector.names_of(label), score.tolist()
    negatives = None if negative is None else detector.names_of(negative)
    calibration = detector.calibration
    p_values = None if calibration is None else conformal.p_values(scores, calibration).tolist()
    rows = [row for row in range(len(paths)) if row not in faults]
    for place, row in enumerate(rows):
        p_value = None if p_values is None else p_values[place]
        answers[row] = Answer(
            paths[row],
            int(label[place]),
            names[place],
            scores[place],
            p_value,
            None if p_value is None or alpha is None else p_value <= alpha,
            None if negatives is None else negatives[place],
        )
    return answers


class _Images(Dataset[Looked]):
    """Files, read and decoded when asked for; a broken one is a fault, not an error."""

    def __init__(self, files: Files, spec: ImageSpec) -> None:
        self._files = files
        self._spec = spec

    def __len__(self) -> int:
        return len(self._files)

    def __getitems__(self, rows: Sequence[int]) -> Looked:
        paths = [self._files.place(row) for row in rows]
        read: list[Tensor] = []
        faults: dict[int, str] = {}
        for place, path in enumerate(paths):
            try:
                read.append(pixels_of(path, self._spec))
            except DataError as error:
                faults[place] = str(error)
        return Looked(paths, torch.stack(read) if read else None, faults)


class _Batches:
    """Consecutive rows, a list at a time."""

    def __init__(self, count: int, size: int) -> None:
        self._count = count
        self._size = size

    def __len__(self) -> int:
        return -(-self._count // self._size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, self._count, self._size):
            yield list(range(start, min(start + self._size, self._count)))


def _as_is(batch: Any) -> Any:  # noqa: ANN401 -- DataLoader types it as a list of samples
    return batch


def _listed(path: Path) -> Files:
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            return Files(path.parent, _lines(file))
    except OSError as error:
        msg = f"The list {path} cannot be read ({error.strerror})."
        raise DataError(msg) from error


def _lines(file: Any) -> Strings:  # noqa: ANN401 -- a text file
    return Strings.of(text for line in file if (text := line.strip()))
