"""The hashes that freeze the benchmark: written once, checked at every later build."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from benchmark import RESOURCES
from drawings import ROLES_FILE
from names import NAMES_FILE
from shards import file_sha256

HASHES_FILE = Path(__file__).parent / "hashes.json"


def freeze_hashes() -> None:
    """Write ``hashes.json``, or compare with it where it exists.

    Raises:
        RuntimeError: if roles, names or pictures differ from the frozen ones.
    """
    shards = json.loads((RESOURCES / "benchmark.json").read_text())["shards"]
    contents = "".join(f"{name} {entry['content_sha256']}\n" for name, entry in sorted(shards.items()))
    hashes = {
        "roles.json": file_sha256(ROLES_FILE),
        "names.json": file_sha256(NAMES_FILE),
        "benchmark_content": hashlib.sha256(contents.encode()).hexdigest(),
    }
    if not HASHES_FILE.exists():
        HASHES_FILE.write_text(json.dumps(hashes, indent=1) + "\n")
    frozen = json.loads(HASHES_FILE.read_text())
    if changed := [key for key in hashes if hashes[key] != frozen[key]]:
        raise RuntimeError(f"{', '.join(changed)} differ from {HASHES_FILE.name}: the benchmark is frozen")
