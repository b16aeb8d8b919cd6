"""What all figures share: colours, plain axes, and how a figure becomes a file or a `Plot`.

Figures are drawn without a display and without matplotlib's global state. The colours are Okabe and Ito's, which stay
apart for all common kinds of colour vision; lines differ in marker and dashes as well, for print without colours.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from negprompt.reports.document import Plot
from negprompt.runs.folder import atomic_write

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    "#444444",
)
WIDTH, DPI = 12.0, 100  # 1200 pixels
PANEL, SMALL, LARGE = 12, 11, 13
"""Sizes of text, in points."""

_MAX_COLUMNS = 3
_COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, "black", SKY)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))


class Style(NamedTuple):
    """How one line is told from the others: colour, marker and dashes, each enough by itself for the first five."""

    color: str
    marker: str
    dashes: Any


def style(place: int) -> Style:
    """Of the line at a place, from 0."""
    return Style(_COLORS[place % len(_COLORS)], _MARKERS[place % len(_MARKERS)], _DASHES[place % len(_DASHES)])


def canvas(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of a size in inches."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def plain_axes(panel: Axes) -> None:
    """Leave out what says nothing."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=SMALL)


def grid(count: int, panel_height: float = 2.9) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels on common axes, row by row; places that are left over stay empty."""
    num_columns = 2 if count == 4 else min(count, _MAX_COLUMNS)
    num_rows = math.ceil(count / num_columns)
    figure = canvas(1.5 + panel_height * num_rows)
    panels = list(figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False).flatten())
    for panel in panels[count:]:
        panel.set_visible(False)
    for panel in panels[:count]:
        plain_axes(panel)
    for panel in panels[:count][-num_columns:]:  # the lowest visible one of each column
        panel.tick_params(labelbottom=True)
    return figure, panels[:count]


def label_columns(panels: Sequence[Axes], text: str) -> None:
    """Name the axis below the lowest panel of each column of a `grid`."""
    for panel in panels:
        if panel.xaxis.get_tick_params()["labelbottom"]:
            panel.set_xlabel(text, fontsize=PANEL, parse_math=False)


def legend_below(figure: Figure, panel: Axes, columns: int | None = None) -> None:
    """One legend for all panels, of the lines of one of them."""
    handles, labels = panel.get_legend_handles_labels()
    where = {"loc": "outside lower center", "fontsize": PANEL, "frameon": False}
    figure.legend(handles, labels, ncols=columns or len(labels), **where)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    atomic_write(path, lambda file: figure.savefig(file, format="png", dpi=DPI))


def plot(figure: Figure, *, key: str, title: str, caption: str, description: str) -> Plot:
    """A figure in both forms; equal figures give equal bytes.

    Args:
        figure: finished.
        key: name of its files.
        title: above it.
        caption: below it.
        description: what is seen, in words and numbers, for who cannot see it.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # it stays as it is, and is not computed for each form again
    # Ids inside an SVG are random without a salt; one of its own keeps those of two figures on a page apart.
    with mpl.rc_context({"svg.hashsalt": key, "svg.fonttype": "path"}):
        svg = _bytes(figure, "svg", {"Date": None, "Creator": None})
    return Plot(key, title, caption, description, svg, _bytes(figure, "png", {"Software": None}))


def plain(text: str) -> str:
    """A name for a legend, whose texts matplotlib would read as formulas."""
    return text.replace("$", r"\$")


def listed(words: Sequence[str]) -> str:
    """Words as in a sentence.

    Example:
        >>> listed(["near", "logos", "flags"])
        'near, logos and flags'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _bytes(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)  # type: ignore[arg-type]  # None leaves a field out
    return buffer.getvalue()
