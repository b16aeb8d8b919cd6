"""What a command ends with, beside 0 and 128 + the signal that stopped it."""

from __future__ import annotations

FAILED = 1
USAGE = 2
"""The settings were refused; nothing was done."""

BUSY = 75
"""Another process makes the run right now (EX_TEMPFAIL: try again later)."""
