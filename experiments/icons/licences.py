"""Who drew the shipped pictures, and under which licence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from shards import Sample
from source import PACKAGE, VERSION, collections

INTRODUCTION = f"""# Licences of the pictures

All drawings come from the npm package `{PACKAGE}` {VERSION}. They were rendered at small size on white; nothing else
was changed. Each picture's own record (`key.json`) names its drawing (`icon`), family and licence. Licence texts:
MIT, ISC, Apache-2.0, BSD, Unlicense and CC0-1.0 at <https://spdx.org/licenses/>, CC BY at
<https://creativecommons.org/licenses/by/4.0/> (3.0: `/by/3.0/`). Logos and flags remain the marks of their owners.

| set | prefix | author | licence | pictures |
|---|---|---|---|---|
"""


def write_licences(path: Path, samples: dict[str, list[Sample]]) -> None:
    """List every icon set with pictures in the shards: title, author, licence and number of pictures."""
    counts = Counter(sample.record["icon"].split(":")[0] for content in samples.values() for sample in content)
    rows = [_row(prefix, count) for prefix, count in sorted(counts.items())]
    path.write_text(INTRODUCTION + "\n".join(rows) + "\n")


def _row(prefix: str, count: int) -> str:
    entry = collections()[prefix]
    title = _link(entry["name"], entry["author"].get("url"))
    licence = _link(entry["license"]["spdx"], entry["license"].get("url"))
    return f"| {title} | `{prefix}` | {entry['author']['name']} | {licence} | {count} |"


def _link(text: str, url: str | None) -> str:
    return f"[{text}]({url})" if url else text
