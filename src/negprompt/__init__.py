"""Out-of-distribution detection with CLIP prompts: NegPrompt (CVPR 2024) and what it is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from negprompt.detector import Detector

__version__ = "0.1.0"
__all__ = ["Detector", "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- a module's own hook
    """Import `Detector` when it is asked for: the command line answers `--help` without torch."""
    if name != "Detector":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from negprompt.detector import Detector

    return Detector
