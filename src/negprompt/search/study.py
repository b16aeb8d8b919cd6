"""The history of a search on the disk and the next settings to try: the one file that knows Optuna."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from filelock import FileLock, Timeout

from negprompt.errors import ConfigError, RunError
from negprompt.runs.folder import explained
from negprompt.search.outcome import Trial
from negprompt.search.space import Choices, Range, Space, Value

try:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.storages.journal import JournalFileBackend
    from optuna.study import StudyDirection
    from optuna.trial import TrialState, create_trial
except ImportError as error:
    _MISSING = "negprompt search needs Optuna, 4.0 or newer: pip install 'negprompt[search]', or pip install optuna."
    raise ConfigError(_MISSING) from error

JOURNAL = "journal.log"
MOVES = "search.output=<folder>"
"""Setting that moves what a search writes, for messages."""

_NAME, _DEFINITION, _ERROR = "search", "definition", "error"
_STATES: dict[TrialState, Literal["running", "done", "failed"]] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "done",
    TrialState.FAIL: "failed",
}


class Study:
    """A search: every trial is on the disk before it starts, so a killed search goes on with the trial it was at.

    The settings of trial n are a function of the sampler's seed, n, and the trials before: a search that was killed
    proposes what an undisturbed one does.
    """

    def __init__(
        self, study: optuna.Study, path: Path, space: Space, sampler: Literal["tpe", "random"], seed: int
    ) -> None:
        self._study = study
        self._path = path
        self._distributions = {name: _distribution(part) for name, part in space.items()}
        self._sampler = sampler
        self._seed = seed

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls,
        folder: Path,
        definition: Mapping[str, Any],
        space: Space,
        sampler: Literal["tpe", "random"],
        seed: int,
        direction: Literal["maximize", "minimize"],
    ) -> Iterator[Self]:
        """Open the journal in a folder, or begin it; no other process can until the body ends.

        Args:
            folder: of the search.
            definition: what makes two searches the same, as JSON values.
            space: what varies.
            sampler: how settings are proposed.
            seed: of the sampler.
            direction: what is better.

        Raises:
            RunError: another process searches there, or the journal cannot be read or written.
            ConfigError: the journal is another search's.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = folder / JOURNAL
        with _alone(folder):
            with explained(path, MOVES):
                _cut_half_line(path)
                study = _load(path, direction)
                _same(study, definition, folder)
            yield cls(study, path, space, sampler, seed)

    @property
    def trials(self) -> list[Trial]:
        """All trials, by number."""
        notes = self._study.user_attrs
        return [
            Trial(one.number, one.params, _STATES[one.state], one.value, notes.get(_notes_key(one.number), {}))
            for one in self._study.get_trials(deepcopy=False)
        ]

    @property
    def best(self) -> Trial | None:
        """The best trial that is done, of equal ones the first."""
        sign = 1 if self._study.direction == StudyDirection.MAXIMIZE else -1
        done = [(sign * trial.value, trial) for trial in self.trials if trial.value is not None]
        return max(done, key=lambda pair: pair[0])[1] if done else None

    def next(self, first: Mapping[str, Value] | None) -> Trial:
        """The trial that a killed search was at, else a new one.

        Args:
            first: settings of the very first trial, None to have them proposed.
        """
        trials = self.trials
        running = next((trial for trial in trials if trial.state == "running"), None)
        if running is not None:
            return running
        params = first if first is not None and not trials else self._proposed(len(trials))
        # One line in the journal: a trial is there with all its settings, or not at all.
        begun = create_trial(state=TrialState.RUNNING, params=dict(params), distributions=self._distributions)
        with explained(self._path, MOVES):
            self._study.add_trial(begun)
        return self.trials[-1]

    def done(self, trial: Trial, value: float, notes: Mapping[str, Any]) -> None:
        """Keep the value of a trial, and notes on it."""
        self._finish(trial, notes, value)

    def failed(self, trial: Trial, error: str, notes: Mapping[str, Any]) -> None:
        """Keep why a trial has no value; the search goes on without it."""
        self._finish(trial, {**notes, _ERROR: error}, None)

    def _finish(self, trial: Trial, notes: Mapping[str, Any], value: float | None) -> None:
        with explained(self._path, MOVES):
            self._study.set_user_attr(_notes_key(trial.number), dict(notes))
            self._study.tell(trial.number, value, state=TrialState.FAIL if value is None else None)

    def _proposed(self, number: int) -> dict[str, Value]:
        """Settings of trial `number`, asked from a sampler that sees the trials before and nothing else."""
        digest = hashlib.sha256(f"{self._seed}/{number}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        sampler: optuna.samplers.BaseSampler = (
            optuna.samplers.TPESampler(seed=seed)
            if self._sampler == "tpe"
            else optuna.samplers.RandomSampler(seed=seed)
        )
        memory = optuna.create_study(sampler=sampler, direction=self._study.direction)
        memory.add_trials(self._study.get_trials(states=[TrialState.COMPLETE]))
        return dict(memory.ask(dict(self._distributions)).params)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from searching in a folder; the kernel ends this with the process."""
    path = folder / ".lock"
    lock = FileLock(path)
    with explained(path, MOVES):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            msg = f"Another process searches in {folder}: wait for it, or set another {MOVES}."
            raise RunError(msg) from error
    try:
        yield
    finally:
        lock.release()


def _cut_half_line(path: Path) -> None:
    """Take back a last line that a kill or a full disk has cut: a new one behind it could not be read."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        whole = file.read().rfind(b"\n") + 1
        if whole < file.tell():
            file.truncate(whole)
            os.fsync(file.fileno())


def _load(path: Path, direction: Literal["maximize", "minimize"]) -> optuna.Study:
    # Optuna waits half a minute for its own lock where a kill has left it; ours says that nobody can hold it.
    path.with_name(f"{JOURNAL}.lock").unlink(missing_ok=True)
    try:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        return optuna.create_study(storage=storage, study_name=_NAME, direction=direction, load_if_exists=True)
    except (ValueError, LookupError, TypeError) as error:
        msg = (
            f"{path} is damaged ({error}): delete it. The same search then finds the runs that are finished, and takes "
            "their results."
        )
        raise RunError(msg) from error


def _same(study: optuna.Study, definition: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on with a search of other settings."""
    wanted = json.loads(json.dumps(definition))
    before = study.user_attrs.get(_DEFINITION)
    if before is None:
        study.set_user_attr(_DEFINITION, wanted)
    elif before != wanted:
        differing = ", ".join(key for key in {**before, **wanted} if before.get(key) != wanted.get(key))
        msg = f"{folder} holds a search that differs in {differing}: set another {MOVES}, or null for one of its own."
        raise ConfigError(msg)


def _notes_key(number: int) -> str:
    return f"trial {number}"


def _distribution(part: Range | Choices) -> BaseDistribution:
    if isinstance(part, Choices):
        return CategoricalDistribution(part.values)
    if part.is_whole:
        step = 1 if part.step is None else int(part.step)
        return IntDistribution(int(part.low), int(part.high), log=part.log, step=step)
    return FloatDistribution(part.low, part.high, log=part.log, step=part.step)
