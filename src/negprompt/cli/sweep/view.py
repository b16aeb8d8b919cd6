"""What a sweep says on the terminal: what it will do, who begins and ends, and a table at the end."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from negprompt.cli.sweep.job import Watch
from negprompt.cli.sweep.member import Member
from negprompt.cli.sweep.plan import Plan
from negprompt.cli.sweep.settings import Launcher
from negprompt.cli.sweep.summary import FILE, LOST_STATES, Ledger, Row

_STYLES = {"failed": "red", "stopped": "yellow", "not begun": "yellow", "done": "green"}
_COLUMNS = {"AUROC": "mean/auroc", "FPR95": "mean/fpr95_id_positive", "ID accuracy": "id_accuracy"}


class View:
    """The terminal of a sweep.

    Args:
        plan: of the sweep.
        launcher: its launcher.
    """

    def __init__(self, plan: Plan, launcher: Launcher) -> None:
        self._plan = plan
        self._launcher = launcher
        self._console = Console(highlight=False, soft_wrap=True, markup=False)
        self._states: dict[str, str] = {}
        self._begun = 0

    def plan(self) -> None:
        """Say what is done already and what will be done."""
        plan = self._plan
        parts = {
            "to run": len(plan.first) + len(plan.rest),
            "finished before": sum(one.folder in plan.reused for one in plan.members),
            "queued or running already": sum(one.folder in plan.elsewhere for one in plan.members),
        }
        extra = sum(one not in plan.members for one in plan.first)
        counts = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
        shared = f", with {extra} of stage 1 that others share" if extra else ""
        self._say(f"sweep {plan.folder.name}: {len(plan.members)} members: {counts}{shared}; {plan.folder}")

    def watch(self, ledger: Ledger) -> Watch:
        """Who is told of members that begin and end on this machine."""
        return _Watch(self, ledger)

    def begun(self, member: Member) -> None:
        """One line, a heading where the member then speaks for itself."""
        self._begun += 1
        self._say(f"[{self._begun}/{len(self._plan.first) + len(self._plan.rest)}] {member.name}")

    def ended(self, row: Row) -> None:
        """One line, where the member did not speak for itself."""
        if self._launcher.name != "local":
            self.changed([row])

    def changed(self, rows: Sequence[Row]) -> None:
        """One line for each member whose state is another than before."""
        for row in rows:
            before = self._states.get(row.member.name)
            if before != row.state and not (before is None and row.state in ("reused", "queued", "not begun")):
                self.line(row)
            self._states[row.member.name] = row.state

    def line(self, row: Row) -> None:
        """One line that says how a member stands."""
        self._say(f"{row.state:<8} {row.member.name}{_figures(row)}{f': {row.error}' if row.error else ''}")

    def submitted(self, members: Sequence[Member], ids: Mapping[int, str]) -> None:
        """Say which jobs were queued."""
        arrays = sorted({job.partition("_")[0] for job in ids.values()})
        self._say(f"queued {len(ids)} jobs for {len(members)} runs: {', '.join(arrays)} (scancel ends them)")

    def end(self, rows: Sequence[Row], *, was_stopped: bool = False) -> None:
        """The table of all members, then those that failed with their errors and the commands that repeat them."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("member", overflow="fold")
        for name in ("state", *_COLUMNS, "seconds"):
            table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
        for row in rows:
            figures = [f"{100 * row.metrics[key]:.1f}" if key in row.metrics else "" for key in _COLUMNS.values()]
            seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
            table.add_row(row.member.name, row.state, *figures, seconds, style=_STYLES.get(row.state))
        Console(highlight=False, markup=False).print(table)
        failed = [row for row in rows if row.error]
        for row in failed:
            _err(f"{row.member.name}: {row.error}\n  again: {row.member.command}\n  folder: {row.member.folder}")
        counts = Counter(row.state for row in rows)
        lost = [row for row in rows if row.state in LOST_STATES]
        if lost and not was_stopped:
            _err(f"{len(lost)} of {len(rows)} runs ended without a result; what was said is in {self._plan.folder}")
        if failed:
            _err(f"{len(failed)} of {len(rows)} runs failed. The same command again runs only what is unfinished.")
        self._say(f"{', '.join(f'{count} {state}' for state, count in counts.items())}; {self._plan.folder / FILE}")

    def stopped(self, by: signal.Signals) -> None:
        """Say that the sweep was stopped."""
        how = "interrupted" if by == signal.SIGINT else f"stopped by {by.name}"
        _err(f"{how}. What was finished is kept; the same command goes on from there.")

    def left(self, rows: Sequence[Row]) -> None:
        """Say that jobs go on by themselves."""
        counts = Counter(row.state for row in rows)
        self._say(", ".join(f"{count} {state}" for state, count in counts.items()))
        _err("nobody waits any more; queued jobs go on by themselves. The same command shows how they stand.")

    def _say(self, text: str) -> None:
        self._console.print(text)


class _Watch(Watch):
    """Lines on the terminal, and sweep.csv after each member."""

    def __init__(self, view: View, ledger: Ledger) -> None:
        super().__init__(ledger.folder)
        self._view, self._ledger = view, ledger

    def begun(self, member: Member) -> None:
        """Say so."""
        self._view.begun(member)

    def look(self) -> None:
        """Bring sweep.csv up to date, and say who began or ended."""
        self._view.changed(self._ledger.write())

    def ended(self, member: Member) -> None:
        """Bring sweep.csv up to date, and say how it ended."""
        for row in self._ledger.write():
            if row.member.folder == member.folder:
                self._view.ended(row)


def _figures(row: Row) -> str:
    figures = [f"{name} {100 * row.metrics[key]:.1f}" for name, key in _COLUMNS.items() if key in row.metrics]
    seconds = [] if row.seconds is None else [f"{row.seconds:.0f} s"]
    return "".join(f", {part}" for part in (*figures, *seconds))


def _err(text: str) -> None:
    print(f"negprompt train: {text}", file=sys.stderr)  # noqa: T201 -- the command line's own output
