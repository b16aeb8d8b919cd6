"""Remote files as local ones: whole or absent, fetched once on a machine, the least recently used removed."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shlex
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import quote

from filelock import FileLock, Timeout

from negprompt.data.cache import ELSEWHERE
from negprompt.data.shards.archive import TransferError, chunks
from negprompt.errors import DataError
from negprompt.runs.folder import explained

log = logging.getLogger(__name__)

Result = TypeVar("Result")

GB = 10**9
_REMOTE = re.compile(r"pipe:|[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_WAITS = (0.5, 2.0)  # seconds before the second and the third try
_FINAL = frozenset((22, 126, 127))  # curl has tried again by itself where the server was busy
_LEFTOVER = 24 * 3600  # seconds after which nobody goes on with a half-written file
_PART = ".part"
_USED_EVERY = 60  # seconds: exact enough to tell what was used least recently


def is_remote(location: str) -> bool:
    """Whether a location is a URL or a `pipe:` command; everything else is a path.

    Example:
        >>> is_remote("s3://bucket/imagenet"), is_remote("pipe:cat /disk/{}"), is_remote("/disk/imagenet")
        (True, True, False)
    """
    return _REMOTE.match(location) is not None and not location.startswith("file://")


def local_path(location: str) -> Path:
    """A location that is not remote, as a path."""
    return Path(location.removeprefix("file://")).expanduser()


def url_of(location: str, name: str) -> str:
    """URL of a file in a remote folder.

    Args:
        location: base URL, or a `pipe:` command or URL with `{}` for the file's name.
        name: of the file.

    Raises:
        DataError: a command without `{}`.

    Example:
        >>> url_of("https://host/imagenet/", "index.json"), url_of("pipe:cat /disk/{}", "index.json")
        ('https://host/imagenet/index.json', 'pipe:cat /disk/index.json')
    """
    if location.startswith("pipe:"):
        if "{}" not in location:
            msg = (
                f"data.shards={location!r} has no {{}} for the file's name: write pipe:curl -sfL https://host/dir/{{}}."
            )
            raise DataError(msg)
        return location.replace("{}", shlex.quote(name))
    if "{}" in location:
        return location.replace("{}", quote(name))
    return f"{location.rstrip('/')}/{quote(name)}"


def tried(action: Callable[[], Result]) -> Result:
    """The result of a transfer, tried three times where another try can help.

    Raises:
        DataError: of the last try.
    """
    for wait in _WAITS:
        try:
            return action()
        except TransferError as error:
            if error.status in _FINAL:
                raise
            log.warning("%s Trying again in %g s.", error, wait)
            time.sleep(wait)
    return action()


def fetch_bytes(url: str) -> bytes:
    """A small remote file.

    Raises:
        DataError: it cannot be fetched.
    """
    return tried(lambda: b"".join(chunks(url)))


@dataclass(frozen=True)
class ShardCache:
    """Local copies of remote files in `folder`, together at most `max_bytes` with those being written."""

    folder: Path
    max_bytes: int

    @classmethod
    def of(cls, cache_dir: Path | None, cache_gb: float, location: str) -> ShardCache:
        """The cache of a remote location.

        Raises:
            DataError: there is no folder for it.
        """
        if cache_dir is None:
            msg = f"Shards at {location} are remote and need a folder for local copies: set {ELSEWHERE}."
            raise DataError(msg)
        return cls(cache_dir / "shards", int(cache_gb * GB))

    def fetch(self, url: str, place: str, size: int | None = None, sha256: str = "") -> Path:
        """The local copy of a remote file; one process fetches it, others wait.

        Args:
            url: of the file.
            place: path of the copy, relative to the cache.
            size: expected number of bytes, None where it is not known.
            sha256: expected hash, empty where it is not known.

        Raises:
            DataError: it cannot be fetched, or is not what is expected.
            RunError: the cache cannot be written.
        """
        path = self.folder / place
        if not used(path):
            with self.lock(path):
                if not used(path):
                    _say_fetching(path, url)
                    with self.writing(path, size) as file:
                        tried(lambda: _download(url, file, size, sha256))
                    part_of(path).replace(path)
        return path

    @contextlib.contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        """Keep other processes and threads from writing the same file; the kernel takes a lock back from the dead."""
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        with explained(path, ELSEWHERE):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.info("waiting for another process, which fetches %s", path.name)
                lock.acquire()
            except NotImplementedError as error:
                msg = f"The file system of {path.parent} has no file locks: set another {ELSEWHERE}."
                raise DataError(msg) from error
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def writing(self, path: Path, size: int | None) -> Iterator[BinaryIO]:
        """The open file that is to become `path`, with room made for it; what is in it outlives an error.

        Args:
            path: the file in the end.
            size: of it, None where it is not known.

        Raises:
            DataError: it is larger than the whole cache.
            RunError: the cache cannot be written.
        """
        part = part_of(path)
        with explained(path, ELSEWHERE):
            self._make_room(part, size or 0)
            with part.open("r+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            self._make_room(part, part.stat().st_size)

    def _make_room(self, part: Path, size: int) -> None:
        """Remove what was used least recently until a half-written file of `size` bytes fits, and reserve them."""
        if size > self.max_bytes:
            msg = f"{part.name} has {size / GB:.3g} GB and data.shard_cache_gb={self.max_bytes / GB:.3g}: raise that."
            raise DataError(msg)
        with self.lock(self.folder / "room"):
            with part.open("ab") as file:
                file.truncate(size)
            files = [(path, path_stat) for path in self.folder.rglob("*") if (path_stat := _stat(path)) is not None]
            total = sum(status.st_size for _, status in files)
            removable = [pair for pair in files if not _is_kept(*pair)]
            for path, status in sorted(removable, key=lambda pair: pair[1].st_mtime_ns):
                if total <= self.max_bytes:
                    break
                path.unlink(missing_ok=True)
                total -= status.st_size


_fetched: set[Path] = set()


def _say_fetching(path: Path, url: str) -> None:
    if path in _fetched:
        log.warning("%s was removed to make room and is fetched again: raise data.shard_cache_gb", url)
    else:
        log.info("fetching %s", url)
    _fetched.add(path)


def part_of(path: Path) -> Path:
    """Name of a file while it is being written."""
    return path.with_name(f".{path.name}{_PART}")


def used(path: Path) -> bool:
    """Whether a copy is there; if so, it counts as used now."""
    status = _stat(path)
    if status is None:
        return False
    if time.time() - status.st_mtime > _USED_EVERY:
        with contextlib.suppress(OSError):  # somebody else's copy, or just removed
            os.utime(path)
    return True


def _stat(path: Path) -> os.stat_result | None:
    try:
        status = path.stat()
    except OSError:  # removed by another process in between
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _is_kept(path: Path, status: os.stat_result) -> bool:
    """Locks, and files that somebody is writing or may go on with."""
    if not path.name.startswith("."):
        return False
    return not path.name.endswith(_PART) or time.time() - status.st_mtime < _LEFTOVER


def _download(url: str, file: BinaryIO, size: int | None, sha256: str) -> None:
    file.seek(0)
    digest = hashlib.sha256()
    for chunk in chunks(url):
        file.write(chunk)
        digest.update(chunk)
    found = file.tell()
    file.truncate()
    if (size is not None and found != size) or (sha256 and digest.hexdigest() != sha256):
        msg = (
            f"{url} has {found} bytes with sha256 {digest.hexdigest()[:12]}..., and {size} bytes with "
            f"{sha256[:12] or 'any'}... are listed: copy the shards there again, index included."
        )
        raise TransferError(msg)
