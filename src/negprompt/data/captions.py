"""Pictures with captions in webdataset shards: what a text tower is trained on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from negprompt.data.listing import Listing
from negprompt.data.looked import Corrupt, looked_at
from negprompt.data.own_shards import contents_of, scanned
from negprompt.data.shards.scan import CAPTION
from negprompt.data.strings import Strings
from negprompt.errors import DataError

_SHARDS_AT_ONCE = 16


class Captions(NamedTuple):
    """Pairs of all shards: `pictures` in the shards' order, `texts` about them, `shard_of` (N,) where each lies."""

    pictures: Listing
    texts: Strings
    shard_of: npt.NDArray[np.int64]

    def text(self, row: int) -> str:
        """Caption of a picture."""
        return self.texts[int(self.pictures.class_of[row])]

    def sha256(self) -> str:
        """Hash of all pairs in their order, whatever their shards are called: other pairs train another tower."""
        digest = hashlib.sha256()
        known = self.pictures.contents.known
        for row in range(len(self.pictures)):
            digest.update(b"" if known is None else known[row].tobytes())
            digest.update(self.text(row).encode() + b"\n")
        return digest.hexdigest()

    def order(self, seed: int, epoch: int) -> npt.NDArray[np.int64]:
        """Rows (N,) of an epoch: shards in random order, pairs shuffled over sixteen of them at a time.

        So far shards are fetched (or read from a slow disk) one after the other, and each pair comes once an epoch.
        """
        random = np.random.default_rng([seed, epoch])
        present = np.unique(self.shard_of)
        shards = present[random.permutation(len(present))]
        groups = [shards[start : start + _SHARDS_AT_ONCE] for start in range(0, len(shards), _SHARDS_AT_ONCE)]
        return np.concatenate([random.permutation(np.flatnonzero(np.isin(self.shard_of, group))) for group in groups])


def load_captions(spec: str, cache_dir: Path | None, cache_gb: float, corrupt: Corrupt) -> Captions:
    """Look at the shards once; what was seen is remembered in the cache.

    Args:
        spec: folder, file, glob or brace pattern, URL or `pipe:` command, several with `::` between them. A sample has
            a picture, and a caption in `.txt`, or as `caption` or `name` in `.json`.
        cache_dir: where to remember, and to keep copies of remote shards.
        cache_gb: most that these copies may have together.
        corrupt: `skip` decodes every picture once and leaves out those that cannot be.

    Raises:
        DataError: a shard is missing or damaged, or a sample has no caption; names shard and sample.
    """
    scans = scanned(spec, "method.captions", CAPTION, cache_dir, cache_gb)
    contents = contents_of(scans, cache_dir, cache_gb)
    if not len(contents):
        msg = f"method.captions={spec}: there is no picture in these shards."
        raise DataError(msg)
    # No classes: the place of the caption stands there, which survives that corrupt pictures are left out.
    everything = Listing(contents.keys, (), np.arange(len(contents), dtype=np.int32), contents)
    pictures = looked_at(everything, "captions", cache_dir, corrupt)
    texts = Strings.of(text for _, one in scans for text in one.labels)
    return Captions(pictures, texts, contents.members.shard[pictures.class_of])
