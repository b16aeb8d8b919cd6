"""Looking on while Slurm works: which members wait, run, or are gone, told by their folders and by squeue."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from negprompt.cli.sweep import slurm
from negprompt.cli.sweep.member import Member
from negprompt.cli.sweep.summary import LOST_STATES, UNFINISHED_STATES, Ledger, Row
from negprompt.runs.lease import holder

_FIRST_S, _LONGEST_S = 2.0, 30.0
_WORDS = {"PENDING": "queued", "REQUEUED": "queued", "CONFIGURING": "queued"}


class Viewer(Protocol):
    """Who shows what changes."""

    def changed(self, rows: Sequence[Row]) -> None:
        """Show members that changed."""


class Queue:
    """The jobs of some members.

    Args:
        members: whose tickets to look for; those written later are found too.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = tuple(members)
        self._states: dict[str, str] = {}
        self.look()

    def look(self) -> None:
        """Ask Slurm; where it does not answer, what it said before still holds."""
        try:
            self._states = slurm.states(filter(None, map(_ticket, self._members)))
        except slurm.SilentError:
            return

    def known(self) -> dict[str, str]:
        """States of the jobs that wait or run, by id."""
        return self._states

    def state(self, member: Member) -> str | None:
        """How an unfinished member stands, None for one that no job is there for any more."""
        job = self._states.get(_ticket(member) or "")
        if job is not None:
            return _WORDS.get(job, "running")
        return "running elsewhere" if holder(member.folder) is not None else None

    def wait(self, ledger: Ledger, view: Viewer) -> list[Row]:
        """Look on until no member waits or runs; the last rows.

        A member that is gone without a result is looked at twice: a network file system shows files a moment late.
        """
        pause, seen_lost = _FIRST_S, False
        while True:
            self.look()
            rows = ledger.write()
            waiting = any(row.state in UNFINISHED_STATES for row in rows)
            lost = any(row.state in LOST_STATES for row in rows)
            if not waiting and (seen_lost or not lost):
                view.changed(rows)
                return rows
            seen_lost = lost and not waiting
            view.changed([row for row in rows if row.state not in LOST_STATES])
            time.sleep(_LONGEST_S if seen_lost else pause)
            pause = min(1.2 * pause, _LONGEST_S)


def _ticket(member: Member) -> str | None:
    return slurm.ticket(member.folder)
