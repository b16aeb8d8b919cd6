"""AUROC and FPR95 against one setting: number of negatives, shots, share of classes, backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from negprompt.reports.collect import GROUP_KEYS, MEAN, Statistic, SummaryRow
from negprompt.reports.document import Plot
from negprompt.reports.figures.canvas import (
    GREY,
    LARGE,
    PANEL,
    canvas,
    legend_below,
    plain,
    plain_axes,
    plot,
    style,
)

Setting = Literal["num_negatives", "num_shots", "class_fraction", "backbone"]
SETTINGS: Mapping[Setting, str] = {
    "num_negatives": "negative prompts a class",
    "num_shots": "shots (pictures a class)",
    "class_fraction": "classes seen in training (%)",
    "backbone": "backbone",
}
_WIDE = 4
_Lines = dict[tuple[object, ...], list[SummaryRow]]


def setting_plots(rows: Sequence[SummaryRow], setting: Setting, *, key: str) -> list[Plot]:
    """One figure for each benchmark and choice of OOD sets where the setting has at least two values.

    Args:
        rows: of `collect.summary`; `headline` keeps those of the methods' own scores.
        setting: of the horizontal axis. Rows that differ in any other one are lines of their own.
        key: begin of the files' names.

    Returns:
        Nothing where no line has two values.
    """
    benchmarks: dict[tuple[str, tuple[str, ...]], list[SummaryRow]] = {}
    for row in rows:
        benchmarks.setdefault((row.benchmark, row.ood_sets), []).append(row)
    plots: list[Plot] = []
    done: list[str] = []
    for (benchmark, ood_sets), own in benchmarks.items():
        if lines := _lines(own, setting):
            name = f"{key}_{setting}_{benchmark}".replace(" ", "_")
            name += f"_{done.count(benchmark) + 1}" if benchmark in done else ""
            done.append(benchmark)
            plots.append(_plot(lines, _levels(own, lines, setting), setting, ood_sets, name))
    return plots


def _lines(rows: Sequence[SummaryRow], setting: Setting) -> _Lines:
    lines: _Lines = {}
    for row in rows:
        if setting != "num_negatives" or row.num_negatives:
            others = tuple(getattr(row, name) for name in (*GROUP_KEYS, "score", "variant") if name != setting)
            lines.setdefault(others, []).append(row)
    several = {others: own for others, own in lines.items() if len({getattr(row, setting) for row in own}) > 1}
    if setting == "backbone":
        return several
    return {others: sorted(own, key=lambda row: _value(row, setting)) for others, own in several.items()}


def _levels(rows: Sequence[SummaryRow], lines: _Lines, setting: Setting) -> list[SummaryRow]:
    """Methods without negatives, as level lines beside curves over their number."""
    if setting != "num_negatives":
        return []
    drawn = {(own[0].backbone, own[0].num_shots, own[0].class_fraction) for own in lines.values()}
    return [row for row in rows if not row.num_negatives and (row.backbone, row.num_shots, row.class_fraction) in drawn]


def _plot(lines: _Lines, levels: Sequence[SummaryRow], setting: Setting, ood_sets: Sequence[str], key: str) -> Plot:
    figure = canvas(4.9)
    panels = figure.subplots(1, 2)
    firsts = [own[0] for own in lines.values()]
    for panel, metric in zip(panels, ("auroc", "fpr95"), strict=True):
        _curves(panel, lines, metric, setting)
        for place, row in enumerate(levels):
            dashes = style(place + 1).dashes
            value = 100 * _statistic(row, metric).mean
            text = plain(f"{row.method}: {row.score} (no negatives)")
            panel.axhline(value, color=GREY, linestyle=dashes, linewidth=1.3, label=text)
        panel.set_xlabel(SETTINGS[setting], fontsize=PANEL)
        panel.grid(alpha=0.25)
        plain_axes(panel)
    panels[0].set_title("AUROC (%), higher is better", fontsize=LARGE)
    panels[1].set_title("FPR95 (%), lower is better", fontsize=LARGE)
    legend_below(figure, panels[0], columns=3)
    names = ", ".join(ood_sets)
    return plot(
        figure,
        key=key,
        title=f"{SETTINGS[setting]}: {firsts[0].benchmark}".capitalize(),
        caption=(
            f"Means over the OOD sets ({names if len(names) <= 60 else f'{len(ood_sets)} of them'}) and over seeds; "
            "bars are the standard deviation over seeds. FPR95: share of OOD pictures accepted where 95 % of ID "
            "pictures are."
        ),
        description=" ".join(
            f"{_label(own[0], firsts, setting)}: " + "; ".join(_said(row, setting) for row in own) + "."
            for own in lines.values()
        )
        + "".join(f" {row.method}, {row.score}, no negatives: {_numbers(row)}." for row in levels),
    )


def _curves(panel: Axes, lines: _Lines, metric: str, setting: Setting) -> None:
    firsts = [own[0] for own in lines.values()]
    values = list(dict.fromkeys(_value(row, setting) for own in lines.values() for row in own))
    by_name = setting == "backbone"
    for place, own in enumerate(lines.values()):
        look, statistics = style(place), [_statistic(row, metric) for row in own]
        shift = 0.08 * (place - (len(lines) - 1) / 2) if by_name else 0.0
        panel.errorbar(
            [values.index(_value(row, setting)) + shift if by_name else _value(row, setting) for row in own],
            [100 * one.mean for one in statistics],
            yerr=[100 * (one.std or 0.0) for one in statistics],
            color=look.color,
            marker=look.marker,
            linestyle="none" if by_name else look.dashes,
            markersize=8,
            capsize=4,
            linewidth=1.8,
            label=plain(_label(own[0], firsts, setting)),
        )
    if by_name:
        panel.set_xticks(range(len(values)), labels=[str(one) for one in values], parse_math=False)
        panel.set_xlim(-0.5, len(values) - 0.5)
        return
    numbers = sorted(float(one) for one in values)
    if numbers[0] > 0 and numbers[-1] / numbers[0] > _WIDE:
        panel.set_xscale("log", base=2)
        panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xticks(numbers, labels=[f"{one:g}" for one in numbers])


def _value(row: SummaryRow, setting: Setting) -> float | str:
    value: float | str = getattr(row, setting)
    return 100 * value if setting == "class_fraction" and not isinstance(value, str) else value


def _statistic(row: SummaryRow, metric: str) -> Statistic:
    statistic: Statistic = getattr(row, metric)[MEAN]
    return statistic


def _label(row: SummaryRow, rows: Sequence[SummaryRow], setting: Setting) -> str:
    """Method and score, and the settings in which the lines differ."""
    forms = {
        "backbone": row.backbone,
        "num_shots": f"{row.num_shots} shots",
        "class_fraction": f"{100 * row.class_fraction:g} % of classes",
        "num_negatives": f"{row.num_negatives} negatives",
        "variant": row.variant,
    }
    differing = [
        text for name, text in forms.items() if name != setting and getattr(row, name) and len(_values(rows, name)) > 1
    ]
    return ", ".join([f"{row.method}: {row.score}", *differing])


def _values(rows: Sequence[SummaryRow], name: str) -> set[object]:
    """Different values of a field; a method without shots or negatives does not make a difference."""
    return {getattr(row, name) for row in rows} - {None, 0}


def _said(row: SummaryRow, setting: Setting) -> str:
    value = _value(row, setting)
    return f"{value if isinstance(value, str) else format(value, 'g')} gives {_numbers(row)}"


def _numbers(row: SummaryRow) -> str:
    """Both metrics with their spread, and the number of seeds."""
    texts = []
    for name, one in (("AUROC", row.auroc[MEAN]), ("FPR95", row.fpr95[MEAN])):
        texts.append(f"{name} {100 * one.mean:.1f}" + ("" if one.std is None else f" ± {100 * one.std:.1f}") + " %")
    return f"{' and '.join(texts)} ({len(row.seeds)} {'seed' if len(row.seeds) == 1 else 'seeds'})"
