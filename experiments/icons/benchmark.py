"""Benchmark shards: ID pictures dealt to pool, validation and test, OOD sets with their validation twins, emoji."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

from copies import Found, find_pictures, shard_prints
from licences import write_licences
from names import names, wanted_pictures
from pretrain import BUILD
from raster import IMAGE_SIZE, to_webp
from shards import Sample, content_sha256, file_sha256, write_shard
from source import PACKAGE, VERSION

RESOURCES = Path(__file__).parents[2] / "src" / "negprompt" / "data" / "resources" / "icons"
SMALL_POOL, LARGE_POOL = 8, 16
MIN_VAL, MIN_TEST = 2, 6
OOD_PARTS = [f"{kind}_{part}" for kind in ("near", "symbols", "logos", "flags") for part in ("test", "val")]
WEBP_EFFORT = 6

log = logging.getLogger(__name__)


def build_benchmark() -> None:
    """Write the shards, ``benchmark.json``, ``LICENSES.md`` and the count of dropped near-duplicates."""
    shards = sorted(BUILD.glob("pretrain-*.tar"))
    if not (BUILD / "PRETRAIN_DONE").exists():
        raise FileNotFoundError("Near-duplicates need the pre-training shards: run the step `pretrain` first.")
    found, dropped = find_pictures(wanted_pictures(), shard_prints(shards))
    parts = _split_id([picture for picture in found if picture.part == "id"])
    for part in [*OOD_PARTS, "emoji_test"]:
        parts[part] = _limit(part, [picture for picture in found if picture.part == part])
    samples = _number(parts)
    for part, content in samples.items():
        write_shard(RESOURCES / f"{part}.tar", content)
        log.info("%s: %d pictures", part, len(content))
    (RESOURCES / "benchmark.json").write_text(_dump(_describe(samples)))
    write_licences(RESOURCES / "LICENSES.md", samples)
    (BUILD / "dropped.json").write_text(_dump(dropped))


def split_sizes(count: int) -> tuple[int, int, int]:
    """How many of a class's drawings go to the few-shot pool, validation and test.

    An eighth validates; the pool takes 16 where at least 8 stay for the test, else 8; the test gets the rest.

    Example:
        >>> split_sizes(16), split_sizes(40)
        ((8, 2, 6), (16, 5, 19))

    Raises:
        ValueError: if the drawings don't suffice for 8 + 2 + 6.
    """
    val = max(MIN_VAL, round(count / 8))
    train = LARGE_POOL if count - val >= LARGE_POOL + SMALL_POOL else SMALL_POOL
    if count - val - train < MIN_TEST:
        raise ValueError(f"{count} drawings are too few for {SMALL_POOL} + {MIN_VAL} + {MIN_TEST}")
    return train, val, count - val - train


def _split_id(found: list[Found]) -> dict[str, list[Found]]:
    by_name = _by_name(found)
    parts: dict[str, list[Found]] = {"id_train": [], "id_val": [], "id_test": []}
    for name in names()["id"]:
        pictures = by_name[name]
        try:
            train, val, _ = split_sizes(len(pictures))
        except ValueError as error:
            raise ValueError(f"Class {name!r}: {error}; take it out of names.json") from error
        parts["id_train"] += pictures[:train]
        parts["id_val"] += pictures[train : train + val]
        parts["id_test"] += pictures[train + val :]
    return parts


def _limit(part: str, found: list[Found]) -> list[Found]:
    kind, split = part.split("_")
    limits = names()["limits"][kind]
    few = [picture for pictures in _by_name(found).values() for picture in pictures[: limits["per_name"]]]
    chosen = sorted(few, key=lambda picture: picture.drawing.order)[: limits[split]]
    return sorted(chosen, key=lambda picture: (picture.name, picture.drawing.order))


def _by_name(found: list[Found]) -> dict[str, list[Found]]:
    """Pictures of each name in the fixed random order of their addresses."""
    grouped: dict[str, list[Found]] = defaultdict(list)
    for picture in sorted(found, key=lambda picture: picture.drawing.order):
        grouped[picture.name].append(picture)
    return grouped


def _number(parts: dict[str, list[Found]]) -> dict[str, list[Sample]]:
    """Give every picture a key that is unique in the whole benchmark, such as ``light-bulb-0007``."""
    counts: dict[str, int] = defaultdict(int)
    samples: dict[str, list[Sample]] = {}
    for part, pictures in parts.items():
        samples[part] = []
        for picture in pictures:
            kind = part.split("_")[0]
            slug = "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in picture.name).split())
            stem = slug if kind in ("id", "near") else f"{kind}-{slug}"
            record = picture.drawing._replace(name=picture.name).record
            samples[part].append(Sample(f"{stem}-{counts[stem]:04d}", to_webp(picture.picture, WEBP_EFFORT), record))
            counts[stem] += 1
    return samples


def _describe(samples: dict[str, list[Sample]]) -> dict[str, Any]:
    classes = names()["id"]
    in_pool = [sample.record["name"] for sample in samples["id_train"]]
    return {
        "schema": 1,
        "source": f"{PACKAGE} {VERSION}",
        "image_size": IMAGE_SIZE,
        "class_names": list(classes),
        "wordnet_ids": [entry["wordnet_id"] for entry in classes.values()],
        "shards": {f"{part}.tar": _describe_shard(part, content) for part, content in samples.items()},
        "pool": {name: in_pool.count(name) for name in classes},
        "hard_splits": names()["hard_splits"],
    }


def _describe_shard(part: str, content: list[Sample]) -> dict[str, Any]:
    path = RESOURCES / f"{part}.tar"
    return {
        "count": len(content),
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
        "content_sha256": content_sha256(content),
    }


def _dump(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
