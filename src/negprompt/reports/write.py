"""A report as files: tables in three forms, and all of them in one markdown file."""

from __future__ import annotations

from negprompt.reports.document import Report
from negprompt.reports.forms import to_csv, to_latex, to_markdown
from negprompt.runs.folder import RunFolder


def write_tables(report: Report, folder: RunFolder) -> None:
    """Write summary.md and, for every table, tables/<key>.md, .csv and .tex.

    Raises:
        RunError: the folder cannot be written.
    """
    for table in report.tables:
        folder.write_bytes(f"tables/{table.key}.md", to_markdown(table).encode())
        folder.write_bytes(f"tables/{table.key}.csv", to_csv(table).encode())
        folder.write_bytes(f"tables/{table.key}.tex", to_latex(table).encode())
    parts = [f"# {report.title}", "", *report.summary, "", *(to_markdown(table) for table in report.tables)]
    if report.skipped:
        parts += ["**Left out**", "", *(f"* {place} {reason}" for place, reason in report.skipped), ""]
    folder.write_bytes("summary.md", "\n".join(parts).encode())
