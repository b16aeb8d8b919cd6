"""Pre-training shards: every usable drawing of the pre-training families, at most two per family and name."""

from __future__ import annotations

import json
import logging
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from drawings import Drawing, families, family_drawings, two_styles
from raster import IMAGE_SIZE, render, to_webp
from shards import Sample, content_sha256, write_shard
from source import PACKAGE, VERSION, read_icon

BUILD = Path(__file__).parent / "build"
SHARD_SIZE = 4096
COUNTRY_FLAG = "flag "
"""Emoji families name countries' flags so: left out, lest the far OOD set `flags` be known to the backbone."""

log = logging.getLogger(__name__)


def build_pretrain(workers: int = 2) -> None:
    """Write ``pretrain-*.tar``, then ``pretrain.json`` and the marker ``PRETRAIN_DONE``."""
    (BUILD / "PRETRAIN_DONE").unlink(missing_ok=True)
    drawings = sorted(_chosen(), key=lambda drawing: drawing.order)
    chunks = [drawings[start : start + SHARD_SIZE] for start in range(0, len(drawings), SHARD_SIZE)]
    # Drawings are rendered set by set (a set's json is large), then dealt to shards in random order.
    by_set = sorted(range(len(drawings)), key=lambda i: (drawings[i].prefix, i))
    pictures: dict[int, bytes | None] = {}
    with ProcessPoolExecutor(workers) as pool:
        blocks = [by_set[start : start + 1024] for start in range(0, len(by_set), 1024)]
        encoded = pool.map(_encode, [[drawings[i] for i in block] for block in blocks])
        for done, (block, webps) in enumerate(zip(blocks, encoded, strict=True), 1):
            pictures.update(zip(block, webps, strict=True))
            log.info("rendered %d of %d blocks", done, len(blocks))
    hashes = {}
    for number, chunk in enumerate(chunks):
        start = number * SHARD_SIZE
        webps = [pictures[start + offset] for offset in range(len(chunk))]
        samples = [
            Sample(f"pretrain-{start + offset:06d}", webp, drawing.record)
            for offset, (drawing, webp) in enumerate(zip(chunk, webps, strict=True))
            if webp is not None
        ]
        path = BUILD / f"pretrain-{number:06d}.tar"
        write_shard(path, samples)
        hashes[path.name] = {"count": len(samples), "content_sha256": content_sha256(samples)}
    drawn = [drawing for i, drawing in enumerate(drawings) if pictures[i] is not None]
    _write_summary(drawn, len(drawings) - len(drawn), hashes)
    (BUILD / "PRETRAIN_DONE").touch()


def _chosen() -> list[Drawing]:
    return [
        drawing
        for family in families("pretrain")
        for name, found in family_drawings(family).items()
        if not name.startswith(COUNTRY_FLAG)
        for drawing in two_styles(found)
    ]


def _encode(drawings: list[Drawing]) -> list[bytes | None]:
    pictures = (render(read_icon(drawing.prefix, drawing.icon)) for drawing in drawings)
    return [None if picture is None else to_webp(picture) for picture in pictures]


def _write_summary(drawn: list[Drawing], empty: int, shards: dict[str, dict[str, object]]) -> None:
    summary = {
        "schema": 1,
        "source": f"{PACKAGE} {VERSION}",
        "image_size": IMAGE_SIZE,
        "pictures": len(drawn),
        "names": len({drawing.name for drawing in drawn}),
        "family_name_pairs": len({(drawing.family, drawing.name) for drawing in drawn}),
        "empty_drawings_dropped": empty,
        "families": dict(sorted(Counter(drawing.family for drawing in drawn).items())),
        "shards": shards,
    }
    (BUILD / "pretrain.json").write_text(json.dumps(summary, indent=1) + "\n")
