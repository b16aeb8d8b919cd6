"""A trained tower as one small file: half precision, without the token rows that were never trained.

python experiments/clipn/ship.py RUN       # RUN: a run folder of method=clipn backbone=tiny_rn
"""

from __future__ import annotations

import sys
from pathlib import Path

from negprompt.prompts.bundle import ADAPTER_FILE, adapter_bytes, read_adapter
from negprompt.prompts.no_text import compact

RESOURCES = Path(__file__).parents[2] / "src" / "negprompt" / "backbones" / "resources"
TARGET = RESOURCES / "tiny_rn" / "clipn.safetensors"


def main() -> None:
    adapter = read_adapter(Path(sys.argv[1]) / ADAPTER_FILE)
    TARGET.write_bytes(adapter_bytes(compact(adapter.tensors), adapter.metadata, dtype=None))
    print(f"{TARGET}: {TARGET.stat().st_size / 1e6:.1f} MB, {adapter.metadata}")


if __name__ == "__main__":
    main()
