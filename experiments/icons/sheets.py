"""Contact sheets of the shipped pictures: the lists were read by eye before they were frozen."""

from __future__ import annotations

import hashlib
import io
import json
from collections import defaultdict
from pathlib import Path

from benchmark import OOD_PARTS, RESOURCES
from PIL import Image, ImageDraw
from shards import Sample, read_shard

DOCS = Path(__file__).parents[2] / "docs" / "icons"
CELL, LABEL, WIDTH = 48, 104, 1200
CLASSES_PER_SHEET = 30
ROW_PARTS = {"id_train": 8, "id_val": 3, "id_test": 11}
"""Pictures of each part shown in a class's row."""
OOD_SHOWN = 150
COLOURS = 64
INTRODUCTION = """# The embedded benchmark `icons`, as pictures

Made by `python experiments/icons/build.py sheets` from the shipped shards. One row per class: few-shot pool,
validation, test (the first of each); every picture is unknown to the embedded backbones.

"""


def build_sheets() -> None:
    """Draw every sheet and the page that shows them with the counts."""
    DOCS.mkdir(parents=True, exist_ok=True)
    benchmark = json.loads((RESOURCES / "benchmark.json").read_text())
    shards = {name.removesuffix(".tar"): read_shard(RESOURCES / name) for name in benchmark["shards"]}
    page = [INTRODUCTION, "| shard | pictures | names |", "|---|---|---|"]
    page += [
        f"| `{part}` | {len(samples)} | {len({sample.record['name'] for sample in samples})} |"
        for part, samples in shards.items()
    ]
    names = benchmark["class_names"]
    for number, start in enumerate(range(0, len(names), CLASSES_PER_SHEET), 1):
        _save(_class_sheet(names[start : start + CLASSES_PER_SHEET], shards), f"id_{number}")
        page.append(f"\n## ID classes, {number}\n\n![ID classes](id_{number}.png)")
    for part in [*OOD_PARTS, "emoji_test"]:
        _save(_grid(sorted(shards[part], key=_shuffled)[:OOD_SHOWN]), part)
        page.append(f"\n## `{part}`\n\n![{part}]({part}.png)")
    (DOCS / "README.md").write_text("\n".join(page) + "\n")


def _shuffled(sample: Sample) -> str:
    return hashlib.sha256(sample.key.encode()).hexdigest()


def _class_sheet(names: list[str], shards: dict[str, list[Sample]]) -> Image.Image:
    rows: dict[str, dict[str, list[Sample]]] = {part: defaultdict(list) for part in ROW_PARTS}
    for part, by_name in rows.items():
        for sample in shards[part]:
            by_name[sample.record["name"]].append(sample)
    sheet = Image.new("RGB", (LABEL + CELL * sum(ROW_PARTS.values()) + 40, CELL * len(names)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(names):
        draw.text((2, row * CELL + CELL // 3), name, fill="black")
        left = LABEL
        for part, shown in ROW_PARTS.items():
            for column, sample in enumerate(rows[part][name][:shown]):
                _paste(sheet, sample, left + column * CELL, row * CELL)
            left += shown * CELL + 20
    return sheet


def _grid(samples: list[Sample]) -> Image.Image:
    columns, height = 15, CELL + 26
    width = WIDTH // columns
    sheet = Image.new("RGB", (WIDTH, height * -(-len(samples) // columns)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, sample in enumerate(samples):
        left, top = place % columns * width, place // columns * height
        _paste(sheet, sample, left, top)
        draw.text((left, top + CELL + 4), sample.record["name"].removeprefix("flag of ")[:13], fill="black")
    return sheet


def _paste(sheet: Image.Image, sample: Sample, left: int, top: int) -> None:
    picture = Image.open(io.BytesIO(sample.webp)).convert("RGB")
    sheet.paste(picture.resize((CELL - 4, CELL - 4), Image.Resampling.LANCZOS), (left, top))


def _save(sheet: Image.Image, name: str) -> None:
    sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(DOCS / f"{name}.png", optimize=True)
