"""What a report shows of single runs: figures, mistakes and words, each left out with a warning where it cannot be."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from negprompt import api
from negprompt.cli.build import build_request
from negprompt.cli.stored import stored_config
from negprompt.errors import NegPromptError
from negprompt.evaluation.opened import OpenRun
from negprompt.reports.document import Mistakes, Plot, Words
from negprompt.reports.figures.histograms import histogram_plot
from negprompt.reports.figures.roc import roc_plot
from negprompt.reports.figures.similarity import similarity_plot
from negprompt.reports.figures.training import training_plot
from negprompt.reports.figures.tsne import Sample, tsne_plot
from negprompt.reports.headline import headline_score
from negprompt.reports.mistakes import hardest_mistakes
from negprompt.reports.scored import read_scores
from negprompt.reports.words import learned_words, vocabulary_of
from negprompt.training.callbacks import from_csv

log = logging.getLogger(__name__)

Part = TypeVar("Part")

_OPEN = 4
"""Runs that are kept open: a few seeds of one system."""


class Look(NamedTuple):
    """A run folder as a report names it: `key` in `Report.runs`, `name` for titles, for example "NegPrompt, seed 1"."""

    folder: Path
    key: str
    name: str


class Looks(NamedTuple):
    """What was found out about some runs."""

    plots: tuple[Plot, ...] = ()
    mistakes: tuple[Mistakes, ...] = ()
    words: tuple[Words, ...] = ()


def scores_of(run: Look) -> tuple[Plot, ...]:
    """Histograms, ROC and training curves: from the run's files alone, no model and no picture needed."""
    stem = _stem(run)

    def drawn() -> tuple[Plot, ...]:
        metrics = json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))
        scored = read_scores(run.folder, headline_score(metrics["scores"]))
        return (
            histogram_plot(
                scored.id, scored.ood, scored.score, key=f"histograms_{stem}", title=f"Histograms: {run.name}"
            ),
            roc_plot(scored.id, scored.ood, scored.score, key=f"roc_{stem}", title=f"ROC curves: {run.name}"),
        )

    def curves() -> tuple[Plot, ...]:
        file = run.folder / "metrics.csv"
        rows = from_csv(file.read_text(encoding="utf-8")) if file.is_file() else []
        return (training_plot(rows, key=f"training_{stem}", title=f"Training: {run.name}"),) if rows else ()

    return (*(_tried(run, "histograms and ROC", drawn) or ()), *(_tried(run, "training curves", curves) or ()))


def inside(run: Look, *, count: int = 12, sample: Sample = Sample()) -> Looks:  # noqa: B008 -- a tuple of numbers
    """Fig. 4, the hardest mistakes and the words of the prompts: the run's backbone and stored features are loaded.

    Args:
        run: the run.
        count: mistakes of each test set.
        sample: of Fig. 4.
    """
    opened = _tried(run, "what lies inside", lambda: _opened(run))
    if opened is None:
        return Looks()
    title, stem = f"Map of pictures and prompts (t-SNE): {run.name}", _stem(run)
    plot = _tried(
        run, "Fig. 4", lambda: tsne_plot(opened.text, opened.images, sample, key=f"fig4_tsne_{stem}", title=title)
    )
    mistakes = _tried(run, "mistakes", lambda: _mistakes(run, opened, count))
    words = _tried(run, "words", lambda: _words(run, opened))
    return Looks((plot,) if plot else (), (mistakes,) if mistakes else (), words or ())


def similarity(runs: Sequence[Look], name: str) -> Plot | None:
    """Fig. 3 of one system over its seeds.

    Args:
        runs: one a seed.
        name: of the system, for the title.
    """

    def drawn() -> Plot:
        nearest = [_opened(run).nearest for run in runs]
        return similarity_plot(
            nearest, key=f"fig3_similarity_{_stem(runs[0])}", title=f"Nearness to both kinds of prompts: {name}"
        )

    return _tried(runs[0], "Fig. 3", drawn) if runs else None


def _mistakes(run: Look, opened: OpenRun, count: int) -> Mistakes:
    metrics = json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))
    scored = read_scores(run.folder, headline_score(metrics["scores"]))
    return hardest_mistakes(run.key, scored, opened.bench.split, opened.nearest, count)


def _words(run: Look, opened: OpenRun) -> tuple[Words, ...]:
    vocabulary = vocabulary_of(opened.bench.backbone)
    return learned_words(run.key, opened.bundle, opened.starts(), opened.train_text, vocabulary)


@functools.lru_cache(maxsize=_OPEN)
def _opened(run: Look) -> OpenRun:
    config = stored_config(run.folder)
    beside = run.folder / "../../../.." / "_features"  # the run is <runs_dir>/<benchmark>/<method>/<backbone>/<run>
    if beside.is_dir():  # also where all runs were moved together
        config["paths"] = {**config["paths"], "features_dir": str(beside.resolve())}
    return api.open_run(build_request(config), run.folder)


def _stem(run: Look) -> str:
    """Part of the names of a run's figures."""
    return "_".join(run.folder.parts[-4:])


def _tried(run: Look, what: str, make: Callable[[], Part]) -> Part | None:
    try:
        return make()
    except (NegPromptError, OSError, ValueError, KeyError) as error:
        log.warning("%s of %s cannot be shown: %s", what, run.folder, error)
        return None
