"""AUROC against what a run costs: one point a run, one marker a method."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from matplotlib.ticker import NullLocator

from negprompt.reports.collect import MEAN
from negprompt.reports.document import Plot
from negprompt.reports.figures.canvas import PANEL, canvas, legend_below, plain, plain_axes, plot, style
from negprompt.scores.headline import headline_score

log = logging.getLogger(__name__)

Measure = Literal["seconds", "steps"]
_AXES = {"seconds": "training (seconds)", "steps": "training (optimiser steps)"}
_FACTOR = 20


class Cost(NamedTuple):
    """A run: its benchmark and method, the mean AUROC of its headline score (a fraction), and its cost."""

    benchmark: str
    method: str
    auroc: float
    cost: float


def costs(rows: Iterable[Mapping[str, Any]], measure: Measure) -> list[Cost]:
    """Cost of each run, that of its stage 1 included.

    Args:
        rows: of `negprompt.reports.collect.collect`.
        measure: seconds of training from provenance.json, or optimiser steps from metrics.json.

    Returns:
        Runs whose cost is not known are left out, with a line in the log: without provenance, or with positive
        prompts of a run that is not among the rows.
    """
    runs = list(rows)
    own = {(Path(row["run"]).name, row["backbone"]): _own(row, measure) for row in runs}
    found = []
    for row in runs:
        parts = [own[Path(row["run"]).name, row["backbone"]]]
        if row.get("positive_prompts") is not None:
            parts.append(own.get((row["positive_prompts"], row["backbone"])))
        if any(part is None for part in parts):
            log.warning("%s: its training %s, or those of its stage 1, are not known: left out", row["run"], measure)
            continue
        area = row["scores"][headline_score(row["scores"])][MEAN]["auroc"]
        found.append(Cost(row["benchmark"], row["method"], area, sum(part for part in parts if part is not None)))
    return found


def cost_plots(runs: Sequence[Cost], measure: Measure, *, key: str) -> list[Plot]:
    """One scatter a benchmark.

    Args:
        runs: from `costs`.
        measure: what `cost` is.
        key: begin of the files' names.

    Returns:
        Nothing for a benchmark where there is but one method to look at.
    """
    plots = []
    for benchmark in dict.fromkeys(run.benchmark for run in runs):
        own = [run for run in runs if run.benchmark == benchmark]
        if len({run.method for run in own}) > 1:
            plots.append(_plot(own, measure, f"{key}_{measure}_{benchmark}".replace(" ", "_")))
    return plots


def _plot(runs: Sequence[Cost], measure: Measure, key: str) -> Plot:
    figure = canvas(5.4, width=8.0)
    panel, said = figure.subplots(), []
    for place, method in enumerate(dict.fromkeys(run.method for run in runs)):
        own, look = [run for run in runs if run.method == method], style(place)
        areas, spent = [100 * run.auroc for run in own], [run.cost for run in own]
        panel.scatter(spent, areas, c=look.color, marker=look.marker, s=80, edgecolor="white", label=plain(method))
        number = "1 run" if len(own) == 1 else f"{len(own)} runs"
        said.append(f"{method} ({number}): AUROC {_range(areas, '.1f')} %, {_range(spent, '.4g')} {measure}")
    above = [run.cost for run in runs if run.cost > 0]
    if above and max(above) > _FACTOR * min(above):
        panel.set_xscale("symlog", linthresh=min(above) / 2)
        panel.set_xlim(-min(above) / 8, 1.4 * max(above))
        ticks = [0.0, *(one for one in _round_numbers() if min(above) / 2 <= one <= max(above))]
        panel.set_xticks(ticks, labels=[f"{one:,.10g}" for one in ticks])
        panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel(f"{_AXES[measure]}, stage 1 included", fontsize=PANEL)
    panel.set_ylabel("AUROC (%), mean over the OOD sets", fontsize=PANEL)
    panel.grid(alpha=0.25)
    panel.set_axisbelow(True)
    plain_axes(panel)
    legend_below(figure, panel, columns=4)
    return plot(
        figure,
        key=key,
        title=f"AUROC against training {measure}: {runs[0].benchmark}",
        caption=(
            "One point a run, each with the score its method is known for. Cost is training alone: image features, "
            "which all methods share, and tests are not in it; stage 1 is, also where several runs share one. What "
            "CLIPN and ZOC learn from captions, once for all benchmarks, is not counted."
        ),
        description=f"AUROC against {measure} of {len(runs)} runs. {'; '.join(said)}.",
    )


def _round_numbers() -> list[float]:
    """1, 2, 5, 10, ... of all sizes that a training may have."""
    return [digit * 10.0**power for power in range(-3, 9) for digit in (1, 2, 5)]


def _own(row: Mapping[str, Any], measure: Measure) -> float | None:
    if measure == "steps":
        return float(row["steps"])
    try:
        provenance = json.loads((Path(row["run"]) / "provenance.json").read_text(encoding="utf-8"))
        return float(provenance["seconds"].get("training", 0.0))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _range(values: Sequence[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
