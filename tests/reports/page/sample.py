"""A report with everything in it, from made-up numbers, and a large one; no number here was measured."""

from __future__ import annotations

import io
import math
import random

from PIL import Image, ImageDraw

from negprompt.reports.document import (
    Cell,
    Column,
    Mistake,
    Mistakes,
    Plot,
    Report,
    Row,
    RunNote,
    Table,
    Words,
)

OOD_SETS = ("iNaturalist", "SUN", "Places", "Texture")
METHODS = {
    "zero-shot methods": ("MCM", "Max-logit"),
    "prompt learning": ("CoOp", "LoCoOp"),
    "negative prompts": ("CLIPN", "NegPrompt"),
}
SEEDS = (1, 2, 3)
PICTURES_OF = ("acorn", "alarm clock", "anchor", "backpack", "bicycle", "candle")


def run_key(method: str, seed: int) -> str:
    return f"icons/{method.lower()}/tiny_rn/seed{seed}-{sum(map(ord, method)):04x}{seed:04x}"


def runs() -> tuple[RunNote, ...]:
    return tuple(
        RunNote(
            run_key(method, seed),
            f"runs/{run_key(method, seed)}",
            f"negprompt train method={method.lower()} data=icons backbone=tiny_rn seed={seed}",
            {"method": method.lower(), "backbone": "tiny_rn", "shots": "8", "seed": str(seed), "precision": "32"},
            {"AUROC, mean (%)": f"{88 + seed / 10:.1f}", "FPR95, mean (%)": "35.2", "ID accuracy (%)": "91.4"},
        )
        for methods in METHODS.values()
        for method in methods
        for seed in SEEDS
    )


def main_table() -> Table:
    """Table 2's form: AUROC and FPR95 of each OOD set and their mean."""
    columns = [Column("Method")]
    for name in (*OOD_SETS, "Mean"):
        columns += [Column("AUROC", name, "higher"), Column("FPR95", name, "lower")]
    rows = []
    for place, (group, methods) in enumerate(METHODS.items()):
        for method in methods:
            keys = tuple(run_key(method, seed) for seed in SEEDS)
            cells = [Cell(method, note="Its own score; see the score's page." if method == "CLIPN" else "")]
            for column in range(len(OOD_SETS) + 1):
                level = 86 + 4 * place + 1.3 * methods.index(method) + math.sin(3 * column + place)
                for value in (level, 2.5 * (100 - level)):
                    cells.append(Cell(f"{value:.1f} ± {0.1 + place / 10:.1f}", value, runs=keys))
            rows.append(Row(tuple(cells), group))
    # CLIPN has no number for one set; MCM needs one run only.
    rows[4] = rows[4]._replace(cells=(*rows[4].cells[:7], Cell("—", note="No run."), *rows[4].cells[8:]))
    single = tuple(cell._replace(runs=cell.runs[:1]) for cell in rows[0].cells)
    rows[0] = rows[0]._replace(cells=single)
    caption = (
        "Conventional OOD detection on four sets, percent, mean ± standard deviation over three seeds. "
        "FPR95: share of OOD pictures at or above the threshold that keeps 95 % of ID."
    )
    return Table("table2_conventional", "OOD detection", caption, tuple(columns), tuple(marked(rows)))


def marked(rows: list[Row]) -> list[Row]:
    """Mark the best and second best of each column: even columns hold FPR95, lower is better."""
    cells = [list(row.cells) for row in rows]
    for column in range(1, len(cells[0])):
        have = [row for row in cells if row[column].value is not None]
        ranked = sorted(have, key=lambda row: row[column].value, reverse=column % 2 == 1)
        for row, mark in zip(ranked, ("best", "second"), strict=False):
            row[column] = row[column]._replace(mark=mark)
    return [Row(tuple(new), row.group) for new, row in zip(cells, rows, strict=True)]


def shots_table() -> Table:
    """Two label columns, no heads, no groups, and numbers that sort unlike their texts."""
    columns = (Column("Method"), Column("Backbone"), Column("Shots"), Column("AUROC", better="higher"))
    rows = [
        Row(
            (
                Cell(method),
                Cell("tiny_rn"),
                Cell(str(shots), float(shots)),
                Cell(f"{80 + shots / 2:.1f}", 80 + shots / 2, runs=(run_key(method, 1),)),
            )
        )
        for method in ("CoOp", "NegPrompt")
        for shots in (1, 2, 4, 8, 16)
    ]
    return Table("shots", "Number of shots", "AUROC in percent, one seed.", columns, tuple(rows), labels=2)


