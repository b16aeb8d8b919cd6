"""The figures of a report, the hardest mistakes and the learned words: of the best runs, and of all runs together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import NegPromptError
from negprompt.reports.collect import MEAN, SummaryRow
from negprompt.reports.document import Cell, Column, Mistakes, Plot, Row, Table, Words
from negprompt.reports.figures.cost import cost_plots, costs
from negprompt.reports.figures.histograms import histogram_plot
from negprompt.reports.figures.roc import roc_plot
from negprompt.reports.figures.setting import SETTINGS, setting_plots
from negprompt.reports.figures.similarity import Intervals, label, similarities, similarity_plot
from negprompt.reports.figures.training import training_plot
from negprompt.reports.figures.tsne import Sample, tsne_plot
from negprompt.reports.mistakes import hardest_mistakes
from negprompt.reports.scored import read_scores
from negprompt.reports.selection import Setting, has_setting, is_hard_split
from negprompt.reports.systems import LEARNED, place_of
from negprompt.reports.words import learned_words, vocabulary_of
from negprompt.training.callbacks import from_csv
from negprompt.types import NearestPrompts, PromptBundle, Split, TextFeatures

log = logging.getLogger(__name__)

MAX_BENCHMARKS, MAX_SEEDS = 4, 5


class Bench(Protocol):
    """Backbone and pictures of a run."""

    backbone: FrozenBackbone
    split: Split


class Opened(Protocol):
    """A run that can be looked into; each part is computed when it is first asked for."""

    @property
    def bench(self) -> Bench:
        """Backbone and pictures."""

    @property
    def bundle(self) -> PromptBundle:
        """Its prompts."""

    @property
    def text(self) -> TextFeatures:
        """Features of the prompts of all classes."""

    @property
    def train_text(self) -> TextFeatures:
        """Those of the classes that training saw."""

    @property
    def images(self) -> Mapping[str, Tensor]:
        """Features of the pictures, by test set."""

    @property
    def nearest(self) -> Mapping[str, NearestPrompts]:
        """Nearest prompts of every picture, by test set."""

    def starts(self) -> tuple[Tensor | None, Tensor | None]:
        """Context vectors before training."""


Open = Callable[[Path], Opened]


class Looks(NamedTuple):
    """What is looked at: pictures of each set among the mistakes (0 for none), points and seed of the map."""

    mistakes: int
    sample: Sample


class Illustrations(NamedTuple):
    """What goes beside the tables; `skipped`: what could not be shown, and why."""

    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    mistakes: tuple[Mistakes, ...] = ()
    words: tuple[Words, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


def illustrations(
    runs: Sequence[Mapping[str, Any]], rows: Sequence[SummaryRow], setting: Setting, open_run: Open, looks: Looks
) -> Illustrations:
    """Draw all that the runs have something for.

    Args:
        runs: contents of metrics.json.
        rows: that the tables show.
        setting: of the main tables.
        open_run: gives a run folder's backbone and pictures.
        looks: how much is looked at.
    """
    drawn = _Drawn(open_run, looks)
    benchmarks = [name for name in dict.fromkeys(row.benchmark for row in rows) if not is_hard_split(name)]
    for benchmark in benchmarks[:MAX_BENCHMARKS]:
        chosen = [row for row in rows if row.benchmark == benchmark and has_setting(row, setting)]
        whole = [row for row in chosen if row.class_fraction == 1 and row.runs]
        if whole:
            log.info("figures of %s ...", benchmark)
            drawn.of_benchmark(benchmark, whole)
    kept = [row for row in rows if not is_hard_split(row.benchmark)]
    for name in SETTINGS:
        drawn.add("all runs", lambda name=name: setting_plots(_own_scores(kept), name, key="auroc"))  # type: ignore[misc]
    drawn.add("all runs", lambda: cost_plots(costs(runs, "seconds"), "seconds", key="cost"))
    return Illustrations(
        tuple(drawn.plots), tuple(drawn.tables), tuple(drawn.mistakes), tuple(drawn.words), tuple(drawn.skipped)
    )


class _Drawn:
    """Collects what can be drawn, and why something cannot."""

    def __init__(self, open_run: Open, looks: Looks) -> None:
        self.plots: list[Plot] = []
        self.tables: list[Table] = []
        self.mistakes: list[Mistakes] = []
        self.words: list[Words] = []
        self.skipped: list[tuple[str, str]] = []
        self._open = open_run
        self._looks = looks

    def add(self, what: str, draw: Callable[[], Iterable[Plot]]) -> None:
        """Keep the plots, or the reason why there are none."""
        try:
            self.plots += draw()
        except NegPromptError as error:
            log.warning("Not drawn: %s (%s)", what, error)
            self.skipped.append((what, f"cannot be drawn: {error}"))

    def of_benchmark(self, benchmark: str, rows: Sequence[SummaryRow]) -> None:
        """Figures of one benchmark: of its best learned system, of MCM beside it, and of all that have negatives."""
        learned = [row for row in rows if place_of(row).group == LEARNED] or list(rows)
        best = max(learned, key=lambda row: row.auroc[MEAN].mean)
        plain = [row for row in rows if (row.method, row.score) == ("zero_shot", "mcm") and row is not best]
        for row in (*plain[:1], best):
            self.add(row.runs[0], lambda row=row: _of_scores(row))  # type: ignore[misc]
        self.add(best.runs[0], lambda: _of_training(best))
        negative = [row for row in rows if row.num_negatives and row.score == "negprompt"]
        cosines: list[tuple[SummaryRow, Intervals]] = []
        for row in negative:
            self.add(row.runs[0], lambda row=row: self._similarity(row, cosines))  # type: ignore[misc]
        if cosines:
            self.tables.append(_cosine_table(benchmark, cosines))
        if negative:
            mapped = max(negative, key=lambda row: row.auroc[MEAN].mean)
            self.add(mapped.runs[0], lambda: self._map(benchmark, mapped))
        self.add(best.runs[0], lambda: self._mistakes(best))
        self.add(best.runs[0], lambda: self._words(best))

    def _similarity(self, row: SummaryRow, cosines: list[tuple[SummaryRow, Intervals]]) -> list[Plot]:
        opened = [self._open(Path(run)).nearest for run in row.runs[:MAX_SEEDS]]
        cosines.append((row, similarities(opened)))
        return [similarity_plot(opened, key=_key("fig3", row), title=f"Nearest prompts of {_title(row)}")]

    def _map(self, benchmark: str, row: SummaryRow) -> list[Plot]:
        opened = self._open(Path(row.runs[0]))
        title = f"Pictures and prompts of {_title(row, seed=True)}"
        return [tsne_plot(opened.text, opened.images, self._looks.sample, key=f"fig4_{benchmark}", title=title)]

    def _mistakes(self, row: SummaryRow) -> Sequence[Plot]:
        """Mistakes of a row's first run; no plot."""
        run, count = row.runs[0], self._looks.mistakes
        if count:
            opened, scored = self._open(Path(run)), read_scores(Path(run), row.score)
            self.mistakes.append(hardest_mistakes(run, scored, opened.bench.split, opened.nearest, count))
        return ()

    def _words(self, row: SummaryRow) -> Sequence[Plot]:
        """Words of the same run; no plot."""
        run = row.runs[0]
        opened = self._open(Path(run))
        vocabulary = vocabulary_of(opened.bench.backbone)
        self.words += learned_words(run, opened.bundle, opened.starts(), opened.train_text, vocabulary)
        return ()


