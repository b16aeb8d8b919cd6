"""Rows of finished runs -> the tables, sentences and run notes of a report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from negprompt.reports.cells import percent
from negprompt.reports.collect import MEAN, SummaryRow
from negprompt.reports.document import Report, RunNote, Table
from negprompt.reports.find import Found
from negprompt.reports.further import ablation_table, cost_table, difference_table
from negprompt.reports.headline import headline
from negprompt.reports.illustrate import Illustrations
from negprompt.reports.selection import is_hard_split, main_setting
from negprompt.reports.standard import Choice, accuracy_table, hard_table, ood_table, splits_into
from negprompt.reports.systems import in_order, is_known, place_of
from negprompt.reports.uncertainty import interval_of_run
from negprompt.scores.headline import headline_score

MAX_INTERVALS = 100
"""Rows with one seed that get a bootstrap interval; each reads all its scores."""


def compared(rows: Sequence[SummaryRow]) -> list[SummaryRow]:
    """The systems of the paper and its rivals, and of methods that are none of them the score they are known for."""
    known = {row.method for row in rows if is_known(row)}
    others = headline([row for row in rows if row.method not in known])
    return [row for row in rows if is_known(row)] + others


def choice_of(rows: Sequence[SummaryRow], *, with_paper: bool) -> Choice:
    """What the tables of a report share, for its rows."""
    singles = {(row.runs, row.score): row for row in rows if len(row.seeds) == 1 and row.runs}
    allowed = set(list(singles)[:MAX_INTERVALS])

    @cache
    def interval(folder: str, score: str, sets: tuple[str, ...]) -> tuple[float, float] | None:
        return interval_of_run(folder, score, sets)

    def of_row(row: SummaryRow) -> tuple[float, float] | None:
        return interval(row.runs[0], row.score, row.ood_sets) if (row.runs, row.score) in allowed else None

    return Choice(main_setting(rows), with_paper, of_row)


def tables_of(rows: Sequence[SummaryRow], choice: Choice) -> list[Table]:
    """All tables that the rows have something for; the first is the main one."""
    benchmarks = [name for name, _ in Counter(row.benchmark for row in rows).most_common()]
    own, hard = splits_into(benchmarks)
    tables: list[Table | None] = []
    for name in own:
        for number, alike in enumerate(_same_sets([row for row in rows if row.benchmark == name])):
            table = ood_table(name, alike, choice) if alike else None
            tables.append(table if table is None or number == 0 else table._replace(key=f"{table.key}_{number + 1}"))
    tables += [hard_table(base, rows, choice) for base in hard]
    tables.append(accuracy_table(rows, choice))
    for name in own:
        alike = next(iter(_same_sets([row for row in rows if row.benchmark == name])), [])
        tables += [make(name, alike, choice) for make in (difference_table, ablation_table, cost_table)]
    return [table for table in tables if table is not None and table.rows]


def _same_sets(rows: Iterable[SummaryRow]) -> list[list[SummaryRow]]:
    """Rows by their OOD sets, those that most rows have first."""
    groups: dict[tuple[frozenset[str], frozenset[str]], list[SummaryRow]] = {}
    for row in rows:
        groups.setdefault((frozenset(row.ood_sets), frozenset(row.groups)), []).append(row)
    return sorted(groups.values(), key=len, reverse=True)


def report_of(
    title: str, found: Found, rows: Sequence[SummaryRow], choice: Choice, beside: Illustrations | None = None
) -> Report:
    """All of a report.

    Args:
        title: of the page.
        found: runs, and what was skipped.
        rows: those that tables show.
        choice: what the tables share.
        beside: figures, mistakes and words.
    """
    tables = tables_of(rows, choice)
    shown = beside or Illustrations()
    return Report(
        title,
        tuple(_sentences(found, rows)),
        tables[0].key if tables else "",
        (*tables, *shown.tables),
        plots=shown.plots,
        mistakes=shown.mistakes,
        words=shown.words,
        runs=tuple(run_note(run) for run in found.rows),
        skipped=(*found.skipped, *shown.skipped),
    )


def _sentences(found: Found, rows: Sequence[SummaryRow]) -> list[str]:
    benchmarks = list(dict.fromkeys(row.benchmark for row in rows))
    methods = list(dict.fromkeys(place_of(row).name for row in in_order(rows)))
    seeds = sorted({seed for row in rows for seed in row.seeds})
    sentences = [
        f"{len(found.rows)} finished runs on {_listed(benchmarks)} with {_listed(sorted({r.backbone for r in rows}))}, "
        f"seed{'s' if len(seeds) > 1 else ''} {_listed(map(str, seeds))}.",
        f"Systems: {_listed(methods)}.",
    ]
    for name in [one for one in benchmarks if not is_hard_split(one)][:3]:
        sentences += _best(name, [row for row in rows if row.benchmark == name])
    if found.skipped:
        sentences.append(f"{len(found.skipped)} folders were left out; the reasons stand at the end.")
    return sentences


def _best(benchmark: str, rows: Sequence[SummaryRow]) -> list[str]:
    """The system with the highest mean AUROC, and that without any learning, where there are both."""
    best = max(rows, key=lambda row: row.auroc[MEAN].mean)
    text = f"Best mean AUROC on {benchmark}: {_figures(best)}"
    plain = [row for row in rows if (row.method, row.score) == ("zero_shot", "mcm")]
    return [text + (f"; MCM without learning has {_figures(plain[0], named=False)}." if plain else ".")]


def _figures(row: SummaryRow, *, named: bool = True) -> str:
    name = f"{place_of(row).name} with " if named else ""
    return f"{name}{percent(row.auroc[MEAN].mean)} (FPR95 {percent(row.fpr95[MEAN].mean)})"


def _listed(words: Iterable[str]) -> str:
    *first, last = list(words) or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else last


def run_note(run: dict[str, object]) -> RunNote:
    """Folder, command, settings and headline results of a run."""
    folder = Path(str(run["run"]))
    try:
        kept = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = {}
    wanted = ("benchmark", "method", "backbone", "seed", "num_shots", "class_fraction", "num_negatives", "steps")
    settings = {name: str(run[name]) for name in wanted if run.get(name) is not None}
    settings |= {name: str(run[f"{name}_sha256"])[:12] for name in ("split", "weights")}
    settings |= {name: str(kept[name]) for name in ("device", "git_commit", "finished") if kept.get(name)}
    scores = run["scores"]
    assert isinstance(scores, dict)
    score = headline_score(scores)
    results = {"ID accuracy": f"{percent(float(str(run['id_accuracy'])))} %"}
    for name, value in scores[score].items():
        results[f"{score}, {name}"] = f"{percent(value['auroc'])} / {percent(value['fpr95_id_positive'])}"
    return RunNote(folder.as_posix(), folder.as_posix(), str(kept.get("command", "")), settings, results)
