"""`negprompt report`."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from rich.console import Console

from negprompt import api
from negprompt.cli.build import build_request, settings
from negprompt.cli.stored import moved_along, stored_config
from negprompt.evaluation.opened import OpenRun
from negprompt.reports.assemble import choice_of, compared, report_of
from negprompt.reports.collect import check_comparable, summary
from negprompt.reports.figures.bars import comparison_bars
from negprompt.reports.figures.tsne import Sample
from negprompt.reports.find import find_runs
from negprompt.reports.headline import headline
from negprompt.reports.illustrate import Looks, illustrations
from negprompt.reports.tables import summary_tables, to_csv
from negprompt.reports.write import PAGE, write_report
from negprompt.runs.folder import RunFolder
from negprompt.settings import Settings

log = logging.getLogger(__name__)


class MapSettings(Settings):
    """How much of the pictures and prompts the t-SNE map shows."""

    images_per_set: Annotated[int, Field(ge=1)]
    num_classes: Annotated[int, Field(ge=1)]
    perplexity: Annotated[float, Field(gt=1)]
    seed: Annotated[int, Field(ge=0)]


class ReportSettings(Settings):
    """Which runs, which rows, where to.

    `scores`: rows of the terminal's tables and of summary.csv. `paper`: whether the paper's numbers stand beside ours
    where runs are on its benchmarks. `figures`: whether runs are looked into. `mistakes`: pictures of each set that are
    shown. `map`: pictures and classes of the t-SNE map, and its seed.
    """

    runs: str | list[str]
    output: str | None
    scores: Literal["headline", "all"]
    paper: bool
    title: str | None
    figures: bool
    mistakes: Annotated[int, Field(ge=0, le=200)]
    map: MapSettings


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything runs."""
    _settings(config)


def job(config: dict[str, Any]) -> None:
    """Print the tables of all finished runs and write them where `output` says."""
    report = _settings(config)
    found = find_runs(report.runs)
    for place, reason in found.skipped:
        log.warning("Left out: %s %s", place, reason)
    check_comparable(found.rows)
    every = summary(found.rows)
    rows = headline(every) if report.scores == "headline" else every
    console = Console()
    for table in summary_tables(rows):
        console.print(table)
    if report.output is None:
        return
    folder = RunFolder(Path(report.output)).create()
    folder.write_bytes("summary.csv", to_csv(rows).encode())
    comparison_bars(rows, folder.path / "summary.png")
    shown = compared(every)
    choice = choice_of(shown, with_paper=report.paper)
    looks = Looks(report.mistakes, Sample(**report.map.model_dump()))
    beside = illustrations(found.rows, shown, choice.setting, _open, looks) if report.figures else None
    places = [report.runs] if isinstance(report.runs, str) else report.runs
    title = report.title or f"Runs in {', '.join(places)}"
    write_report(report_of(title, found, shown, choice, beside), folder)
    console.print(f"written to {folder.path}: open {folder.path / PAGE}", highlight=False, soft_wrap=True)


@functools.lru_cache(maxsize=8)
def _open(run: Path) -> OpenRun:
    return api.open_run(build_request(moved_along(stored_config(run), run)), run)


def _settings(config: dict[str, Any]) -> ReportSettings:
    return settings(ReportSettings, {key: config[key] for key in ReportSettings.model_fields}, "")
