"""Records of a `.wandb` file: what an attempt left on the disk, also one that was killed while it wrote.

The file is a LevelDB log: blocks of 32 KiB after a header of 7 bytes, and in them pieces of records, each with a
checksum, a length and whether it is a whole record or its first, a middle or its last piece.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

_HEADER = 7  # bytes, of the file as of each piece
_BLOCK = 32 * 1024
_WHOLE, _FIRST, _LAST = 1, 2, 4


def whole_records(path: Path) -> tuple[list[bytes], int]:
    """Records of a file up to the first that was cut, and the length of the file without it."""
    data = path.read_bytes()
    found: list[bytes] = []
    position, end, record = _HEADER, min(_HEADER, len(data)), b""
    while position + _HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:  # too little for a piece: zeros up to the next block
            position += left
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        start, position = position + _HEADER, position + _HEADER + length
        if kind == 0 or position > len(data):
            break
        piece = data[start:position]
        record = piece if kind in (_WHOLE, _FIRST) else record + piece
        if kind in (_WHOLE, _LAST):
            found.append(record)
            end = position
    return found, end


def mend(path: Path) -> None:
    """Cut off a record that a killed attempt left unfinished, and put a file aside that holds nothing but a header.

    `wandb sync` stops at such a record and at such a file, and with it all later attempts of the same run.
    """
    found, end = whole_records(path)
    if len(found) < 2:  # the first record describes the file
        path.replace(path.with_name(f"{path.name}.empty"))
    elif end < path.stat().st_size:
        os.truncate(path, end)
