"""What a search found: one line while it runs, a table, a csv and a figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich import box
from rich.markup import escape
from rich.table import Table

from negprompt.reports.figures.canvas import BLUE, DPI, GREY, VERMILION, WIDTH, plain_axes, save
from negprompt.search.outcome import DIRECTIONS, Trial
from negprompt.search.space import Value

_PANEL_HEIGHT, _COLUMNS = 3.0, 3
_NOTES = ("auroc", "fpr95_id_positive", "id_accuracy")


def progress(trial: Trial, best: Trial | None, total: int, metric: str) -> str:
    """One line on a trial that ended: its value in percent and the best so far.

    Args:
        trial: the one that ended.
        best: of all that are done, None where there is none.
        total: trials of the whole search.
        metric: that it follows.
    """
    head = f"trial {trial.number + 1}/{total}"
    seconds = f"{trial.notes.get('seconds', 0):.0f} s"
    if trial.value is None:
        return escape(f"{head}  failed: {trial.error}  {_settings(trial)}  {seconds}")
    of_best = f" (best {100 * best.value:.2f}, trial {best.number + 1})" if best and best.value is not None else ""
    return escape(f"{head}  {metric} {100 * trial.value:.2f}{of_best}  {_settings(trial)}  {seconds}")


def ranked(trials: Sequence[Trial], metric: str) -> list[Trial]:
    """Best value first; those that failed or run at the end."""
    sign = -1 if DIRECTIONS[metric] == "maximize" else 1
    return sorted(trials, key=lambda trial: (trial.value is None, sign * (trial.value or 0.0), trial.number))


def trials_table(trials: Sequence[Trial], metric: str) -> Table:
    """All trials, best first, values in percent."""
    table = Table(box=box.SIMPLE)
    for name in ("trial", metric, *trials[0].params):
        table.add_column(name.rpartition(".")[2] if name != metric else name, justify="right")
    for trial in ranked(trials, metric):
        value = trial.state if trial.value is None else f"{100 * trial.value:.2f}"
        table.add_row(str(trial.number + 1), value, *(escape(_short(one)) for one in trial.params.values()))
    return table


def trials_csv(trials: Sequence[Trial], names: Sequence[str], metric: str) -> str:
    """All trials, best first, with fractions, exact settings and the folders of their runs.

    Args:
        trials: of a search.
        names: settings that vary, for the columns.
        metric: that it follows.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    others = [name for name in _NOTES if name != metric]
    writer.writerow(["trial", "state", metric, *others, *names, "seconds", "error", "runs"])
    for trial in ranked(trials, metric):
        means = trial.notes.get("metrics", {})
        writer.writerow(
            [
                trial.number + 1,
                trial.state,
                "" if trial.value is None else trial.value,
                *(means.get(name, "") for name in others),
                *(trial.params[name] for name in names),
                trial.notes.get("seconds", ""),
                trial.error,
                " ".join(trial.notes.get("runs", [])),
            ]
        )
    return buffer.getvalue()


def trials_figure(trials: Sequence[Trial], metric: str, log_scaled: Collection[str], path: Path) -> None:
    """Draw values in the order of the trials, with the best so far, and against each setting.

    Args:
        trials: of a search, at least one of them done.
        metric: that it follows.
        log_scaled: settings with a logarithmic axis.
        path: the PNG file to write.
    """
    done = [trial for trial in trials if trial.value is not None]
    values = np.array([100 * (trial.value or 0.0) for trial in done])
    names = list(trials[0].params)
    num_rows = -(-(1 + len(names)) // _COLUMNS)
    figure = Figure(figsize=(WIDTH, 0.6 + _PANEL_HEIGHT * num_rows), dpi=DPI, layout="constrained")
    history, *panels = figure.subplots(num_rows, _COLUMNS, sharey=True, squeeze=False).flatten()
    best = np.maximum.accumulate(values) if DIRECTIONS[metric] == "maximize" else np.minimum.accumulate(values)
    numbers = [trial.number + 1 for trial in done]
    history.step(numbers, best, where="post", color=VERMILION, label="best so far")
    _points(history, numbers, values, "trial")
    history.legend(fontsize=11, frameon=False)
    for panel, name in zip(panels, names, strict=False):
        settings = [trial.params[name] for trial in done]
        numeric = all(isinstance(one, int | float) and not isinstance(one, bool) for one in settings)
        _points(panel, settings if numeric else list(map(_short, settings)), values, name)
        if name in log_scaled:
            panel.set_xscale("log")
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    figure.supylabel(f"{metric} (%), validation pictures", fontsize=12)
    save(figure, path)


def _points(panel: Axes, x: Sequence[Any], values: npt.NDArray[np.float64], label: str) -> None:
    panel.scatter(x, values, color=BLUE, edgecolors=GREY, linewidths=0.5, alpha=0.8)
    panel.set_xlabel(label, fontsize=12, parse_math=False)
    if all(isinstance(one, int) for one in x):
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain_axes(panel)


def _settings(trial: Trial) -> str:
    return " ".join(f"{name}={_short(value)}" for name, value in trial.params.items())


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "null" if value is None else str(value)
