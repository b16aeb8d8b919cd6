"""Writing one shard: a tar that depends on its pictures alone, and beside it where each of them lies."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from negprompt.data.cache import read_arrays
from negprompt.data.classes import Classes
from negprompt.data.contents import AlteredError
from negprompt.data.decoding import decode
from negprompt.data.listing import Listing
from negprompt.data.tree import PICTURES
from negprompt.errors import DataError
from negprompt.runs.folder import atomic_write, explained, sync_folder

ELSEWHERE = "output=<folder>"
_BLOCK = tarfile.BLOCKSIZE
_BESIDE = 6 * _BLOCK  # headers of three members, a label, a json of up to two blocks
_END = tarfile.RECORDSIZE + 2 * _BLOCK  # at most: two empty blocks, filled up to a record


class Plan(NamedTuple):
    """One shard before it is written: its set, name, the rows of its pictures in order, number of its first sample."""

    set_name: str
    name: str
    rows: npt.NDArray[np.int64]
    first: int


class Packed(NamedTuple):
    """One shard that is written.

    `rows` (N,) of the pictures in it, with `offset` (N,), `size` (N,) and `sha256` (N, 32); `dropped` rows of pictures
    that cannot be decoded; `bytes_` and `digest` (32,) of the file.
    """

    rows: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    sha256: npt.NDArray[np.uint8]
    dropped: npt.NDArray[np.int64]
    bytes_: int
    digest: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Packer:
    """Writes shards of some sets into `output`; the same bytes whenever and in whatever order it does so."""

    sets: dict[str, Listing]
    classes: Classes
    output: Path
    partial: Path
    corrupt: Literal["stop", "skip"]

    def done(self, plan: Plan) -> Packed | None:
        """The shard, where it was written before."""
        arrays = read_arrays(self._sidecar(plan)) if self._sidecar(plan).is_file() else None
        path = self.output / plan.name
        if arrays is None or not path.is_file() or path.stat().st_size != int(arrays["bytes_"]):
            return None
        return Packed(**{**arrays, "bytes_": int(arrays["bytes_"])})

    def pack(self, plan: Plan) -> Packed:
        """Write one shard, whole or not at all.

        Raises:
            DataError: a picture cannot be read, or cannot be decoded and `corrupt` is "stop".
            RunError: the folder cannot be written.
        """
        path = self.output / plan.name
        temporary = self.partial / f"{plan.name}.{secrets.token_hex(4)}.tmp"
        with explained(path, ELSEWHERE):
            try:
                with temporary.open("xb") as file:
                    packed = self._write(plan, file)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                with contextlib.suppress(OSError):  # room for what the disk is full of
                    temporary.unlink(missing_ok=True)
                raise
        sync_folder(self.output)
        atomic_write(self._sidecar(plan), lambda file: np.savez(file, **packed._asdict()), ELSEWHERE)
        return packed

    def _sidecar(self, plan: Plan) -> Path:
        return self.partial / f"{plan.name}.npz"

    def _write(self, plan: Plan, file: BinaryIO) -> Packed:
        listing = self.sets[plan.set_name]
        labels = listing.labels(self.classes.keys)[plan.rows]
        archive = _Tar(file)
        kept: list[tuple[int, int, int, bytes]] = []
        dropped: list[int] = []
        for number, (row, label) in enumerate(zip(plan.rows.tolist(), labels.tolist(), strict=True), plan.first):
            encoded = self._picture(plan.set_name, row)
            if encoded is None:
                dropped.append(row)
                continue
            stem = f"{number:08d}"
            offset = archive.add(f"{stem}.{_extension(listing, row, encoded)}", encoded)
            kept.append((row, offset, len(encoded), hashlib.sha256(encoded).digest()))
            if label >= 0:
                archive.add(f"{stem}.cls", str(label).encode())
            archive.add(f"{stem}.json", json.dumps(self._fields(listing, row, label)).encode())
        archive.close()
        columns: npt.NDArray[np.int64] = np.array([one[:3] for one in kept], np.int64).reshape(-1, 3).T
        sha256 = np.frombuffer(b"".join(one[3] for one in kept), np.uint8).reshape(-1, 32)
        digest = np.frombuffer(archive.digest.digest(), np.uint8)
        placed, offset, size = columns
        return Packed(placed, offset, size, sha256, np.array(dropped, np.int64), archive.position, digest)

    def _picture(self, set_name: str, row: int) -> bytes | None:
        """Bytes of a picture; None for a corrupt one that is to be left out."""
        listing = self.sets[set_name]
        where = f"{set_name} ({listing.contents.place(row)})"
        try:
            encoded = listing.contents.read(row)
        except AlteredError:
            if self.corrupt == "stop":
                raise
            return None
        try:
            decode(encoded, listing.keys[row], where)
        except DataError:
            if self.corrupt == "stop":
                raise
            return None
        return encoded

    def _fields(self, listing: Listing, row: int, label: int) -> dict[str, Any]:
        fields: dict[str, Any] = {"key": listing.keys[row]}
        if listing.class_of[row] >= 0:
            fields["class"] = listing.classes[listing.class_of[row]]
        if label >= 0:
            fields["class_name"] = self.classes.names[label]
        return fields


def plans(set_name: str, sizes: npt.NDArray[np.int64], max_bytes: int, *, shuffle: bool) -> Iterator[Plan]:
    """Share the pictures of a set among shards of at most `max_bytes`, or of one picture.

    Args:
        set_name: of the set.
        sizes: bytes of each picture, (N,).
        max_bytes: of a shard.
        shuffle: write the pictures in a random order that is always the same, else in that of the listing.
    """
    order = np.arange(len(sizes))
    if shuffle:
        seed = hashlib.sha256(f"shards/{set_name}".encode()).digest()
        order = np.random.default_rng(int.from_bytes(seed[:8], "big")).permutation(len(sizes))
    cost = -(-sizes[order] // _BLOCK) * _BLOCK + _BESIDE
    first, total, number = 0, _END, 0
    for place, one in enumerate(cost.tolist()):
        if place > first and total + one > max_bytes:
            yield Plan(set_name, shard_name(set_name, number), order[first:place], first)
            first, total, number = place, _END, number + 1
        total += one
    if first < len(order):
        yield Plan(set_name, shard_name(set_name, number), order[first:], first)


def shard_name(set_name: str, number: int) -> str:
    """Name of a shard's file.

    Example:
        >>> shard_name("ood/inaturalist", 3)
        'ood-inaturalist-000003.tar'
    """
    return f"{set_name.replace('/', '-')}-{number:06d}.tar"


class _Tar:
    """A tar file whose bytes are a function of names and contents."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.position = 0

    def add(self, name: str, content: bytes) -> int:
        """Add a file; returns the offset of its content."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o644
        self._put(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self.position
        self._put(content + bytes(-len(content) % _BLOCK))
        return offset

    def close(self) -> None:
        self._put(bytes(2 * _BLOCK))
        self._put(bytes(-self.position % tarfile.RECORDSIZE))

    def _put(self, content: bytes) -> None:
        self._file.write(content)
        self.digest.update(content)
        self.position += len(content)


def _extension(listing: Listing, row: int, encoded: bytes) -> str:
    """Ending of a picture's name in lower case; of one without, the format that it has."""
    paths = getattr(listing.contents, "paths", listing.keys)
    for name in (paths[row], listing.keys[row]):
        if (suffix := PurePosixPath(name).suffix.lower()) in PICTURES:
            return suffix[1:]
    kind = (Image.open(io.BytesIO(encoded)).format or "").lower()
    return {"jpeg": "jpg", "tiff": "tif"}.get(kind, kind)
