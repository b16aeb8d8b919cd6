"""Finished runs -> tables shaped like the paper's Tables 2, 3 and 5: python experiments/compare/tables.py RUNS."""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from negprompt.reports.collect import collect

HERE = Path(__file__).parent


class System(NamedTuple):
    """One row of the paper: a name, and the runs and the score that stand behind it."""

    name: str
    method: str
    score: str
    class_fraction: float = 1.0
    num_negatives: int | None = 2


GROUPS = {
    "hand-written prompts": (
        System("MCM", "zero_shot", "mcm"),
        System("MSP", "zero_shot", "msp"),
        System("MaxLogit", "zero_shot", "max_logit"),
        System("Energy", "zero_shot", "energy"),
        System("ReAct", "zero_shot", "react"),
        System("ODIN", "zero_shot", "odin"),
        System("GL-MCM", "zero_shot", "gl_mcm"),
        System("CLIPN (ATD)", "clipn", "atd"),
        System("ZOC", "zoc", "zoc"),
    ),
    "learned prompts": (
        System("CoOp", "coop", "mcm"),
        System("LoCoOp", "locoop", "gl_mcm"),
        System("one stage", "one_stage", "negprompt"),
        System("NegPrompt, the paper's equations", "negprompt_paper", "negprompt"),
        System("NegPrompt, the official code", "negprompt_official_code", "negprompt"),
        System("NegPrompt, this project's default", "negprompt", "negprompt"),
    ),
    "learned on a tenth of the classes": (
        System("CoOp (10 %)", "coop", "mcm", 0.1),
        System("LoCoOp (10 %)", "locoop", "gl_mcm", 0.1),
        System("NegPrompt (10 %)", "negprompt", "negprompt", 0.1),
    ),
}
NEGATIVES = tuple(
    System(f"NegPrompt, {number} negative{'s' * (number > 1)}", "negprompt", "negprompt", 1.0, number)
    for number in (1, 2, 3, 5)
)
SETS = ("near", "symbols", "logos", "flags", "mean")
SPLITS = tuple(f"icons_hard_{number}" for number in range(1, 5))
Row = dict[str, Any]


def values_of(runs: Iterable[Mapping[str, Any]], system: System, benchmark: str) -> dict[int, Mapping[str, Any]]:
    """By seed: the metrics of a system's score on one benchmark, with the ID accuracy beside them."""
    found: dict[int, Mapping[str, Any]] = {}
    for run in runs:
        wanted = (benchmark, system.method, system.class_fraction)
        if (run["benchmark"], run["method"], run["class_fraction"]) != wanted or system.score not in run["scores"]:
            continue
        if run["num_negatives"] not in (None, 0, system.num_negatives):
            continue
        values = {**run["scores"][system.score], "id_accuracy": run["id_accuracy"]}
        if found.setdefault(run["seed"], values) != values:
            raise SystemExit(f"{run['run']} and another run of {system.name} on {benchmark} differ.")
    return found


def rows_of(runs: list[dict[str, Any]], system: System, group: str) -> list[Row]:
    """One row for every OOD set: means and standard deviations over seeds, fractions."""
    rows = []
    for benchmark in ("icons", *SPLITS):
        found = values_of(runs, system, benchmark)
        for ood in (*SETS,) if benchmark == "icons" else ("mean",):
            if not found:
                continue
            row: Row = {"group": group, "system": system.name, "benchmark": benchmark, "ood": ood}
            for name, key in (("auroc", "auroc"), ("fpr95", "fpr95_id_positive")):
                numbers = [values[ood][key] for values in found.values()]
                row[name] = statistics.fmean(numbers)
                row[f"{name}_std"] = statistics.stdev(numbers) if len(numbers) > 1 else None
            row["id_accuracy"] = statistics.fmean(values["id_accuracy"] for values in found.values())
            row["seeds"] = len(found)
            rows.append(row)
    return rows


def cell(rows: Iterable[Row], system: str, benchmark: str, ood: str = "mean") -> str:
    """AUROC / FPR95 in percent, a dash where there is no run."""
    for row in rows:
        if (row["system"], row["benchmark"], row["ood"]) == (system, benchmark, ood):
            return f"{100 * row['auroc']:.1f} / {100 * row['fpr95']:.1f}"
    return "–"


def about(rows: Iterable[Row], system: str) -> tuple[str, str]:
    """ID accuracy on icons in percent, and the number of seeds."""
    for row in rows:
        if (row["system"], row["benchmark"]) == (system, "icons"):
            return f"{100 * row['id_accuracy']:.1f}", str(row["seeds"])
    return "–", "0"


def table(title: str, heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Markdown; a line with one cell is a group's name."""
    heads = list(heads)
    text = [f"**{title}**", "", f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for line in lines:
        cells = list(line)
        text.append(f"| {' | '.join(cells + [''] * (len(heads) - len(cells)))} |")
    return "\n".join([*text, ""])


def tables(rows: list[Row]) -> str:
    """All of them: AUROC / FPR95 in percent, means over seeds."""
    conventional: list[list[str]] = []
    splits: list[list[str]] = []
    for group, systems in GROUPS.items():
        for lines in (conventional, splits):
            lines.append([f"*{group}*"])
        for system in systems:
            accuracy, seeds = about(rows, system.name)
            conventional.append(
                [system.name, *(cell(rows, system.name, "icons", ood) for ood in SETS), accuracy, seeds]
            )
            if system.class_fraction == 1:
                cells = [cell(rows, system.name, split) for split in SPLITS]
                splits.append([system.name, *cells, mean_of(rows, system.name)])
    splits = [line for line in splits if line != ["*learned on a tenth of the classes*"]]
    ablation = [
        [system.name, *(cell(rows, system.name, "icons", ood) for ood in SETS), *about(rows, system.name)]
        for system in NEGATIVES
    ]
    return "\n".join(
        [
            table("Conventional OOD sets (as Table 2)", ["icons", *SETS, "ID accuracy", "seeds"], conventional),
            table("Hard splits (as Table 3)", ["", *(name[-1] for name in SPLITS), "mean"], splits),
            table("Number of negatives (as Table 5)", ["icons", *SETS, "ID accuracy", "seeds"], ablation),
        ]
    )


def mean_of(rows: Iterable[Row], system: str) -> str:
    """AUROC / FPR95 over the four splits."""
    found = [row for row in rows if row["system"] == system and row["benchmark"] in SPLITS]
    if len(found) < len(SPLITS):
        return "–"
    auroc, fpr95 = (100 * statistics.fmean(row[key] for row in found) for key in ("auroc", "fpr95"))
    return f"{auroc:.1f} / {fpr95:.1f}"


def main() -> None:
    """Write results.csv and results.md, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    runs = [run for run in collect(parser.parse_args().runs) if run["benchmark"] in ("icons", *SPLITS)]
    systems = [(system, group) for group, members in GROUPS.items() for system in members]
    systems += [(system, "number of negatives") for system in NEGATIVES]
    rows = [row for system, group in systems for row in rows_of(runs, system, group)]
    with (HERE / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (HERE / "results.md").write_text(tables(rows))
    print(tables(rows))


if __name__ == "__main__":
    main()
