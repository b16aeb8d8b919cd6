"""Many strings in two arrays: the names of 1.28 million pictures in 40 MB, and nothing to build at start-up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from negprompt.errors import DataError

_SEPARATOR = "\n"
_CHUNK = 1 << 16


class Strings(Sequence[str]):
    """An immutable sequence of strings without line breaks.

    Args:
        blob: all strings in UTF-8, each followed by a line break, (bytes,) uint8.
        ends: (N,) int64, place behind each string's line break.
    """

    def __init__(self, blob: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> None:
        self.blob = blob
        self.ends = ends

    @classmethod
    def of(cls, strings: Iterable[str]) -> Strings:
        """Pack strings.

        Raises:
            DataError: one of them contains a line break.
        """
        if isinstance(strings, Strings):
            return strings
        encoded = [text.encode("utf-8", "surrogateescape") + b"\n" for text in strings]
        for text in encoded:
            if text.count(b"\n") > 1:
                msg = f"The name {text[:-1].decode(errors='replace')!r} has a line break in it: rename that file."
                raise DataError(msg)
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return cls(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum(lengths, dtype=np.int64))

    def __len__(self) -> int:
        """Number of strings."""
        return len(self.ends)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        """One string, or those of a slice, which are decoded together."""
        if isinstance(place, slice):
            rows = range(len(self))[place]
            if not rows:
                return []
            first, last = min(rows[0], rows[-1]), max(rows[0], rows[-1])
            return self._decoded(first, last + 1).split(_SEPARATOR)[:-1][:: rows.step]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        row = int(place) % len(self)
        return self._decoded(row, row + 1)[:-1]

    def __iter__(self) -> Iterator[str]:
        """All strings, decoded a few thousand at once."""
        for start in range(0, len(self), _CHUNK):
            yield from self[start : start + _CHUNK]

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Strings:
        """The strings of some rows, in that order."""
        return Strings.of(self[int(row)] for row in rows)

    def _decoded(self, start: int, stop: int) -> str:
        first = int(self.ends[start - 1]) if start else 0
        return self.blob[first : int(self.ends[stop - 1])].tobytes().decode("utf-8", "surrogateescape")
