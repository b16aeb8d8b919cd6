"""Training curves: the terms of the loss, and the cosines that show whether the negatives keep apart."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from negprompt.errors import RunError
from negprompt.reports.document import Plot
from negprompt.reports.figures.canvas import LARGE, PANEL, SMALL, canvas, plain, plain_axes, plot, style
from negprompt.training.callbacks import Rows

_PREFIX = "train/"
_NAMES = {
    "loss": "loss (weighted sum)",
    "positive": "cross entropy of positives",
    "nis": "NIS",
    "npd": "NPD",
    "nnd": "NND",
    "nis_above_floor": "NIS above its floor",
    "ood": "entropy term of regions",
    "similarity_positive": "picture to nearest positive",
    "similarity_negative": "picture to nearest negative",
    "negatives_across_classes": "negatives of different classes (mean pairwise)",
    "accuracy": "accuracy on the batch",
    "irrelevant": "regions that show no class",
}
_COSINES = ("similarity_positive", "similarity_negative", "negatives_across_classes")
_SHARES = ("accuracy", "irrelevant")


def training_plot(rows: Rows, *, key: str, title: str) -> Plot:
    """Draw a run's metrics.csv; columns differ from method to method, and those that are there are drawn.

    Args:
        rows: one an epoch (`training.callbacks.from_csv`).
        key: name of its files.
        title: for example method and benchmark.

    Raises:
        RunError: there is no row, or no curve in it.
    """
    terms = list(dict.fromkeys(name.removeprefix(_PREFIX) for row in rows for name in row if name.startswith(_PREFIX)))
    if not terms:
        msg = "There is no training curve to draw: metrics.csv is empty, as after zero-shot runs."
        raise RunError(msg)
    groups = {
        "loss and its terms": [name for name in terms if name not in (*_COSINES, *_SHARES)],
        "cosines (means)": [name for name in terms if name in _COSINES],
        "shares (%)": [name for name in terms if name in _SHARES],
    }
    shown = {text: names for text, names in groups.items() if names}
    figure = canvas(4.6, width=5.2 * len(shown) + 0.4)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for panel, (text, names) in zip(panels, shown.items(), strict=True):
        _curves(panel, rows, names, 100.0 if names[0] in _SHARES else 1.0)
        panel.set_title(text, fontsize=LARGE)
    first, last = rows[0], rows[-1]
    said = [
        f"{_NAMES.get(name, name)} from {first[_PREFIX + name]:.3g} to {last[_PREFIX + name]:.3g}"
        for name in terms
        if _PREFIX + name in first and _PREFIX + name in last
    ]
    return plot(
        figure,
        key=key,
        title=title,
        caption=(
            "Means over each epoch, as the optimiser saw them. NND is the mean cosine between the negatives of one "
            "class, the last curve of the cosines that between negatives of different classes: near 1, they have "
            "become one direction."
            if "negatives_across_classes" in terms
            else "Means over each epoch, as the optimiser saw them."
        ),
        description=f"Curves over {int(last['step'])} steps, {len(rows)} epochs: {'; '.join(said)}.",
    )


def _curves(panel: Axes, rows: Rows, names: Sequence[str], factor: float) -> None:
    for place, name in enumerate(names):
        look, there = style(place), [row for row in rows if _PREFIX + name in row]
        panel.plot(
            [row["step"] for row in there],
            [factor * row[_PREFIX + name] for row in there],
            color=look.color,
            linestyle=look.dashes,
            marker=look.marker,
            markevery=max(1, len(there) // 8),
            markersize=6,
            linewidth=1.8,
            label=plain(_NAMES.get(name, name)),
        )
    panel.set_xlabel("optimiser steps", fontsize=PANEL)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    panel.grid(alpha=0.25)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=SMALL, frameon=False)
    plain_axes(panel)
