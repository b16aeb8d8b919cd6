"""An entry that is being computed: reserved files, one small mark for each block of rows that is safely in them.

A process may die at any moment. What has a mark is never computed again, and what has none is computed again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

import negprompt
from negprompt.errors import DataError, RunError
from negprompt.features import files
from negprompt.features.entry import FEATURES, LOCAL, META, Entry
from negprompt.features.files import ArrayFile
from negprompt.runs.folder import atomic_write, explained, sync_folder

SUFFIX = ".partial"
ELSEWHERE = "paths.features_dir=<folder>, or features=none"

_LAYOUT, _BLOCKS = "layout.json", "blocks"


def layout(count: int, width: int, regions: int | None) -> tuple[ArrayFile, ...]:
    """Files of an entry: global features in full precision, those of regions in half."""
    arrays = [ArrayFile(FEATURES, (count, width), "float32")]
    if regions is not None:
        arrays.append(ArrayFile(LOCAL, (count, regions, width), "float16"))
    return tuple(arrays)


@dataclass(frozen=True)
class Partial:
    """The folder `<entry>.partial`. Only the holder of the entry's lock prepares and finishes it."""

    entry: Entry

    @property
    def folder(self) -> Path:
        """Where the entry lies until it is whole."""
        return self.entry.folder.with_name(self.entry.folder.name + SUFFIX)

    @property
    def is_described(self) -> bool:
        """Whether everything is there and only the folder's name is not the last one yet."""
        return (self.folder / META).is_file()

    def arrays(self) -> tuple[ArrayFile, ...] | None:
        """Reserved files, None where there are none that can be gone on with."""
        try:
            listed: dict[str, Any] = json.loads((self.folder / _LAYOUT).read_text(encoding="utf-8"))
            arrays = tuple(ArrayFile(name, tuple(shape), dtype) for name, shape, dtype in listed["files"])
            for array in arrays:
                files.check(self.folder / array.name, array, "")
        except (OSError, ValueError, LookupError, TypeError, DataError):
            return None
        return arrays if listed["key"] == self.entry.key else None

    def reserve(self, arrays: Sequence[ArrayFile]) -> None:
        """Take the room on the disk, in place of whatever lies there.

        Raises:
            RunError: the folder cannot be written or has no room; nothing is left behind.
        """
        with explained(self.folder, ELSEWHERE):
            self.remove()
            (self.folder / _BLOCKS).mkdir(parents=True)
            try:
                for array in arrays:
                    files.reserve(self.folder / array.name, array)
                listed = {"key": self.entry.key, "files": [list(array) for array in arrays]}
                atomic_write(self.folder / _LAYOUT, json.dumps(listed).encode(), ELSEWHERE)
            except (OSError, RunError):
                self.remove()
                raise

    def remove(self) -> None:
        """Take the folder away, where there is one."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def write(self, start: int, features: Tensor, local: Tensor | None) -> None:
        """Store one block: `features` (B, D), `local` (B, R, D) or None, of the pictures from `start` on.

        Raises:
            RunError: the block cannot be written.
        """
        count = len(features)
        with explained(self.folder, ELSEWHERE):
            for array, rows in zip(self._reserved(), (features, local), strict=False):
                if rows is None or tuple(rows.shape[1:]) != array.shape[1:]:
                    msg = f"rows of {array.name} do not fit {array.shape}"
                    raise ValueError(msg)
                files.write_rows(self.folder / array.name, array, start, rows)
            (self.folder / _BLOCKS / f"{start}-{start + count}").touch()

    def missing(self, count: int, block: int) -> Iterator[tuple[int, int]]:
        """Blocks of at most `block` rows (start, end) that are still to be computed, of `count` rows in all."""
        if self.is_described:
            return
        position = 0
        for start, end in [*_done(self.folder), (count, count)]:
            yield from ((first, min(first + block, start)) for first in range(position, start, block))
            position = max(position, end)

    def finish(self) -> None:
        """Make it the entry: hash the files, describe them, rename the folder.

        Raises:
            RunError: rows are missing, or the folder cannot be written.
        """
        with explained(self.folder, ELSEWHERE):
            if not self.is_described:
                text = json.dumps(self._meta(), indent=1, ensure_ascii=False) + "\n"
                atomic_write(self.folder / META, text.encode(), ELSEWHERE)
            shutil.rmtree(self.folder / _BLOCKS, ignore_errors=True)
            (self.folder / _LAYOUT).unlink(missing_ok=True)
            sync_folder(self.folder)
            self.folder.rename(self.entry.folder)
        sync_folder(self.entry.folder.parent)

    def _reserved(self) -> tuple[ArrayFile, ...]:
        arrays = self.arrays()
        if arrays is None:
            msg = f"{self.folder} was changed while it was being filled: run the same command again."
            raise RunError(msg)
        return arrays

    def _meta(self) -> dict[str, Any]:
        arrays = self._reserved()
        count = arrays[0].shape[0]
        if any(self.missing(count, count)):
            msg = f"{self.folder} is not complete: run the same command again, it computes what is missing."
            raise RunError(msg)
        described = {
            array.name: {
                "shape": list(array.shape),
                "dtype": array.dtype,
                "sha256": files.sha256(self.folder / array.name),
            }
            for array in arrays
        }
        return {"key": dict(self.entry.key), "files": described, "package_version": negprompt.__version__}


def progress(folder: Path) -> tuple[int, int | None]:
    """Rows that are safely stored in a folder that is not finished, and how many it will have where that is known."""
    done = sum(end - start for start, end in _done(folder))
    try:
        count: int = json.loads((folder / _LAYOUT).read_text(encoding="utf-8"))["files"][0][1][0]
    except (OSError, ValueError, LookupError, TypeError):
        return done, None
    return done, count


def _done(folder: Path) -> list[tuple[int, int]]:
    marks = (folder / _BLOCKS).iterdir() if (folder / _BLOCKS).is_dir() else ()
    spans = (mark.name.partition("-") for mark in marks)
    return sorted((int(start), int(end)) for start, _, end in spans)
