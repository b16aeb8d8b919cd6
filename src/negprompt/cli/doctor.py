"""`negprompt doctor`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from negprompt.backbones.base import BackboneSettings
from negprompt.cli.build import Paths, build_request, settings, target
from negprompt.cli.health import cluster, machine, needs
from negprompt.cli.health.finding import Finding, looked
from negprompt.cli.paths import conf_dir, options
from negprompt.errors import RunError
from negprompt.request import Request
from negprompt.settings import Settings

ALONE = True
"""Looks at settings for several devices from one process."""

_MARKS = {"ok": ("ok", "green"), "note": ("-", "dim"), "warning": ("warning", "yellow"), "missing": ("missing", "red")}


class Options(Settings):
    """Settings of the doctor itself; `network` asks W&B and the publisher of weights whether they answer."""

    network: bool


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings; what is not here is for the table."""
    _options(config)
    _request(config)


def job(config: dict[str, Any]) -> None:
    """Look at this machine, its cluster and what a run with these settings needs.

    Raises:
        RunError: something that the settings need is missing.
    """
    request, paths = _request(config), settings(Paths, config["paths"], "paths")
    sections = {
        "versions": looked("versions", machine.versions),
        "machine": looked("devices", machine.devices),
        "folders": looked("folders", lambda: machine.folders(paths)),
        "weights": looked("weights", lambda: machine.weights(_backbones(config, request), request.backbone.name)),
        "cluster": looked("Slurm", lambda: cluster.findings(config.get("launcher") or {})),
        "services": looked("services", lambda: _services(config, request)),
        "these settings": [
            *looked("settings", lambda: needs.settings_work(request)),
            *looked("needs", lambda: needs.needs(request)),
        ],
    }
    Console().print(_table(sections))
    missing = [finding.name for findings in sections.values() for finding in findings if finding.state == "missing"]
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        msg = f"these settings need what is missing here: {names}. The table says how to get it."
        raise RunError(msg)


def _services(config: Mapping[str, Any], request: Request) -> list[Finding]:
    return [machine.login(request.logger), *(machine.network() if _options(config).network else ())]


def _options(config: Mapping[str, Any]) -> Options:
    return settings(Options, {"network": config["network"]}, "")


def _request(config: Mapping[str, Any]) -> Request:
    return build_request({key: value for key, value in config.items() if key not in Options.model_fields})


def _backbones(config: Mapping[str, Any], request: Request) -> dict[str, BackboneSettings]:
    """All backbones that have a name, and the one of the settings."""
    found = {}
    for option in options("backbone"):
        text = (conf_dir() / "backbone" / f"{option}.yaml").read_text(encoding="utf-8")
        if "???" not in text:
            node = yaml.safe_load(
                re.sub(r"\$\{paths\.weights_dir\}", str(config["paths"]["weights_dir"] or "null"), text)
            )
            plain = {key: value for key, value in node.items() if not str(value).startswith("${")}
            found[option] = target(BackboneSettings, plain, f"backbone={option}")  # type: ignore[type-abstract]
    return {**found, request.backbone.name: request.backbone}


def _table(sections: Mapping[str, list[Finding]]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, findings in sections.items():
        table.add_section()
        table.add_row("", Text(title, style="bold"), "")
        for finding in findings:
            mark, style = _MARKS[finding.state]
            fix = f"\n-> {finding.fix}" if finding.fix else ""
            table.add_row(Text(mark, style=style), Text(finding.name), Text(finding.text + fix))
    return table
