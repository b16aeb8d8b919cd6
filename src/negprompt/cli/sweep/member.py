"""A member of a sweep: what it is called, what runs it, and the folder it ends in."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple


class Member(NamedTuple):
    """One run of a sweep.

    `name`: the settings that tell it from the others, as they are typed.
    `words`: overrides and flags of `negprompt train`.
    `folder`: of the run, and of its stage 1 where it makes one.
    `gpus`: how many the run takes.
    `fresh`: whether it starts anew (`resume=never`) the first time.
    `old_failure`, `old_done`: times of what earlier attempts left, FAILED.json, and the DONE of one to be made anew.
    """

    name: str
    words: tuple[str, ...]
    folder: Path
    first_stage: Path | None = None
    gpus: int = 0
    fresh: bool = False
    old_failure: int | None = None
    old_done: int | None = None

    @property
    def command(self) -> str:
        """What repeats this run, to be pasted into a shell."""
        return shlex.join(["negprompt", "train", *self.words])

    @property
    def file_name(self) -> str:
        """The name as a file may be called; distinct, since it ends with the run's hash."""
        plain = re.sub(r"[^\w.=,+-]+", "_", self.name)[:100]
        return f"{plain}-{self.folder.name.rpartition('-')[2]}"


def time_of(file: Path) -> int | None:
    """When a file was written, in nanoseconds; None where there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None
