"""webdataset shards: read, checked against their listed hash, never half (the only file that imports webdataset)."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import webdataset

from negprompt.errors import DataError


class ShardSample(NamedTuple):
    """One picture of a shard: unique key, encoded bytes, the fields of its json."""

    key: str
    encoded: bytes
    fields: dict[str, Any]


def read_shard(path: Path, sha256: str | None = None, image_extension: str = "webp") -> list[ShardSample]:
    """Read all samples of a tar shard into memory (encoded, not decoded).

    Args:
        path: tar file with `key.<image_extension>` and `key.json` for each sample.
        sha256: expected hash of the file, None to skip that check.
        image_extension: ending of the pictures.

    Raises:
        DataError: the shard is missing, truncated, altered, or a sample lacks its picture or json.
    """
    if not path.is_file():
        msg = f"Shard {path} is missing: install the package again, or point data.root at the shards."
        raise DataError(msg)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 is not None and found != sha256:
        msg = (
            f"Shard {path} is damaged or was altered (sha256 {found[:12]}..., expected {sha256[:12]}...): "
            "install the package again, or build the shards again."
        )
        raise DataError(msg)
    dataset = webdataset.WebDataset(  # a list, since braces in a bare path would be expanded
        [str(path)], shardshuffle=False, empty_check=False, nodesplitter=list, handler=webdataset.reraise_exception
    )
    try:
        samples = [_sample(path, raw, image_extension) for raw in dataset]
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        reason = str(error.args[0] if error.args else error).partition(" @ <")[0]  # webdataset adds its objects
        msg = f"Shard {path} cannot be read ({reason}): copy or build it again."
        raise DataError(msg) from error
    keys = Counter(sample.key for sample in samples)
    if twice := [key for key, count in keys.items() if count > 1]:
        msg = f"Shard {path} holds several samples of one key ({', '.join(twice[:5])}): build the shard again."
        raise DataError(msg)
    return samples


def _sample(path: Path, raw: dict[str, Any], image_extension: str) -> ShardSample:
    key = raw["__key__"]
    for extension in (image_extension, "json"):
        if extension not in raw:
            msg = f"Sample {key!r} of shard {path} has no .{extension} member: build the shard again."
            raise DataError(msg)
    return ShardSample(key, raw[image_extension], json.loads(raw["json"]))
