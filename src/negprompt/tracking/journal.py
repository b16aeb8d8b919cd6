"""Records of a `.wandb` file: what an attempt left on the disk, also one that was killed while it wrote.

The file is a LevelDB log: blocks of 32 KiB after a header of 7 bytes, and in them pieces of records, each with a
checksum, a length and whether it is a whole record or its first, a middle or its last piece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

_HEADER = 7  # bytes, of the file as of each piece
_BLOCK = 32 * 1024
_WHOLE, _FIRST, _LAST = 1, 2, 4


def records(path: Path) -> Iterator[bytes]:
    """Whole records of a file, up to the first that was cut."""
    data = path.read_bytes()
    position, record = _HEADER, b""
    while position + _HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:  # too little for a piece: zeros up to the next block
            position += left
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        start, position = position + _HEADER, position + _HEADER + length
        if kind == 0 or position > len(data):
            return
        piece = data[start:position]
        record = piece if kind in (_WHOLE, _FIRST) else record + piece
        if kind in (_WHOLE, _LAST):
            yield record
