"""Histograms of ID scores against those of each OOD set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from torch import Tensor

from negprompt.errors import RunError
from negprompt.metrics.functional import Scores, auroc, fpr95_id_positive, id_threshold
from negprompt.reports.document import Plot
from negprompt.reports.figures.canvas import (
    BLUE,
    GREY,
    LARGE,
    PANEL,
    VERMILION,
    grid,
    label_columns,
    legend_below,
    plot,
    save,
)

NUM_BINS = 50

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
    measured = _measured(id_scores, ood_scores)
    save(_drawn(id_scores, ood_scores, measured, score_name, title), Path(path))


def histogram_plot(
    id_scores: Scores, ood_scores: Mapping[str, Scores], score_name: str, *, key: str, title: str
) -> Plot:
    """The same for a report.

    Args:
        id_scores: scores of ID images, 1-D, higher = more in-distribution.
        ood_scores: scores by name of the OOD set.
        score_name: for the axis.
        key: name of its files.
        title: for example method and benchmark.

    Raises:
        DataError: a list of scores is empty, or holds NaN or infinity.
        RunError: there is no OOD set.
    """
    measured = _measured(id_scores, ood_scores)
    sets = [
        f"{name}: median {np.median(_array(scores)):.4g}, {100 * rate:.1f} % of {len(scores)} pictures at or above the "
        f"threshold (FPR95), AUROC {100 * area:.1f} %"
        for (name, scores), (area, rate) in zip(ood_scores.items(), measured.values(), strict=True)
    ]
    return plot(
        _drawn(id_scores, ood_scores, measured, score_name, ""),
        key=key,
        title=title,
        caption=(
            f"Histograms of the score {score_name} (higher = more ID), each adding up to 100 %. FPR95 is the share of "
            "OOD pictures at or above the threshold that keeps 95 % of the ID pictures."
        ),
        description=(
            f"Histograms of {len(id_scores)} ID scores, median {np.median(_array(id_scores)):.4g}, threshold "
            f"{id_threshold(id_scores):.4g}, against each OOD set. {'; '.join(sets)}."
        ),
    )


def _measured(id_scores: Scores, ood_scores: Mapping[str, Scores]) -> dict[str, tuple[float, float]]:
    """AUROC and FPR95 against each OOD set."""
    if not ood_scores:
        message = "Histograms need at least one OOD set to draw ID scores against: choose one with ood=<name>."
        raise RunError(message)
    return {
        name: (auroc(id_scores, scores), fpr95_id_positive(id_scores, scores)) for name, scores in ood_scores.items()
    }


def _drawn(
    id_scores: Scores,
    ood_scores: Mapping[str, Scores],
    measured: Mapping[str, tuple[float, float]],
    score_name: str,
    title: str,
) -> Figure:
    threshold = id_threshold(id_scores)
    values = {name: _array(scores) for name, scores in ood_scores.items()}
    bins = _bins([_array(id_scores), *values.values()])
    figure, panels = grid(len(values))
    for panel, name in zip(panels, values, strict=True):
        _histogram(panel, _array(id_scores), bins, BLUE, "ID")
        _histogram(panel, values[name], bins, VERMILION, "OOD", dashes=(0, (3, 1)))
        panel.axvline(threshold, color=GREY, linestyle="-.", linewidth=1.5, label="threshold that keeps 95 % of ID")
        area, rate = measured[name]
        text = f"{name}: AUROC {100 * area:.1f}, FPR95 {100 * rate:.1f}"
        panel.set_title(text, fontsize=LARGE, parse_math=False)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6))
        panel.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    label_columns(panels, f"{score_name} score (higher = more ID)")
    figure.supylabel("share of pictures (%)", fontsize=PANEL)
    figure.suptitle(title, fontsize=LARGE + 1, parse_math=False)
    legend_below(figure, panels[0])
    return figure


def _array(scores: Scores) -> _Floats:
    return scores.detach().cpu().double().numpy() if isinstance(scores, Tensor) else scores.astype(np.float64)


def _bins(scores: Sequence[_Floats]) -> _Floats:
    """Edges of equal bins over all scores, also when all scores are equal."""
    low, high = min(float(s.min()) for s in scores), max(float(s.max()) for s in scores)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        margin = max(abs(low), 1.0) * 1e-3
        low, high = low - margin, high + margin
    return np.linspace(low, high, NUM_BINS + 1)


def _histogram(panel: Axes, values: _Floats, bins: _Floats, color: str, name: str, dashes: Any = "-") -> None:  # noqa: ANN401 -- as matplotlib takes it
    shares = 100 * np.histogram(values, bins)[0] / len(values)
    panel.stairs(shares, bins, fill=True, color=color, alpha=0.3)
    panel.stairs(shares, bins, color=color, linewidth=1.8, linestyle=dashes, label=name)