def _cosine_table(benchmark: str, cosines: Sequence[tuple[SummaryRow, Intervals]]) -> Table:
    """The numbers of Fig. 3."""
    rows = []
    for row, kinds in cosines:
        for name in kinds["positive"]:
            cells = [Cell(place_of(row).name), Cell(label(name))]
            for kind in ("positive", "negative"):
                mean, low, high = kinds[kind][name]
                cells += [Cell(f"{mean:.3f}", mean, runs=row.runs), Cell(f"{low:.3f} to {high:.3f}")]
            rows.append(Row(tuple(cells), place_of(row).name))
    columns = (
        *(Column("system"), Column("pictures")),
        *(Column(name, f"nearest {kind} prompt") for kind in ("positive", "negative") for name in ("cosine", "95 %")),
    )
    caption = (
        "Mean over pictures of the cosine to the nearest prompt of either kind (Fig. 3 of the paper), with its 95 % "
        "interval: over seeds, or over pictures where there is one seed."
    )
    return Table(f"fig3_{benchmark}", f"Nearest prompts on {benchmark}", caption, columns, tuple(rows), 2)


def _of_scores(row: SummaryRow) -> list[Plot]:
    scored = read_scores(Path(row.runs[0]), row.score)
    title = _title(row, seed=True)
    ood = {name: np.asarray(scores) for name, scores in scored.ood.items()}
    return [
        histogram_plot(scored.id, ood, row.score, key=_key("histograms", row), title=f"Scores of {title}"),
        roc_plot(scored.id, ood, row.score, key=_key("roc", row), title=f"ROC of {title}"),
    ]


def _of_training(row: SummaryRow) -> list[Plot]:
    curve = Path(row.runs[0]) / "metrics.csv"
    rows = from_csv(curve.read_text(encoding="utf-8")) if curve.is_file() else []
    title = f"Training of {_title(row, seed=True)}"
    return [training_plot(rows, key=_key("training", row), title=title)] if rows else []


def _own_scores(rows: Sequence[SummaryRow]) -> list[SummaryRow]:
    """Rows of learned systems, which have settings to be varied."""
    return [row for row in rows if place_of(row).group != "hand-written prompts"]


def _title(row: SummaryRow, *, seed: bool = False) -> str:
    return f"{place_of(row).name} on {row.benchmark}" + (f", seed {row.seeds[0]}" if seed else "")


def _key(kind: str, row: SummaryRow) -> str:
    name = f"{kind}_{row.benchmark}_{row.method}_{row.score}" + (f"_{row.variant}" if row.variant else "")
    return "".join(mark if mark.isalnum() or mark in "_-" else "-" for mark in name)
