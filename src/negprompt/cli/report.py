"""`negprompt report`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from negprompt.cli.build import settings
from negprompt.reports.assemble import compared, report_of
from negprompt.reports.collect import check_comparable, summary
from negprompt.reports.figures.bars import comparison_bars
from negprompt.reports.find import find_runs
from negprompt.reports.headline import headline
from negprompt.reports.tables import summary_tables, to_csv
from negprompt.reports.write import write_tables
from negprompt.runs.folder import RunFolder
from negprompt.settings import Settings

log = logging.getLogger(__name__)


class ReportSettings(Settings):
    """Which runs, which rows, where to.

    `scores`: rows of the terminal's tables and of summary.csv. `paper`: whether the paper's numbers stand beside ours
    where runs are on its benchmarks.
    """

    runs: str
    output: str | None
    scores: Literal["headline", "all"]
    paper: bool
    title: str | None


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
    if report.output is not None:
        folder = RunFolder(Path(report.output)).create()
        folder.write_bytes("summary.csv", to_csv(rows).encode())
        comparison_bars(rows, folder.path / "summary.png")
        title = report.title or f"Runs in {report.runs}"
        write_tables(report_of(title, found, compared(every), with_paper=report.paper), folder)
        console.print(f"written to {folder.path}", highlight=False, soft_wrap=True)


def _settings(config: dict[str, Any]) -> ReportSettings:
    return settings(ReportSettings, {key: config[key] for key in ReportSettings.model_fields}, "")
