"""Fig. 3 of the paper: how near pictures of each set are to their nearest positive and negative prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from negprompt.errors import RunError
from negprompt.metrics.intervals import Interval, over_images, over_seeds
from negprompt.reports.document import Plot
from negprompt.reports.figures.canvas import (
    BLUE,
    GREEN,
    GREY,
    LARGE,
    PANEL,
    SMALL,
    VERMILION,
    canvas,
    plain_axes,
    plot,
)
from negprompt.types import NearestPrompts

Intervals = dict[str, dict[str, Interval]]
"""Kind of prompts -> test set -> mean largest cosine."""

_KINDS = ("positive", "negative")


def similarities(runs: Sequence[Mapping[str, NearestPrompts]], *, seed: int = 0) -> Intervals:
    """Mean largest cosine of each test set to both kinds of prompts, with its 95 % interval.

    Args:
        runs: nearest prompts by test set (`Split.test_sets`) of one run, or of one run a seed.
        seed: of the bootstrap over pictures, where there is one run.

    Returns:
        Without "negative" where the runs have no negative prompts.

    Raises:
        RunError: there is no run, or runs were tested on different sets.
    """
    if not runs or any(list(run) != list(runs[0]) for run in runs):
        msg = "Fig. 3 needs at least one run, and the same test sets for all: evaluate them on the same ood=<name>."
        raise RunError(msg)
    found: Intervals = {}
    for kind in _KINDS:
        for name in runs[0]:
            cosines = [getattr(run[name], kind) for run in runs]
            if any(one is None for one in cosines):
                continue
            values = [one.double().numpy() for one in cosines]
            several = len(values) > 1
            interval = (
                over_seeds(np.array([one.mean() for one in values])) if several else over_images(values[0], seed=seed)
            )
            found.setdefault(kind, {})[name] = interval
    return found


def similarity_plot(runs: Sequence[Mapping[str, NearestPrompts]], *, key: str, title: str, seed: int = 0) -> Plot:
    """Draw `similarities`: one panel a kind of prompts, one line a test set.

    Args:
        runs: nearest prompts by test set (`Split.test_sets`) of one run, or of one run a seed.
        key: name of its files.
        title: for example method and benchmark.
        seed: of the bootstrap over pictures, where there is one run.

    Raises:
        RunError: there is no run, or runs were tested on different sets.
    """
    found = similarities(runs, seed=seed)
    names = list(runs[0])
    figure = canvas(1.3 + 0.5 * len(names), width=6.0 * len(found))
    panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for panel, (kind, of_sets) in zip(panels, found.items(), strict=True):
        _panel(panel, of_sets)
        panel.set_title(f"to the nearest {kind} prompt", fontsize=LARGE)
        panel.set_xlabel("cosine (mean of the largest)", fontsize=PANEL)
    panels[0].set_yticks(range(len(names)), labels=[label(name) for name in names], fontsize=PANEL, parse_math=False)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    over = f"Student's t over {len(runs)} seeds" if len(runs) > 1 else "bootstrap over pictures"
    said = [
        f"{kind} prompts: " + ", ".join(f"{label(name)} {one.mean:.3f}" for name, one in of_sets.items())
        for kind, of_sets in found.items()
    ]
    return plot(
        figure,
        key=key,
        title=title,
        caption=(
            "Mean of each picture's largest cosine to a prompt, with 95 % intervals "
            f"({over}); the dotted line is the ID set's. The paper's Fig. 3 shows ID pictures nearer to the positive "
            "prompts and OOD pictures nearer to the negative ones."
        ),
        description=f"Mean largest cosines with 95 % intervals ({over}). {'; '.join(said)}.",
    )


def label(name: str) -> str:
    """A test set's name as on the axis.

    Example:
        >>> label("id"), label("ood/near"), label("shifted/sketch")
        ('ID', 'near (OOD)', 'sketch (shifted ID)')
    """
    side, _, own = name.partition("/")
    return {"id": "ID", "ood": f"{own} (OOD)", "shifted": f"{own} (shifted ID)"}.get(side, name)


def _panel(panel: Axes, of_sets: Mapping[str, Interval]) -> None:
    for row, (name, one) in enumerate(of_sets.items()):
        side = name.partition("/")[0]
        color, marker = {"id": (BLUE, "o"), "ood": (VERMILION, "s")}.get(side, (GREEN, "^"))
        spread = [[one.mean - one.low], [one.high - one.mean]]
        panel.errorbar(one.mean, row, xerr=spread, fmt=marker, color=color, markersize=9, capsize=5, linewidth=2)
        panel.annotate(
            f"{one.mean:.3f}", (one.mean, row), (0, 9), textcoords="offset points", ha="center", fontsize=SMALL
        )
        if side == "id":
            panel.axvline(one.mean, color=GREY, linewidth=1, linestyle=":")
    panel.margins(x=0.12)
    plain_axes(panel)
