"""`negprompt report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from negprompt.cli.build import settings
from negprompt.reports.collect import collect, summary
from negprompt.reports.figures.bars import comparison_bars
from negprompt.reports.headline import headline
from negprompt.reports.tables import summary_tables, to_csv, to_markdown
from negprompt.runs.folder import RunFolder
from negprompt.settings import Settings


class ReportSettings(Settings):
    """Which runs, which rows, where to."""

    runs: str
    output: str | None
    scores: Literal["headline", "all"]


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything runs."""
    _settings(config)


def job(config: dict[str, Any]) -> None:
    """Print the tables of all finished runs and write them where `output` says."""
    report = _settings(config)
    rows = summary(collect(report.runs))
    if report.scores == "headline":
        rows = headline(rows)
    console = Console()
    for table in summary_tables(rows):
        console.print(table)
    if report.output is not None:
        folder = RunFolder(Path(report.output)).create()
        folder.write_bytes("summary.md", to_markdown(rows).encode())
        folder.write_bytes("summary.csv", to_csv(rows).encode())
        comparison_bars(rows, folder.path / "summary.png")
        console.print(f"written to {folder.path}", highlight=False, soft_wrap=True)


def _settings(config: dict[str, Any]) -> ReportSettings:
    return settings(ReportSettings, {key: config[key] for key in ReportSettings.model_fields}, "")
