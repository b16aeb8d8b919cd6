"""Bars of methods side by side: mean AUROC and FPR95, with the spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from negprompt.errors import RunError
from negprompt.reports.collect import MEAN, Statistic, SummaryRow, split_settings
from negprompt.reports.figures.canvas import BLUE, VERMILION, canvas, plain_axes, save

CHANCE = 50.0  # AUROC in percent


def comparison_bars(summary: Sequence[SummaryRow], path: str | Path) -> None:
    """Draw the mean AUROC and FPR95 over the OOD sets of each method and score, with the spread over seeds.

    AUROC bars start at chance and FPR95 bars at 0, so that lengths may be compared.

    Args:
        summary: rows of `negprompt.reports.collect.summary`.
        path: the PNG file to write.

    Raises:
        RunError: there are no rows, or the file cannot be written.
    """
    groups: dict[tuple[str, tuple[str, ...]], list[SummaryRow]] = {}
    for row in summary:
        groups.setdefault((row.benchmark, row.ood_sets), []).append(row)
    if not groups:
        message = f"{path} needs at least one finished run to draw."
        raise RunError(message)
    heights = [1.3 + 0.5 * len(rows) for rows in groups.values()]
    figure = canvas(sum(heights))
    panels = figure.subplots(len(groups), 2, squeeze=False, height_ratios=heights)
    for (left, right), ((benchmark, ood_sets), rows) in zip(panels, groups.items(), strict=True):
        _bars(left, _labels(rows), [row.auroc[MEAN] for row in rows], BLUE, CHANCE)
        _bars(right, [""] * len(rows), [row.fpr95[MEAN] for row in rows], VERMILION, 0.0)
        left.set_title(f"{benchmark}: AUROC (%), higher is better", fontsize=13, parse_math=False)
        right.set_title("FPR95 (%), lower is better", fontsize=13)
        names = ", ".join(ood_sets)
        over = f"mean over {names if len(names) <= 40 else f'{len(ood_sets)} OOD sets'}"
        left.set_xlabel(f"{over}; {CHANCE:.0f} is chance", fontsize=12, parse_math=False)
        right.set_xlabel(over, fontsize=12, parse_math=False)
    save(figure, Path(path))


def _bars(panel: Axes, labels: Sequence[str], values: Sequence[Statistic], color: str, start: float) -> None:
    means = np.array([100 * value.mean for value in values])
    spreads = np.array([100 * (value.std or 0.0) for value in values])
    rows = np.arange(len(values))
    panel.barh(rows, means - start, left=start, color=color, alpha=0.75, height=0.65)
    seen = spreads > 0
    panel.errorbar(means[seen], rows[seen], xerr=spreads[seen], fmt="none", ecolor="black", capsize=4)
    low = min(start, 10 * math.floor((means - spreads).min() / 10))
    ends = np.maximum(means + spreads, start)
    width = 100 - low if start == CHANCE else float(ends.max())  # AUROC panels share one scale
    for row, value in enumerate(values):
        spread = "" if value.std is None else f" ± {100 * value.std:.1f}"
        panel.text(ends[row] + 0.02 * width, row, f"{100 * value.mean:.1f}{spread}", va="center", fontsize=12)
    panel.set_xlim(low, low + 1.26 * width)
    panel.set_xticks([tick for tick in MaxNLocator(nbins=6).tick_values(low, low + width) if low <= tick <= 100])
    margin = 0.5 if len(values) > 1 else 1.0
    panel.set_ylim(len(values) - 1 + margin, -margin)
    panel.set_yticks(rows, labels=list(labels), fontsize=12)
    panel.tick_params(axis="y", length=0)
    plain_axes(panel)


def _labels(rows: Sequence[SummaryRow]) -> list[str]:
    _, differing = split_settings(rows)
    labels = []
    for i, row in enumerate(rows):
        settings = ", ".join(f"{name} {values[i]}" for name, values in differing.items() if values[i] != "")
        labels.append(f"{row.method}: {row.score}" + (f"\n{settings}" if settings else ""))
    return labels
