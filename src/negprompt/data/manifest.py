"""The few-shot draw as a file: written once, reused, and the same on a colleague's machine."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from negprompt.errors import DataError, NegPromptError
from negprompt.runs.folder import atomic_write

log = logging.getLogger(__name__)

_SCHEMA = 1
_ELSEWHERE = "data.manifests_dir=<folder of yours>"


class Manifest(NamedTuple):
    """Which pictures of which class are drawn: (class key, picture key) rows, class by class."""

    data: str
    num_shots: int
    seed: int
    pictures: tuple[tuple[str, str], ...]

    @property
    def sha256(self) -> str:
        """Hash of the rows: equal for equal draws, wherever the pictures lie."""
        return hashlib.sha256(json.dumps(self.pictures).encode()).hexdigest()


def file_name(data: str, num_shots: int, seed: int, classes: Sequence[str], place: Sequence[str] = ()) -> str:
    """Name of a manifest: data set, shots, seed, and 8 digits for the classes and the place of the pictures.

    Two folders of one's own with the same classes have draws of their own.
    """
    digest = hashlib.sha256(json.dumps([list(classes), list(place)]).encode()).hexdigest()
    return f"{data}-{num_shots}shots-seed{seed}-{digest[:8]}.json"


def write(path: Path, manifest: Manifest) -> None:
    """Write a manifest; where that is impossible, say so and go on: the draw can be repeated from the pictures."""
    header = {"schema": _SCHEMA, **manifest._asdict(), "sha256": manifest.sha256}
    rows = header.pop("pictures")
    lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    text = json.dumps(header, indent=1, ensure_ascii=False)[:-2] + f',\n "pictures": [\n{lines}\n ]\n}}\n'
    try:
        atomic_write(path, text.encode("utf-8", "surrogateescape"), _ELSEWHERE)
    except NegPromptError as error:
        log.warning("the few-shot draw is not kept as a file: %s", error)


def read(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        DataError: it is missing, damaged, or was altered after it was written.
    """
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        pictures = tuple((str(class_key), str(key)) for class_key, key in stored["pictures"])
        schema = stored["schema"]
        manifest = Manifest(str(stored["data"]), int(stored["num_shots"]), int(stored["seed"]), pictures)
        listed = stored["sha256"]
    except OSError as error:
        msg = f"The manifest {path} cannot be read ({error.strerror}): give another data.manifest, or null."
        raise DataError(msg) from error
    except (ValueError, LookupError, TypeError) as error:
        msg = f"The manifest {path} is damaged ({error}): delete it, and it is drawn again from the pictures."
        raise DataError(msg) from error
    if schema != _SCHEMA:
        msg = f"The manifest {path} has schema {schema}, this version reads {_SCHEMA}: update negprompt, or draw anew."
        raise DataError(msg)
    if listed != manifest.sha256:
        msg = (
            f"The manifest {path} was altered: its rows have the hash {manifest.sha256[:12]}..., it says "
            f"{str(listed)[:12]}... Take the original, or delete it, and it is drawn again from the pictures."
        )
        raise DataError(msg)
    return manifest