def png(word: str, size: int = 64) -> bytes:
    picture = Image.new("RGB", (size, size), f"hsl({sum(map(ord, word)) * 37 % 360}, 55%, 70%)")
    ImageDraw.Draw(picture).ellipse((size // 4, size // 4, 3 * size // 4, 3 * size // 4), fill="white")
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return buffer.getvalue()


def plot(key: str, title: str, filler: int = 0) -> Plot:
    """A curve; its ids are the same in every figure, and its script must never run."""
    points = " ".join(f"{40 + 5 * x},{260 - 200 * (1 - math.exp(-x / 20)):.1f}" for x in range(100))
    svg = (
        '<?xml version="1.0" encoding="utf-8"?><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 300">'
        '<defs><clipPath id="c"><path d="M40 20H580V270H40Z"/></clipPath></defs>'
        f'<script>document.title = "broken"</script><path d="M40 20V270H580" fill="none" stroke="#444"/>'
        f'<polyline clip-path="url(#c)" points="{points}" fill="none" style="stroke: #0072B2; stroke-width: 4"/>'
        f"<!-- {'x' * filler} --></svg>"
    )
    caption = f"{title}: made-up points. The shaded band is the standard deviation over seeds."
    return Plot(
        key, title, caption, f"A curve that rises fast at first and levels off ({title}).", svg.encode(), png(key)
    )


def mistakes(method: str, number: int = 6) -> Mistakes:
    pictures = [
        Mistake(
            "id",
            "icons",
            f"{label}/{rank}.png",
            label,
            0.30 + 0.03 * rank,
            rank,
            "candle",
            "anchor",
            png(label + method),
        )
        for rank, label in enumerate(PICTURES_OF[:number], start=1)
    ]
    pictures += [
        Mistake(
            "ood",
            data_set,
            f"{data_set}/{rank}.png",
            "",
            0.62 - 0.05 * rank,
            rank,
            "acorn",
            "",
            png(f"{data_set}{rank}"),
        )
        for data_set in ("near", "logos")
        for rank in range(1, number + 1)
    ]
    return Mistakes(run_key(method, 1), "negprompt", 0.4213, tuple(pictures))


def words(method: str) -> tuple[Words, ...]:
    nearest = (("picture</w>", 0.412), ("of</w>", 0.377), ("zan", 0.301))
    run = run_key(method, 1)
    classes = (("bicycle", 0.83), ("backpack", 0.79))
    return (
        Words(run, "positive", (nearest,) * 4, (0.51, 0.4, None, 1.2), ()),
        Words(run, "negative 1", (nearest,) * 4, (0.9, 0.8, 0.7, 0.6), classes),
    )


def report() -> Report:
    """Build a small report with every part."""
    return Report(
        "Out-of-distribution detection on icons",
        (
            "Six methods, three seeds each, on the benchmark icons (20 classes, 8 shots) with the backbone tiny_rn.",
            "NegPrompt has the best mean AUROC of the six. All numbers on this page are made up.",
        ),
        "table2_conventional",
        (shots_table(), main_table()),
        (
            plot("shots", "AUROC against shots"),
            plot("roc", "ROC with the FPR95 point"),
            plot("tsne", "Prompts and pictures"),
        ),
        (mistakes("NegPrompt"), mistakes("CoOp")),
        words("NegPrompt"),
        runs(),
        (
            ("runs/icons/coop/tiny_rn/seed4-00000000", "no DONE: the run has not finished"),
            ("runs/notes", "no metrics.json"),
        ),
    )


def large() -> Report:
    """Build 60 rows of 30 columns, 20 figures of 100 kB and 60 pictures of 10 kB."""
    draw = random.Random(0)
    columns = (
        Column("Method"),
        *(Column(name, f"set {i}", "higher") for i in range(15) for name in ("AUROC", "AUPR")),
    )[:30]
    rows = []
    for number in range(60):
        keys = (run_key("CoOp", 1 + number % 3), run_key("NegPrompt", 1 + number % 3))
        values = [draw.uniform(50, 100) for _ in columns[1:]]
        cells = (Cell(f"method {number}"), *(Cell(f"{value:.1f} ± 0.3", value, runs=keys) for value in values))
        rows.append(Row(cells, f"group {number // 10}"))
    noise = Image.frombytes("RGB", (58, 58), draw.randbytes(58 * 58 * 3))
    buffer = io.BytesIO()
    noise.save(buffer, "png")
    pictures = tuple(
        Mistake("ood", "near", str(rank), "", 0.9, rank, "acorn", "", buffer.getvalue()) for rank in range(1, 61)
    )
    return report()._replace(
        main="large",
        tables=(Table("large", "Everything", "All of it.", columns, tuple(rows)),),
        plots=tuple(plot(f"figure{number}", f"Figure {number}", filler=98_000) for number in range(20)),
        mistakes=(Mistakes(run_key("CoOp", 1), "mcm", 0.5, pictures),),
    )
