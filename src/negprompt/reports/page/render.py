"""A report as one HTML file that needs nothing else: no network, no server, no second file.

Style, script and pictures are inside. The page's own policy forbids everything else: a browser asks no other machine,
and runs no script but the one whose hash the policy names, whatever a class or a folder is called.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from negprompt import __version__
from negprompt.reports.document import Report
from negprompt.reports.page import pictures, tables
from negprompt.reports.page.links import Links

_PACKAGE, _RESOURCES = "negprompt.reports.page", "resources"
_STRICT = '"use strict";'


def render(report: Report) -> str:
    """Write a report as a page; equal reports give equal pages.

    Args:
        report: what to show. Texts are plain: HTML in them is shown, not obeyed.

    Returns:
        HTML 5, to be written in UTF-8.

    Raises:
        ValueError: the report names a table or a run that it does not hold, or holds a key twice.

    Example:
        >>> page = render(Report("Nothing yet", ("No run has finished.",), "", ()))
        >>> page.splitlines()[0], "<h1>Nothing yet</h1>" in page
        ('<!doctype html>', True)
    """
    links = Links(report)
    views = [tables.view(table, links) for table in report.tables]
    if report.main and report.main not in links.tables:
        message = f"The report's main table {report.main!r} is none of its tables: {', '.join(links.tables) or 'none'}."
        raise ValueError(message)
    main = links.tables[report.main].id if report.main else ""
    style = _resource("page.css")
    script = f"(() => {{\n{_STRICT}\n{_resource('tables.js')}{_resource('page.js')}}})();"
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            links=links,
            main=[view for view in views if view.id == main],
            tables=[view for view in views if view.id != main],
            plots=[(links.id("figure", plot.key), plot) for plot in report.plots],
            mistakes=[pictures.view(mistakes, links) for mistakes in report.mistakes],
            words=[
                (links.id("words", run), links.run(run), list(words))
                for run, words in itertools.groupby(report.words, key=lambda one: one.run)
            ],
            style=Markup(style),
            script=Markup(script),
            policy=_policy(style, script),
            version=__version__,
        )
    )


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_PACKAGE, _RESOURCES),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = pictures.data_uri
    return environment


def _resource(name: str) -> str:
    return (resources.files(_PACKAGE) / _RESOURCES / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Content-Security-Policy: pictures out of the page itself, this style, this script, and nothing else."""
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
