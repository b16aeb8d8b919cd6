"""A file that one of several processes makes, also on a network file system."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

_NO_HARD_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)


def create(path: Path, content: bytes) -> bool:
    """Make a file with its whole content at once, if nobody else has made it.

    Where there are no hard links, readers may meet half of the content for a moment.

    Returns:
        Whether this process made it.

    Raises:
        OSError: the place cannot be written.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return temporary.stat().st_nlink == 2  # the network repeated a request that had been granted
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return _create_in_place(path, content)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _create_in_place(path: Path, content: bytes) -> bool:
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True
