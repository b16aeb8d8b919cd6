"""A report as files: the page, tables in three forms, figures in two."""

from __future__ import annotations

from negprompt.reports.document import Report
from negprompt.reports.forms import to_csv, to_latex, to_markdown
from negprompt.reports.page.render import render
from negprompt.runs.folder import RunFolder

PAGE = "report.html"


def write_report(report: Report, folder: RunFolder) -> None:
    """Write report.html, summary.md, tables/<key>.md, .csv and .tex, figures/<key>.svg and .png.

    Raises:
        RunError: the folder cannot be written.
    """
    for table in report.tables:
        folder.write_bytes(f"tables/{table.key}.md", to_markdown(table).encode())
        folder.write_bytes(f"tables/{table.key}.csv", to_csv(table).encode())
        folder.write_bytes(f"tables/{table.key}.tex", to_latex(table).encode())
    for plot in report.plots:
        folder.write_bytes(f"figures/{plot.key}.svg", plot.svg)
        folder.write_bytes(f"figures/{plot.key}.png", plot.png)
    parts = [f"# {report.title}", "", *report.summary, "", *(to_markdown(table) for table in report.tables)]
    if report.skipped:
        parts += ["**Left out**", "", *(f"* {place} {reason}" for place, reason in report.skipped), ""]
    folder.write_bytes("summary.md", "\n".join(parts).encode())
    folder.write_bytes(PAGE, render(report).encode())
