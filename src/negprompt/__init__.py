"""Out-of-distribution detection with CLIP prompts: NegPrompt (CVPR 2024) and what it is compared with."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- a module's own hook
    """Import `Detector` when it is asked for: the command line answers `--help` without torch."""
    if name != "Detector":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    with importlib.import_module("negprompt.standins").stand_ins():
        importlib.import_module("negprompt.backbones.openclip")  # now: later it would load what is left out here
        return importlib.import_module("negprompt.detector").Detector  # by name: no part of the package imports it
