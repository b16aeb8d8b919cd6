"""A trained decoder as one small file, in half precision.

python experiments/zoc/ship.py RUN       # RUN: a run folder of method=zoc backbone=tiny_rn
"""

from __future__ import annotations

import sys
from pathlib import Path

from negprompt.prompts.bundle import ADAPTER_FILE, adapter_bytes, read_adapter

RESOURCES = Path(__file__).parents[2] / "src" / "negprompt" / "backbones" / "resources"
TARGET = RESOURCES / "tiny_rn" / "zoc.safetensors"
WHOLE_NUMBERS = ("decoder.vocabulary", "decoder.heads")


def main() -> None:
    adapter = read_adapter(Path(sys.argv[1]) / ADAPTER_FILE)
    tensors = {
        name: tensor.int() if name in WHOLE_NUMBERS else tensor.half() for name, tensor in adapter.tensors.items()
    }
    TARGET.write_bytes(adapter_bytes(tensors, adapter.metadata, dtype=None))
    print(f"{TARGET}: {TARGET.stat().st_size / 1e6:.1f} MB, {adapter.metadata}")


if __name__ == "__main__":
    main()
