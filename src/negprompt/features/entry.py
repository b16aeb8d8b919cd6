"""A whole entry of the feature store: a folder that was renamed to its name when everything was in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from negprompt.errors import DataError
from negprompt.features import files
from negprompt.features.files import ArrayFile
from negprompt.features.key import Key, folder_name

META = "meta.json"
FEATURES, LOCAL = "features.npy", "local.npy"


class Stored(NamedTuple):
    """Features of one entry, read when looked at: `features` (N, D) float32, `local` (N, R, D) float16 or None."""

    features: Tensor
    local: Tensor | None

    @property
    def num_bytes(self) -> int:
        """Bytes on disk, without headers."""
        return self.features.nbytes + (0 if self.local is None else self.local.nbytes)


@dataclass(frozen=True)
class Entry:
    """The place of one entry: `<features_dir>/<backbone name>/<set name>-<hash of the key>`."""

    folder: Path
    key: Key

    @classmethod
    def place(cls, backbone_folder: Path, key: Key) -> Entry:
        """Where the entry of a key lies."""
        return cls(backbone_folder / folder_name(key), key)

    @property
    def is_there(self) -> bool:
        """Whether the entry was finished: its folder has this name from that moment on."""
        return self.folder.is_dir()

    def open(self, local: bool) -> Stored:
        """Map the features after a look at key, sizes and headers.

        Args:
            local: whether features of the regions are wanted too.

        Raises:
            DataError: the folder belongs to another key, or a file is missing or damaged.
        """
        meta = read_meta(self.folder)
        if meta["key"] != self.key:
            raise DataError(_stale(self.folder, meta["key"], self.key))
        arrays = check_files(self.folder, meta)
        regions = files.mapped(self.folder / LOCAL) if local and LOCAL in arrays else None
        return Stored(files.mapped(self.folder / FEATURES), regions)


def read_meta(folder: Path) -> dict[str, Any]:
    """What an entry says of itself.

    Raises:
        DataError: its meta.json is missing or damaged.
    """
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
        for name, file in meta["files"].items():
            _array(name, file)
        return {**meta, "key": dict(meta["key"])}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        msg = f"{folder / META} is missing or damaged ({type(error).__name__}: {error}). {fix(folder)}"
        raise DataError(msg) from error


def check_files(folder: Path, meta: dict[str, Any]) -> dict[str, ArrayFile]:
    """Sizes and headers of an entry's files against its meta.json.

    Raises:
        DataError: a file is missing or damaged.
    """
    arrays = {name: _array(name, file) for name, file in meta["files"].items()}
    for name, array in arrays.items():
        files.check(folder / name, array, fix(folder))
    return arrays


def verify(folder: Path) -> dict[str, Any]:
    """Look at everything: key, sizes, headers and every byte; returns the meta.json.

    Raises:
        DataError: what is wrong, and the fix.
    """
    meta = read_meta(folder)
    try:
        expected = folder_name(meta["key"])
    except (LookupError, TypeError) as error:
        msg = f"{folder / META} is damaged: its key lacks {error}. {fix(folder)}"
        raise DataError(msg) from error
    if folder.name != expected:
        msg = f"{folder} holds the entry {expected}: its key {_text(meta['key'])} has another hash. {fix(folder)}"
        raise DataError(msg)
    for name in check_files(folder, meta):
        found, listed = files.sha256(folder / name), meta["files"][name]["sha256"]
        if found != listed:
            msg = f"{folder / name} is damaged: sha256 {found[:12]}..., not {listed[:12]}... {fix(folder)}"
            raise DataError(msg)
    return meta


def fix(folder: Path) -> str:
    """What to do with a damaged entry."""
    return f"Delete the folder {folder}, it is computed again."


def _array(name: str, file: dict[str, Any]) -> ArrayFile:
    return ArrayFile(name, tuple(int(size) for size in file["shape"]), str(file["dtype"]))


def _stale(folder: Path, stored: Key, wanted: Key) -> str:
    return f"{folder} holds features of another key: stored {_text(stored)}, wanted {_text(wanted)}. {fix(folder)}"


def _text(key: Key) -> str:
    return json.dumps(key, sort_keys=True)
