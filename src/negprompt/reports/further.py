"""Tables beside the paper's first three: what one setting changes (Table 5), what a method costs, how sure a gap is."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from negprompt.reports.cells import NOTHING, marked, number_cell, seeds_cell
from negprompt.reports.collect import MEAN, SummaryRow
from negprompt.reports.document import Cell, Column, Row, Table
from negprompt.reports.selection import (
    BACKBONE,
    CLASSES,
    NEGATIVES,
    SHOTS,
    Change,
    changed,
    has_setting,
)
from negprompt.reports.standard import CAPTION, Choice, setting_text
from negprompt.reports.systems import LEARNED, in_order, is_known, place_of
from negprompt.reports.uncertainty import paired

_GIGABYTE = 1e9
_STAGES = ("one_stage", "negprompt_paper", "negprompt_official_code", "negprompt")


def ablation_table(benchmark: str, rows: Sequence[SummaryRow], choice: Choice) -> Table | None:
    """What backbone, number of negatives, number of stages, shots and share of the classes change (Table 5).

    Returns:
        None where no run varies any of them.
    """
    groups = [
        ("backbone", changed(rows, choice.setting, BACKBONE), BACKBONE),
        ("negatives a class", changed(rows, choice.setting, NEGATIVES), NEGATIVES),
        ("one stage or two", _stages(rows, choice), None),
        ("shots", changed(rows, choice.setting, SHOTS), SHOTS),
        ("share of the classes learned on", changed(rows, choice.setting, CLASSES), CLASSES),
    ]
    found = [row for _, members, _ in groups for row in members]
    if not found:
        return None
    sets = (*found[0].ood_sets, MEAN)
    columns = [Column("system"), Column("value")]
    for name in sets:
        columns += [Column("AUROC", name, "higher"), Column("FPR95", name, "lower")]
    columns += [Column("ID accuracy", "", "higher"), Column("seeds")]
    lines: list[Row] = []
    for title, members, change in groups:
        wanted = {seed for row in members for seed in row.seeds}
        part = []
        for row in members:
            cells = [Cell(_system(row, change)), _value(row, change)]
            for name in sets:
                cells += [number_cell(row.auroc[name], row.runs), number_cell(row.fpr95[name], row.runs)]
            cells += [number_cell(row.id_accuracy, row.runs), seeds_cell(row.seeds, wanted)]
            part.append(Row(tuple(cells), title))
        lines += marked(columns, part)
    title = f"One thing changed, on {benchmark}{setting_text(choice.setting)}"
    caption = f"{CAPTION} Best and second best within a group."
    return Table(f"table5_{benchmark}", title, caption, tuple(columns), tuple(lines), 2)


def _stages(rows: Sequence[SummaryRow], choice: Choice) -> list[SummaryRow]:
    """NegPrompt in one stage and in two, where there are both."""
    alike = [
        row
        for row in rows
        if row.method in _STAGES and row.score == "negprompt" and has_setting(row, choice.setting)
        if row.class_fraction == 1
    ]
    return in_order(alike) if {"one_stage"} < {row.method for row in alike} else []


def _system(row: SummaryRow, change: Change | None) -> str:
    name = place_of(row._replace(class_fraction=1.0) if change is CLASSES else row).name
    return f"{name} ({row.variant})" if row.variant else name


def _value(row: SummaryRow, change: Change | None) -> Cell:
    if change is None:
        return Cell("one" if row.method == "one_stage" else "two")
    value = change.value(row)
    if change is CLASSES:
        return Cell(f"{100 * value:g} %", value)
    return Cell(str(value), None if isinstance(value, str) else float(value))


def cost_table(benchmark: str, rows: Sequence[SummaryRow], choice: Choice) -> Table | None:
    """Seconds, steps and memory of each method beside what they buy; None where no run says what it cost."""
    chosen = in_order([row for row in rows if has_setting(row, choice.setting) and is_known(row)])
    columns = (
        Column("system"),
        Column("seconds", "training", "lower"),
        Column("steps", "training"),
        Column("seconds", "test"),
        Column("memory, GB", "", "lower"),
        Column("AUROC", MEAN, "higher"),
        Column("device"),
    )
    lines = []
    for row in chosen:
        costs = [cost for run in row.runs if (cost := _cost(Path(run))) is not None]
        if not costs:
            continue
        mean = {name: statistics.fmean(values) for name, values in _columns(costs).items()}
        cells = (
            Cell(_system(row, None)),
            Cell(f"{mean['training']:.0f}", mean["training"], runs=row.runs) if "training" in mean else NOTHING,
            Cell(f"{mean['steps']:.0f}", mean["steps"], runs=row.runs) if "steps" in mean else NOTHING,
            Cell(f"{mean['evaluation']:.1f}", mean["evaluation"], runs=row.runs) if "evaluation" in mean else NOTHING,
            Cell(f"{mean['memory']:.2f}", mean["memory"], runs=row.runs) if "memory" in mean else NOTHING,
            number_cell(row.auroc[MEAN], row.runs),
            Cell(", ".join(sorted({cost["device"] for cost in costs}))),
        )
        lines.append(Row(cells, place_of(row).group))
    if not lines:
        return None
    caption = (
        "Means over seeds of what runs recorded themselves (provenance.json). Training of stage 1 is a run of its own "
        "and not counted in stage 2; features that were stored before cost nothing here. Memory is the most that the "
        "process had in RAM, or on the accelerator where there was one. Times depend on the machine and its other work."
    )
    title = f"Cost on {benchmark}{setting_text(choice.setting)}"
    return Table(f"cost_{benchmark}", title, caption, columns, tuple(lines))


def _columns(costs: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    names = ("training", "steps", "evaluation", "memory")
    return {name: values for name in names if (values := [cost[name] for cost in costs if cost.get(name)])}


def _cost(run: Path) -> dict[str, Any] | None:
    """What a run recorded of its cost."""
    try:
        kept = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
        steps = json.loads((run / "metrics.json").read_text(encoding="utf-8")).get("steps")
        memory = kept.get("peak_memory_bytes", {})
        most = memory.get("device") or memory.get("process")
    except (OSError, ValueError, AttributeError):
        return None
    return {
        **kept.get("seconds", {}),
        "steps": steps,
        "memory": None if most is None else most / _GIGABYTE,
        "device": str(kept.get("device", "?")),
    }


def difference_table(benchmark: str, rows: Sequence[SummaryRow], choice: Choice) -> Table | None:
    """Every system against the one with the best mean AUROC among those with learned prompts, paired over seeds.

    Returns:
        None where fewer than two systems have two seeds.
    """
    chosen = in_order([row for row in rows if has_setting(row, choice.setting) and len(row.seeds) > 1])
    learned = [row for row in chosen if place_of(row).group == LEARNED] or chosen
    if len(chosen) < 2:
        return None
    best = max(learned, key=lambda row: row.auroc[MEAN].mean)
    columns = (
        Column("system"),
        *(Column(name, head) for head in ("AUROC", "FPR95") for name in ("difference", "95 % interval", "p")),
        Column("seeds"),
    )
    lines = []
    for row in chosen:
        if row is best:
            continue
        cells, seeds = [Cell(_system(row, None))], 0
        for rate in ("auroc", "fpr95"):
            ours = {seed: values[rate] for seed, values in best.by_seed.items()}
            gap = paired(ours, {seed: values[rate] for seed, values in row.by_seed.items()})
            if gap is None:
                cells += [NOTHING, NOTHING, NOTHING]
                continue
            seeds = gap.seeds
            cells += [
                Cell(f"{100 * gap.mean:+.1f}", gap.mean, runs=(*best.runs, *row.runs)),
                Cell(f"{100 * gap.low:+.1f} to {100 * gap.high:+.1f}"),
                Cell(f"{gap.p_value:.3f}", gap.p_value),
            ]
        lines.append(Row((*cells, Cell(str(seeds), float(seeds))), place_of(row).group))
    title = f"{_system(best, None)} minus every other system, on {benchmark}{setting_text(choice.setting)}"
    caption = (
        "Mean difference over the seeds that both have, in points of percent; interval and p-value of the paired "
        "t-test. A seed draws the training pictures and starts the prompts; test pictures are the same for all seeds. "
        "No correction for the number of comparisons."
    )
    return Table(f"differences_{benchmark}", title, caption, columns, tuple(lines))
