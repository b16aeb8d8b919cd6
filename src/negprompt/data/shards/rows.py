"""`<set>.npz`: where each picture of a set lies in its shards."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from negprompt.data.contents import Digests
from negprompt.data.listing import Listing
from negprompt.data.shards.packing import ELSEWHERE, Packed, Plan
from negprompt.data.strings import Strings
from negprompt.runs.folder import atomic_write

log = logging.getLogger(__name__)


def write_rows(output: Path, set_name: str, listing: Listing, shards: Sequence[tuple[Plan, Packed]]) -> dict[str, Any]:
    """Write the rows of a set in the order of its listing, without the pictures that were left out.

    Args:
        output: folder of the shards.
        set_name: of the set.
        listing: its pictures.
        shards: in the order of their numbers.

    Returns:
        The set's entry of the index.
    """
    columns = {key: np.zeros(len(listing), np.int64) for key in ("shard", "offset", "size")}
    sha256: Digests = np.zeros((len(listing), 32), np.uint8)
    kept = np.zeros(len(listing), bool)
    for number, (_, packed) in enumerate(shards):
        kept[packed.rows] = True
        columns["shard"][packed.rows] = number
        columns["offset"][packed.rows] = packed.offset
        columns["size"][packed.rows] = packed.size
        sha256[packed.rows] = packed.sha256
    _say_dropped(set_name, listing, np.flatnonzero(~kept))
    keys = (
        Strings.of(listing.keys) if kept.all() else Strings.of(listing.keys[int(row)] for row in np.flatnonzero(kept))
    )
    arrays: dict[str, Any] = {key: column[kept] for key, column in columns.items()}
    arrays |= {"sha256": sha256[kept], "class_of": listing.class_of[kept].astype(np.int32)}
    arrays |= {"keys": keys.blob, "key_ends": keys.ends}
    path = output / rows_name(set_name)
    atomic_write(path, lambda file: np.savez(file, **arrays), ELSEWHERE)
    with path.open("rb") as file:
        rows_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    files = [
        {
            "name": plan.name,
            "bytes": packed.bytes_,
            "pictures": len(packed.rows),
            "sha256": packed.digest.tobytes().hex(),
        }
        for plan, packed in shards
    ]
    return {
        "rows": path.name,
        "rows_sha256": rows_sha256,
        "classes": list(listing.classes),
        "pictures": int(kept.sum()),
        "dropped": int((~kept).sum()),
        "dropped_by_class": dict(Counter(listing.classes[place] for place in listing.class_of[~kept] if place >= 0)),
        "bytes": sum(packed.bytes_ for _, packed in shards),
        "shards": files,
    }


def _say_dropped(set_name: str, listing: Listing, rows: npt.NDArray[np.int64]) -> None:
    for row in map(int, rows[:5]):
        log.warning("left out: picture %r of %s (%s)", listing.keys[row], set_name, listing.contents.place(row))
    if len(rows):
        log.warning("%s: %d of %d pictures cannot be decoded and are left out", set_name, len(rows), len(listing))


def rows_name(set_name: str) -> str:
    """Name of the file with the rows of a set.

    Example:
        >>> rows_name("ood/inaturalist")
        'ood-inaturalist.npz'
    """
    return f"{set_name.replace('/', '-')}.npz"
