"""One pass over a tar of webdataset samples: where each picture lies, its hash and its label."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from negprompt.data.contents import Digests
from negprompt.data.strings import Strings
from negprompt.errors import DataError

PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm")
_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")  # key and ending in webdataset's sense
_META = re.compile(r"__[^/]*__($|/)")
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_JSON = "json"
CAPTION = "txt|json.caption|json.name"
"""Label of shards whose samples have captions: the first of these places that a sample has."""


class Scan(NamedTuple):
    """Samples of a shard in its order.

    `keys`, `labels` (as text, empty where none was asked for) and `names` of their classes (empty where there is none);
    `offset`, `size` (N,) and `sha256` (N, 32) of the pictures; `bytes_` of the file.
    """

    keys: Strings
    labels: Strings
    names: Strings
    offset: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    sha256: Digests
    bytes_: int

    def arrays(self) -> dict[str, Any]:
        """For an .npz file."""
        texts = {"keys": self.keys, "labels": self.labels, "names": self.names}
        blobs = {name: text.blob for name, text in texts.items()} | {
            f"{name}_ends": t.ends for name, t in texts.items()
        }
        return blobs | {"offset": self.offset, "size": self.size, "sha256": self.sha256, "bytes_": self.bytes_}

    @classmethod
    def of(cls, arrays: dict[str, Any]) -> Scan:
        """From an .npz file."""
        keys, labels, names = (Strings(arrays[name], arrays[f"{name}_ends"]) for name in ("keys", "labels", "names"))
        return cls(keys, labels, names, arrays["offset"], arrays["size"], arrays["sha256"], int(arrays["bytes_"]))


class _Sample(NamedTuple):
    key: str
    members: dict[str, tarfile.TarInfo]


class _Row(NamedTuple):
    key: str
    label: str
    name: str
    offset: int
    size: int
    sha256: bytes


def scan(path: Path, where: str, label: str | None) -> Scan:
    """Read a shard once.

    Args:
        path: the tar file.
        where: path or URL, for messages.
        label: ending of the member with the label (`cls`), or `json.<field>`; None for pictures without classes;
            `CAPTION` for a sentence about the picture.

    Raises:
        DataError: the shard is compressed, no tar or ends early, or a sample lacks its picture or label.
        FileNotFoundError: there is no such file.
    """
    with path.open("rb") as file:
        head = file.read(8)
        packed = next((kind for magic, kind in _PACKED.items() if head.startswith(magic)), None)
        if packed is not None:
            msg = f"Shard {where} is packed with {packed}, and pictures are read from its middle: unpack it to a .tar."
            raise DataError(msg)
        file.seek(0)
        reader = _Reader(file, where, label)
        try:
            rows = [reader.row(sample) for sample in reader.samples()]
        except (tarfile.TarError, EOFError, OSError) as error:
            msg = f"Shard {where} cannot be read {reader.after}({error}): copy it again."
            raise DataError(msg) from error
    sha256 = np.frombuffer(b"".join(row.sha256 for row in rows), np.uint8).reshape(-1, 32)
    offset, size = np.array([(row.offset, row.size) for row in rows], np.int64).reshape(-1, 2).T
    texts = (
        Strings.of(row.key for row in rows),
        Strings.of(row.label for row in rows),
        Strings.of(r.name for r in rows),
    )
    return Scan(*texts, offset, size, sha256, path.stat().st_size)


class _Reader:
    """Samples of an open tar file."""

    def __init__(self, file: BinaryIO, where: str, label: str | None) -> None:
        self._file = file
        self._where = where
        self._label = label
        self._archive: tarfile.TarFile
        self.after = ""

    def samples(self) -> Iterator[_Sample]:
        """Files of one key that follow each other."""
        self._archive = tarfile.open(fileobj=self._file, mode="r:")  # noqa: SIM115 -- closed with its file
        seen: set[str] = set()
        sample = _Sample("", {})
        end = 0
        for info in self._archive:
            end = info.offset_data + (-(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE if info.isreg() else 0)
            named = _NAME.fullmatch(info.name)
            if not info.isreg() or named is None or _META.match(info.name):
                continue
            key, ending = named[1], named[2].lower()
            if key != sample.key:
                if sample.members:
                    yield sample
                if key in seen:
                    raise self._twice(key, "samples")
                seen.add(key)
                sample = _Sample(key, {})
            if ending in sample.members:
                raise self._twice(key, f".{ending} members")
            sample.members[ending] = info
            self.after = f"after sample {key!r} "
        self._file.seek(end)
        if self._file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            msg = "it ends too early"
            raise tarfile.ReadError(msg)
        if sample.members:
            yield sample

    def row(self, sample: _Sample) -> _Row:
        """What is kept of a sample."""
        picture = next((sample.members[ending] for ending in PICTURES if ending in sample.members), None)
        if picture is None:
            found = ", ".join(f".{ending}" for ending in sample.members)
            raise self._error(sample, f"has no picture ({', '.join(PICTURES)}), only {found}: add it")
        sha256 = hashlib.sha256(self._read(picture)).digest()
        fields = self._fields(sample) if self._label is not None and _JSON in sample.members else {}
        name = fields.get("class_name")
        label = "" if self._label is None else self._label_of(sample, fields, self._label)
        return _Row(sample.key, label, name if isinstance(name, str) else "", picture.offset_data, picture.size, sha256)

    def _label_of(self, sample: _Sample, fields: dict[str, Any], label: str) -> str:
        found: Any
        if label == CAPTION:
            return self._caption_of(sample, fields)
        if label.startswith(f"{_JSON}."):
            found = fields
            for part in label.split(".")[1:]:
                found = found.get(part) if isinstance(found, dict) else None
            if not isinstance(found, str | int) or isinstance(found, bool) or found == "":
                raise self._error(sample, f"has no label in {label} (found {found!r}): set another data.label")
            return str(found)
        if label not in sample.members:
            others = ", ".join(f".{ending}" for ending in sample.members)
            raise self._error(sample, f"has no .{label} member with its label, only {others}: set another data.label")
        found = self._read(sample.members[label]).decode("utf-8", "replace").strip()
        if label == "cls" and not found.isdecimal():
            raise self._error(
                sample, f"has the label {found!r} in .cls: write a whole number, or set another data.label"
            )
        if not found:
            raise self._error(sample, f"has an empty .{label} member: write its label, or set another data.label")
        return str(int(found)) if label == "cls" else str(found)

    def _caption_of(self, sample: _Sample, fields: dict[str, Any]) -> str:
        found: Any = fields.get("caption", fields.get("name"))
        if "txt" in sample.members:
            found = self._read(sample.members["txt"]).decode("utf-8", "replace")
        if not isinstance(found, str) or not found.strip():
            raise self._error(
                sample, "has no caption in .txt, nor as caption or name in .json: add it, or leave it out"
            )
        return " ".join(found.split())

    def _fields(self, sample: _Sample) -> dict[str, Any]:
        try:
            fields = json.loads(self._read(sample.members[_JSON]))
        except ValueError as error:
            raise self._error(sample, f"has a damaged .json ({error}): build the shard again") from error
        return fields if isinstance(fields, dict) else {}

    def _read(self, info: tarfile.TarInfo) -> bytes:
        content = self._archive.extractfile(info)
        found = b"" if content is None else content.read()
        if len(found) < info.size:
            msg = "it ends too early"
            raise tarfile.ReadError(msg)
        return found

    def _error(self, sample: _Sample, what: str) -> DataError:
        return DataError(f"Sample {sample.key!r} of shard {self._where} {what}.")

    def _twice(self, key: str, what: str) -> DataError:
        return DataError(f"Shard {self._where} has two {what} of key {key!r}: build the shard again.")
