"""Sets of pictures -> a folder of webdataset shards with an index; can be killed at any time and goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from negprompt.data.classes import Classes
from negprompt.data.listing import Listing
from negprompt.data.looked import Corrupt, stamps_of_all
from negprompt.data.shards.folder import INDEX, SCHEMA, ShardFolder
from negprompt.data.shards.packers import pack_all
from negprompt.data.shards.packing import ELSEWHERE, Packer, plans
from negprompt.data.shards.rows import rows_name, write_rows
from negprompt.data.strings import Strings
from negprompt.errors import DataError
from negprompt.runs.folder import atomic_write, explained

log = logging.getLogger(__name__)

MAX_BYTES = 256_000_000
_PARTIAL, _REQUEST = ".partial", "request"


class Summary(NamedTuple):
    """What is in a prepared folder: pictures and pictures left out by set; `written` shards of `shards` are new."""

    folder: Path
    pictures: Mapping[str, int]
    dropped: Mapping[str, int]
    shards: int
    written: int
    bytes_: int


def prepare(
    sets: Mapping[str, Listing],
    classes: Classes,
    output: Path,
    *,
    name: str,
    max_bytes: int = MAX_BYTES,
    workers: int = 1,
    shuffle: frozenset[str] = frozenset({"train"}),
    corrupt: Corrupt = "stop",
    draw: Mapping[str, int] | None = None,
) -> Summary:
    """Write shards of all sets, `<set>.npz` with the place of each picture, and `index.json` last.

    The files depend on the arguments alone, not on `workers` or on interruptions. Finished shards of an interrupted
    call are kept; a finished folder is looked at and left as it is.

    Args:
        sets: pictures by the name of their set, such as `train` or `ood/textures`.
        classes: classes in label order; labels in the shards are places in it.
        output: the folder.
        name: of the data set.
        max_bytes: of a shard.
        workers: processes.
        shuffle: sets whose pictures lie in random order, for training on the shards with other tools.
        corrupt: what a picture does that cannot be decoded: stop, or be left out and counted.
        draw: `seed` and `num_shots` of the draw that `train` consists of, None where it has all training pictures.

    Raises:
        DataError: a picture is missing or corrupt, or the folder holds something else.
        RunError: the folder cannot be written.
    """
    _check(sets, output, workers)
    sizes = {one: stamps_of_all(listing.contents, one)[:, 0] for one, listing in sets.items()}
    options = {"name": name, "max_bytes": max_bytes, "shuffle": sorted(shuffle & set(sets)), "corrupt": corrupt}
    if draw is not None:
        options["draw"] = dict(draw)
    request = _request(sets, sizes, classes, options)
    if (output / INDEX).exists():
        return _finished(output, request)
    with _alone(output):
        if (output / INDEX).exists():  # made by another process while this one waited
            return _finished(output, request)
        partial = _begun(output, request)
        packer = Packer(dict(sets), classes, output, partial, corrupt)
        planned = {one: list(plans(one, sizes[one], max_bytes, shuffle=one in shuffle)) for one in sets}
        done, written = pack_all(packer, [plan for group in planned.values() for plan in group], workers)
        entries = {}
        for set_name, group in planned.items():
            entries[set_name] = write_rows(
                output, set_name, sets[set_name], [(plan, done[plan.name]) for plan in group]
            )
        index = {
            "schema": SCHEMA,
            "name": name,
            "request": request,
            "draw": None if draw is None else dict(draw),
            "class_keys": list(classes.keys),
            "class_names": list(classes.names),
            "sets": entries,
        }
        atomic_write(output / INDEX, (json.dumps(index, indent=1) + "\n").encode(), ELSEWHERE)
        shutil.rmtree(partial, ignore_errors=True)
        return _summary(output, index, written)


def _check(sets: Mapping[str, Listing], output: Path, workers: int) -> None:
    if workers < 1:
        msg = f"workers={workers}: at least one process is needed."
        raise DataError(msg)
    if output.exists() and not output.is_dir():
        msg = f"{output} is a file: give another {ELSEWHERE}."
        raise DataError(msg)
    files: dict[str, str] = {}
    for set_name in sets:
        if not re.fullmatch(r"\w[\w.+-]*(/\w[\w.+-]*)*", set_name):
            msg = f"The set {set_name!r} cannot name files: use letters, digits and _ . + - and / only."
            raise DataError(msg)
        if (other := files.setdefault(rows_name(set_name), set_name)) != set_name:
            msg = f"The sets {other!r} and {set_name!r} would be in the same files: rename one of them."
            raise DataError(msg)


def _request(
    sets: Mapping[str, Listing], sizes: Mapping[str, npt.NDArray[np.int64]], classes: Classes, options: dict[str, Any]
) -> str:
    """Hash of everything that the files depend on, pictures by name and size."""
    digest = hashlib.sha256(json.dumps([SCHEMA, *classes, options]).encode())
    for set_name, listing in sets.items():
        digest.update(json.dumps([set_name, len(listing), listing.classes]).encode())
        digest.update(Strings.of(listing.keys).blob.tobytes())
        digest.update(listing.class_of.astype("<i4").tobytes() + sizes[set_name].astype("<i8").tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Wait until no other process prepares the same folder."""
    path = output / ".prepare.lock"
    lock = FileLock(path)
    with explained(output, ELSEWHERE):
        output.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.warning("waiting for another process, which prepares %s", output)
            lock.acquire()
        except NotImplementedError:
            log.warning("%s is on a file system without locks: let no other process prepare it", output)
    try:
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _finished(output: Path, request: str) -> Summary:
    """A look at a folder that was finished before."""
    folder = ShardFolder.open(str(output.absolute()), None, 1)
    if folder.index.get("request") != request:
        raise DataError(_other(output, f"finished shards of {folder.index.get('name')!r}"))
    for set_name in folder.set_names():
        folder.listing(set_name)
    shutil.rmtree(output / _PARTIAL, ignore_errors=True)
    return _summary(output, folder.index, 0)


def _begun(output: Path, request: str) -> Path:
    """The folder of what is not finished; what an interrupted process was writing is removed."""
    partial = output / _PARTIAL
    begun = partial / _REQUEST
    if begun.is_file():
        if begun.read_text() != request:
            raise DataError(_other(output, "an unfinished preparation"))
    elif strangers := sorted(path.name for path in output.glob("*.tar")):
        raise DataError(_other(output, f"files like {strangers[0]}"))
    else:
        atomic_write(begun, request.encode(), ELSEWHERE)
    with explained(partial, ELSEWHERE):
        for leftover in (*partial.glob("*.tmp"), *output.glob(".*.tmp")):
            leftover.unlink()
    return partial


def _other(output: Path, what: str) -> str:
    return (
        f"{output} holds {what}, made from other pictures, classes or options: set another {ELSEWHERE}, or delete that "
        "folder."
    )


def _summary(output: Path, index: dict[str, Any], written: int) -> Summary:
    entries = index["sets"]
    return Summary(
        output,
        {set_name: entry["pictures"] for set_name, entry in entries.items()},
        {set_name: entry["dropped"] for set_name, entry in entries.items()},
        sum(len(entry["shards"]) for entry in entries.values()),
        written,
        sum(entry["bytes"] for entry in entries.values()),
    )
