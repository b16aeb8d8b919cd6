"""The pinned npm package: fetching it, and reading icon sets out of it."""

from __future__ import annotations

import functools
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = "@iconify/json"
VERSION = "2.2.535"
ROOT = Path(__file__).parent / "build" / "source"

# SPDX identifiers under which a picture may be shipped with the package.
SHIPPABLE = frozenset(
    ["MIT", "Apache-2.0", "ISC", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "Unlicense"]
)


class Icon(NamedTuple):
    """One drawing: its set, its name in the set, and a complete SVG document."""

    prefix: str
    icon: str
    svg: str

    @property
    def ident(self) -> str:
        """Iconify's own address of the drawing."""
        return f"{self.prefix}:{self.icon}"


def fetch_package(root: Path = ROOT) -> Path:
    """Download and unpack the pinned package once; npm checks its integrity.

    Returns:
        The folder that holds ``collections.json`` and ``json/``.
    """
    package = root / "package"
    if not (package / "collections.json").exists():
        root.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", f"{PACKAGE}@{VERSION}", "--silent"], cwd=root, check=True)
        with tarfile.open(next(root.glob("*.tgz"))) as archive:
            archive.extractall(root, filter="data")
    return package


@functools.cache
def collections() -> dict[str, dict[str, Any]]:
    """Title, author and licence of every icon set, by prefix."""
    data: dict[str, dict[str, Any]] = json.loads((fetch_package() / "collections.json").read_text())
    return data


@functools.lru_cache(maxsize=4)
def load_set(prefix: str) -> dict[str, Any]:
    """One icon set as iconify stores it."""
    data: dict[str, Any] = json.loads((fetch_package() / "json" / f"{prefix}.json").read_text())
    return data


def set_suffixes(prefix: str) -> tuple[str, ...]:
    """Style suffixes that a set declares, longest first."""
    suffixes = load_set(prefix).get("suffixes", {})
    return tuple(sorted((suffix for suffix in suffixes if suffix), key=lambda suffix: (-len(suffix), suffix)))


def icon_names(prefix: str) -> list[str]:
    """Names of a set's visible drawings (aliases, which repeat them, left out)."""
    return sorted(name for name, body in load_set(prefix)["icons"].items() if not body.get("hidden"))


def read_icon(prefix: str, name: str) -> Icon:
    """One drawing as an SVG document with its own view box."""
    data = load_set(prefix)
    body = data["icons"][name]
    left, top, width, height = (
        body.get(key, data.get(key, default))
        for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="#000" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{body["body"]}</svg>'
    )
    return Icon(prefix, name, svg)
