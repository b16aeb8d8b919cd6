"""ROC curves: how many OOD pictures are accepted with how many ID pictures, one curve an OOD set."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from negprompt.errors import RunError
from negprompt.metrics.functional import Roc, Scores, auroc, fpr95_id_positive, id_threshold, roc_curve
from negprompt.reports.document import Plot
from negprompt.reports.figures.canvas import GREY, PANEL, SMALL, canvas, plain, plain_axes, plot, style

STEPS = 300
"""A curve is drawn to 1/300 of either axis, which is less than a line's width, however many pictures it is of."""


def thinned(curve: Roc, steps: int = STEPS) -> Roc:
    """Those points of a curve that lie in another field of a `steps` x `steps` grid than the point before them.

    At most 2 * steps + 2 points are left, the ends among them, and none that is left out lies further than 1/steps
    from one that is drawn, along each axis.
    """
    fields = np.stack([np.floor(curve.ood * steps), np.floor(curve.id * steps)])
    moved = np.append(True, (np.diff(fields, axis=1) != 0).any(axis=0))
    before = np.append(moved[1:], True)  # the last point of each field, so that no corner is cut
    kept = moved | before
    return Roc(curve.ood[kept], curve.id[kept])


def roc_plot(id_scores: Scores, ood_scores: Mapping[str, Scores], score_name: str, *, key: str, title: str) -> Plot:
    """One curve an OOD set, with the point where 95 % of ID pictures are accepted.

    Args:
        id_scores: scores of ID images, 1-D, higher = more in-distribution.
        ood_scores: scores by name of the OOD set.
        score_name: for the caption.
        key: name of its files.
        title: for example method and benchmark.

    Raises:
        DataError: a list of scores is empty, or holds NaN or infinity.
        RunError: there is no OOD set.
    """
    if not ood_scores:
        message = "ROC curves need at least one OOD set: choose one with ood=<name>."
        raise RunError(message)
    figure = canvas(6.6, width=7.2)
    panel = figure.subplots()
    panel.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle=(0, (1, 3)))
    panel.annotate("chance", (52, 50), rotation=45, color=GREY, fontsize=SMALL, ha="left", va="top")
    threshold, said = id_threshold(id_scores), []
    kept = 100 * float((id_scores >= threshold).sum()) / len(id_scores)
    panel.axhline(kept, color=GREY, linewidth=1, linestyle="--")
    for place, (name, scores) in enumerate(ood_scores.items()):
        look, curve = style(place), thinned(roc_curve(id_scores, scores))
        area, rate = 100 * auroc(id_scores, scores), 100 * fpr95_id_positive(id_scores, scores)
        label = plain(f"{name}: AUROC {area:.1f}, FPR95 {rate:.1f}")
        panel.plot(100 * curve.ood, 100 * curve.id, color=look.color, linestyle=look.dashes, linewidth=2)
        panel.plot(rate, kept, look.marker, color=look.color, markersize=10, markeredgecolor="white", zorder=3)
        panel.plot([], [], color=look.color, linestyle=look.dashes, linewidth=2, marker=look.marker, label=label)
        said.append(f"{name}: AUROC {area:.1f} %, FPR95 {rate:.1f} %")
    panel.set(xlim=(-1, 101), ylim=(-1, 101), aspect="equal")
    panel.set_xlabel("OOD pictures accepted (%)", fontsize=PANEL)
    panel.set_ylabel("ID pictures accepted (%)", fontsize=PANEL)
    panel.legend(loc="lower right", fontsize=SMALL, frameon=False)
    plain_axes(panel)
    return plot(
        figure,
        key=key,
        title=title,
        caption=(
            f"ROC curves of the score {score_name}, ID as the positive class. The marks on the dashed line are the "
            "points of FPR95: the OOD pictures that are accepted where 95 % of the ID pictures are."
        ),
        description=(
            f"One ROC curve for each OOD set, against {len(id_scores)} ID pictures. {'; '.join(said)}. Chance is an "
            "AUROC of 50 %."
        ),
    )
