"""Figures, drawn without a display and without matplotlib's global state, written whole or not at all.

The colours are blue and vermilion of Okabe and Ito's palette, which stay apart for all common kinds of colour vision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from torch import Tensor

from negprompt.errors import RunError
from negprompt.metrics.functional import Scores, auroc, fpr95_id_positive, id_threshold
from negprompt.reports.collect import MEAN, Statistic, SummaryRow, split_settings
from negprompt.runs.folder import atomic_write

BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#444444"
WIDTH, DPI = 12.0, 100  # 1200 pixels
NUM_BINS = 50
MAX_COLUMNS = 3
CHANCE = 50.0  # AUROC in percent

_Floats = npt.NDArray[np.float64]


def score_histograms(
    id_scores: Scores, ood_scores: Mapping[str, Scores], score_name: str, path: str | Path, *, title: str = ""
) -> None:
    """Draw ID scores against those of each OOD set: one panel a set, all with the same bins and axes.

    Args:
        id_scores: scores of ID images, 1-D, higher = more in-distribution.
        ood_scores: scores by name of the OOD set.
        score_name: for the axis.
        path: the PNG file to write.
        title: above all panels, for example method and benchmark.

    Raises:
        DataError: a list of scores is empty, or holds NaN or infinity.
        RunError: there is no OOD set, or the file cannot be written.
    """
    if not ood_scores:
        message = f"{path} needs at least one OOD set to draw ID scores against: choose one with ood=<name>."
        raise RunError(message)
    num_columns = 2 if len(ood_scores) == 4 else min(len(ood_scores), MAX_COLUMNS)
    num_rows = math.ceil(len(ood_scores) / num_columns)
    figure = Figure(figsize=(WIDTH, 1.5 + 2.9 * num_rows), dpi=DPI, layout="constrained")
    panels = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False).flatten()
    threshold = id_threshold(id_scores)
    values = {name: _array(scores) for name, scores in ood_scores.items()}
    bins = _bins([_array(id_scores), *values.values()])
    for panel, name in zip(panels, values, strict=False):
        _histogram(panel, _array(id_scores), bins, BLUE, "ID")
        _histogram(panel, values[name], bins, VERMILION, "OOD")
        panel.axvline(threshold, color=GREY, linestyle="--", linewidth=1.5, label="threshold that keeps 95 % of ID")
        area, rate = auroc(id_scores, values[name]), fpr95_id_positive(id_scores, values[name])
        panel.set_title(f"{name}: AUROC {100 * area:.1f}, FPR95 {100 * rate:.1f}", fontsize=13, parse_math=False)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6))
        panel.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
        plain_axes(panel)
    for panel in panels[len(values) :]:
        panel.set_visible(False)
    for panel in panels[: len(values)][-num_columns:]:  # the lowest visible one of each column
        panel.tick_params(labelbottom=True)
        panel.set_xlabel(f"{score_name} score (higher = more ID)", fontsize=12, parse_math=False)
    figure.supylabel("share of pictures (%)", fontsize=12)
    figure.suptitle(title, fontsize=14, parse_math=False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=12, frameon=False)
    save(figure, Path(path))


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
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=DPI, layout="constrained")
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


def _array(scores: Scores) -> _Floats:
    return scores.detach().cpu().double().numpy() if isinstance(scores, Tensor) else scores.astype(np.float64)


def _bins(scores: Sequence[_Floats]) -> _Floats:
    """Edges of equal bins over all scores, also when all scores are equal."""
    low, high = min(float(s.min()) for s in scores), max(float(s.max()) for s in scores)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        margin = max(abs(low), 1.0) * 1e-3
        low, high = low - margin, high + margin
    return np.linspace(low, high, NUM_BINS + 1)


def _histogram(panel: Axes, values: _Floats, bins: _Floats, color: str, name: str) -> None:
    shares = 100 * np.histogram(values, bins)[0] / len(values)
    panel.stairs(shares, bins, fill=True, color=color, alpha=0.3)
    panel.stairs(shares, bins, color=color, linewidth=1.8, label=name)


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


def plain_axes(panel: Axes) -> None:
    """Leave out what says nothing."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=11)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    atomic_write(path, lambda file: figure.savefig(file, format="png", dpi=DPI))
