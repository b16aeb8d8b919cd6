"""Webdataset shards whose bytes depend on their content only."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image


class Sample(NamedTuple):
    """One picture of a shard: key, encoded picture and what is known about it."""

    key: str
    webp: bytes
    record: dict[str, str]


def write_shard(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples in the order of their keys, with no trace of time, user or machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for sample in sorted(samples):
            _add(archive, f"{sample.key}.json", json.dumps(sample.record, ensure_ascii=False).encode())
            _add(archive, f"{sample.key}.webp", sample.webp)


def read_shard(path: Path) -> list[Sample]:
    """All samples of a shard, by key."""
    with tarfile.open(path) as archive:
        members = {member.name: archive.extractfile(member) for member in archive}
        content = {name: file.read() for name, file in members.items() if file is not None}
    keys = sorted(name.removesuffix(".json") for name in content if name.endswith(".json"))
    return [Sample(key, content[f"{key}.webp"], json.loads(content[f"{key}.json"])) for key in keys]


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content_sha256(samples: Iterable[Sample]) -> str:
    """Hash of keys, records and decoded pixels: equal whatever WebP encoder wrote the shard."""
    digest = hashlib.sha256()
    for sample in sorted(samples):
        pixels = Image.open(io.BytesIO(sample.webp)).convert("RGB").tobytes()
        digest.update(sample.key.encode() + json.dumps(sample.record, sort_keys=True).encode() + pixels)
    return digest.hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    archive.addfile(member, io.BytesIO(content))
