"""A sweep on disk and on the terminal, told by its run folders: sweep.csv, a table, and what went wrong.

Without torch, since jobs on a cluster keep sweep.csv up to date when nobody waits for them any more.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from negprompt.cli import exit_codes
from negprompt.cli.sweep.member import Member, time_of
from negprompt.errors import RunError
from negprompt.runs.folder import DONE, FAILED, RunFolder, explained, read_json

FILE = "sweep.csv"
MEMBERS = "members.json"
DONE_STATES = ("done", "reused")
UNFINISHED_STATES = ("queued", "running", "running elsewhere")
LOST_STATES = ("stopped", "not begun")


class Row(NamedTuple):
    """One member as it stands.

    `state`: done, reused, failed, queued, running, running elsewhere, stopped, or not begun.
    `metrics`: of its headline score, by names like "near/auroc"; empty where it has none.
    """

    member: Member
    state: str
    metrics: dict[str, float]
    score: str = ""
    seconds: float | None = None
    error: str = ""


class Ledger:
    """What is known of a sweep's members beside their folders, and the file that shows them.

    Args:
        folder: of the sweep.
        members: in the order of the command line.
        reused: folders of those that were finished before.
        known: asked for the state of an unfinished run where its folder does not tell.
    """

    def __init__(
        self,
        folder: Path,
        members: Sequence[Member],
        reused: set[Path],
        known: Callable[[Member], str | None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self.members = tuple(members)
        self.reused = frozenset(reused)
        self.known = known

    def rows(self) -> list[Row]:
        """All members as they stand now."""
        return [self._row(member) for member in self.members]

    def write(self) -> list[Row]:
        """Bring sweep.csv up to date; the rows in it.

        Looked at and written under one lock: the last of several writers has seen everything.

        Raises:
            RunError: the folder cannot be written.
        """
        path = self.folder / FILE
        with explained(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(self.folder / f".{FILE}.lock"):
                rows = self.rows()
                RunFolder(self.folder).write_bytes(FILE, _csv(rows).encode())
        return rows

    def save(self) -> None:
        """Leave the members in the sweep's folder, for jobs that go on without this process.

        Raises:
            RunError: the folder cannot be written.
        """
        content = {
            "members": [{**one._asdict(), "folder": str(one.folder), "first_stage": None} for one in self.members],
            "reused": sorted(map(str, self.reused)),
        }
        RunFolder(self.folder).write_json(MEMBERS, content)

    def _row(self, member: Member) -> Row:
        folder = member.folder
        if (done := time_of(folder / DONE)) is not None and done != member.old_done:
            return _finished(member, "reused" if folder in self.reused else "done")
        if (state := self.known(member)) is not None:
            return Row(member, state, {})
        failure = read_json(folder / FAILED)
        if failure and time_of(folder / FAILED) != member.old_failure and failure.get("error") != "KeyboardInterrupt":
            return Row(member, "failed", {}, error=f"{failure.get('error')}: {failure.get('message')}")
        return Row(member, "stopped" if (folder / "config.yaml").is_file() else "not begun", {})


def load(folder: Path) -> Ledger:
    """The members that `Ledger.save` left.

    Raises:
        RunError: there are none, or they cannot be read.
    """
    content = read_json(folder / MEMBERS)
    try:
        members = [
            Member(**{**one, "folder": Path(one["folder"]), "words": tuple(one["words"])}) for one in content["members"]
        ]
        return Ledger(folder, members, set(map(Path, content["reused"])))
    except (LookupError, TypeError) as error:
        msg = f"{folder / MEMBERS} is damaged ({error}): the command that made the sweep writes it anew."
        raise RunError(msg) from error


def exit_code(rows: Sequence[Row]) -> int:
    """Of the sweep: 0 where all are done, 1 where one failed or was lost, 75 where others still wait or run."""
    states = {row.state for row in rows}
    if states <= set(DONE_STATES):
        return 0
    return exit_codes.BUSY if states <= {*DONE_STATES, *UNFINISHED_STATES} else exit_codes.FAILED


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Wait for other writers, where the file system has locks."""
    lock = FileLock(path)
    with contextlib.suppress(NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _finished(member: Member, state: str) -> Row:
    metrics = read_json(member.folder / "metrics.json")
    seconds = read_json(member.folder / "provenance.json").get("seconds", {})
    score, sets = next(iter(metrics.get("scores", {}).items()), ("", {}))
    flat = {f"{name}/{key}": value for name, values in sets.items() for key, value in values.items()}
    accuracy = {"id_accuracy": metrics["id_accuracy"]} if "id_accuracy" in metrics else {}
    return Row(member, state, accuracy | flat, score, round(sum(seconds.values()), 1))


def _csv(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["member", "state", "run", "seconds", "score", *names, "error", "command"])
    for row in rows:
        metrics = ["" if (value := row.metrics.get(name)) is None else value for name in names]
        seconds = "" if row.seconds is None else row.seconds
        member = row.member
        writer.writerow(
            [member.name, row.state, member.folder, seconds, row.score, *metrics, row.error, member.command]
        )
    return file.getvalue()
