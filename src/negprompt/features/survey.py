"""Everything that lies in a feature store, whole, damaged or not finished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from negprompt.errors import DataError
from negprompt.features.entry import LOCAL, read_meta, verify
from negprompt.features.partial import SUFFIX, progress


class Found(NamedTuple):
    """One folder of a store.

    `name` is relative to the store; `state` one of whole, unfinished, damaged; `pictures` None where it cannot be
    told; `problem` says what is wrong with a damaged one; `done` are the rows that an unfinished one has.
    """

    name: str
    state: str
    pictures: int | None = None
    transform: str = ""
    local: bool = False
    num_bytes: int = 0
    done: int | None = None
    problem: str = ""


def survey(root: Path) -> Iterator[Found]:
    """Look at every byte of every entry below a store's folder, in the order of their names."""
    for folder in sorted(path for path in root.glob("*/*") if path.is_dir()):
        name = folder.relative_to(root).as_posix()
        num_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if folder.name.endswith(SUFFIX):
            done, pictures = progress(folder)
            yield Found(name, "unfinished", pictures, num_bytes=num_bytes, done=done)
        else:
            yield _entry(folder, name, num_bytes)


def _entry(folder: Path, name: str, num_bytes: int) -> Found:
    try:
        verify(folder)
    except DataError as error:
        return Found(name, "damaged", num_bytes=num_bytes, problem=str(error))
    meta = read_meta(folder)
    transform = meta["key"]["transform"]
    text = f"seed {transform['seed']}, view {transform['view']}" if "view" in transform else str(transform["name"])
    return Found(name, "whole", meta["key"]["pictures"]["count"], text, LOCAL in meta["files"], num_bytes)
