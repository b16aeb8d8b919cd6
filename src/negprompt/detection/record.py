"""What a detector needs beside prompts: class names, its score, its calibration; a JSON file in the run folder.

`detector.json` lies beside `prompts.safetensors`; a detector that was saved has the same values in the metadata of its
one file. Neither is part of a run's hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from negprompt.detection.calibration import Calibration
from negprompt.errors import PromptMismatchError
from negprompt.prompts.bundle import class_names_sha256
from negprompt.types import PromptBundle

FILE_NAME = "detector.json"
SCHEMA = 1
_METADATA = "detector"


class DetectorRecord(NamedTuple):
    """A detector without its prompts.

    `class_names` in label order; `score` and `score_node`: name and settings (`ScoreChoice.node`) of the score;
    `calibration` of that score on images of these classes, None where there is none.
    """

    class_names: tuple[str, ...]
    score: str
    score_node: Mapping[str, Any]
    calibration: Calibration | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values; equal records give equal ones."""
        return {
            "schema": SCHEMA,
            "score": {"name": self.score, **self.score_node},
            "calibration": None if self.calibration is None else self.calibration.to_json(),
            "class_names_sha256": class_names_sha256(self.class_names),
            "class_names": list(self.class_names),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], where: str) -> DetectorRecord:
        """What `to_json` made.

        Raises:
            PromptMismatchError: it is damaged, or of a later version.
        """
        try:
            if stored["schema"] != SCHEMA:
                msg = f"{where} has schema {stored['schema']}, this version reads {SCHEMA}: make the run again."
                raise PromptMismatchError(msg)
            node = dict(stored["score"])
            calibration = stored["calibration"]
            names = tuple(map(str, stored["class_names"]))
            return cls(
                names, node.pop("name"), node, None if calibration is None else Calibration.from_json(calibration)
            )
        except (LookupError, TypeError, ValueError) as error:
            msg = f"{where} is damaged ({type(error).__name__}: {error}): make the run again."
            raise PromptMismatchError(msg) from error


def find_record(file: Path, bundle: PromptBundle) -> DetectorRecord | None:
    """The record of a bundle: in its metadata, else in the file beside it, else None.

    Args:
        file: of the bundle.
        bundle: its content.

    Raises:
        PromptMismatchError: it is damaged, or of a later version.
    """
    if (stored := bundle.metadata.get(_METADATA)) is not None:
        return DetectorRecord.from_json(stored, f"The detector in {file}")
    beside = file.parent / FILE_NAME
    if not beside.is_file():
        return None
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{beside} cannot be read ({error}): make the run again."
        raise PromptMismatchError(msg) from error
    return DetectorRecord.from_json(content, str(beside))


def with_record(bundle: PromptBundle, record: DetectorRecord) -> PromptBundle:
    """A bundle that holds its record."""
    return bundle._replace(metadata={**bundle.metadata, _METADATA: record.to_json()})
