"""Arrays as .npy files that are reserved at once, filled block by block and looked at without being read.

Never written through a memory map: on a disk that fills up, that ends the process with SIGBUS and no message.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from negprompt.errors import DataError

_NO_FALLOCATE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
_HASH_CHUNK = 1 << 24


class ArrayFile(NamedTuple):
    """What a .npy file holds: its name, shape and type. The first axis counts pictures."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def header(self) -> bytes:
        """Bytes in front of the numbers, as `numpy.save` writes them."""
        buffer = io.BytesIO()
        description = np.lib.format.dtype_to_descr(np.dtype(self.dtype))
        np.lib.format.write_array_header_1_0(
            buffer, {"descr": description, "fortran_order": False, "shape": self.shape}
        )
        return buffer.getvalue()

    @property
    def row_bytes(self) -> int:
        """Bytes of one picture."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * np.dtype(self.dtype).itemsize

    @property
    def num_bytes(self) -> int:
        """Bytes of the whole file."""
        return len(self.header) + self.shape[0] * self.row_bytes


def reserve(path: Path, array: ArrayFile) -> None:
    """Make a file of full size, so that a disk without room says so now and not after hours.

    Raises:
        OSError: with ENOSPC or EDQUOT where there is no room.
    """
    with path.open("xb") as file:
        file.write(array.header)
        file.flush()
        try:
            os.posix_fallocate(file.fileno(), 0, array.num_bytes)
        except AttributeError:  # not on every system
            file.truncate(array.num_bytes)
        except OSError as error:
            if error.errno not in _NO_FALLOCATE:
                raise
            file.truncate(array.num_bytes)
        os.fsync(file.fileno())


def write_rows(path: Path, array: ArrayFile, start: int, rows: Tensor) -> None:
    """Put rows in their place; when this returns, they survive a power cut."""
    content = memoryview(np.ascontiguousarray(rows.numpy(), dtype=array.dtype).tobytes())
    offset = len(array.header) + start * array.row_bytes
    descriptor = os.open(path, os.O_WRONLY)
    try:
        while content:
            written = os.pwrite(descriptor, content, offset)
            content, offset = content[written:], offset + written
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check(path: Path, array: ArrayFile, fix: str) -> None:
    """Compare size and header of a file with what it should hold; reads some bytes only.

    Args:
        path: the file.
        array: what it should hold.
        fix: what to do when it does not, for the message.

    Raises:
        DataError: the file is missing, has another size or another header.
    """
    try:
        found = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(len(array.header))
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}): {fix}"
        raise DataError(msg) from error
    if found != array.num_bytes:
        msg = f"{path} is damaged: {found:,} bytes where {array.num_bytes:,} should be. {fix}"
        raise DataError(msg)
    if header != array.header:
        msg = f"{path} is damaged: its header is not that of {array.dtype} numbers of shape {array.shape}. {fix}"
        raise DataError(msg)


def mapped(path: Path) -> Tensor:
    """A file as a tensor that is read when it is looked at; changes of the tensor never reach the file."""
    array: npt.NDArray[np.generic] = np.load(path, mmap_mode="c", allow_pickle=False)
    return torch.from_numpy(array)


def sha256(path: Path) -> str:
    """Hash of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def total_bytes(arrays: Sequence[ArrayFile]) -> int:
    """Bytes of several files."""
    return sum(array.num_bytes for array in arrays)
