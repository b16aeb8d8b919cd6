"""Training curves and results in Weights & Biases.

Whatever W&B does, the run goes on: every call has a time limit and an error makes a warning, once. All data lie in the
run folder. wandb is imported where it is used, since the import takes a second that most runs do not need.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from negprompt.errors import RunError
from negprompt.tracking import charts
from negprompt.tracking.attempts import attempts, mark_synced, sent_steps
from negprompt.tracking.identity import new_identity, read_identity, write_identity
from negprompt.tracking.journal import mend
from negprompt.tracking.settings import LoggerSettings
from negprompt.tracking.within import within

if TYPE_CHECKING:
    import wandb

Rows = Sequence[Mapping[str, float]]

INIT_SECONDS, CALL_SECONDS, FINISH_SECONDS = 20.0, 15.0, 30.0
_GRACE = 5.0
"""W&B's own limits come first; ours follow so much later where they do not hold."""

log = logging.getLogger(__name__)


class Tracker:
    """The W&B run of one run folder.

    Args:
        folder: the run folder.
        identity: content of its wandb.json.
        run: the W&B run that was started.
        offline: whether it is written to the disk only.
        next_step: first optimiser step that W&B has not got yet.
    """

    def __init__(
        self, folder: Path, identity: dict[str, Any], run: wandb.Run, *, offline: bool, next_step: int
    ) -> None:
        self._folder = folder
        self._identity = identity
        self._run = run
        self._offline = offline
        self._next_step = next_step
        self._last_row = -1
        self._given_up = False
        self._complete = bool(identity["finished"])

    def saved(self, rows: Rows) -> None:
        """Send those rows that W&B has not got yet; to be called when the checkpoint with them is on the disk.

        Args:
            rows: all rows of the curve so far, each with its optimiser step under "step".
        """
        for row in rows:
            self._last_row = step = int(row["step"])
            if step >= self._next_step:
                self._try(partial(self._run.log, dict(row), step=step, commit=True))
                self._next_step = step + 1

    def uses(self, source: Path) -> None:
        """Name the run that the positive prompts come from, as the W&B run's input where W&B has it.

        Args:
            source: its folder, or its prompts.safetensors.
        """
        folder = source if source.is_dir() else source.parent
        stage1 = read_identity(folder)
        values = {"folder": folder.name} if stage1 is None else {"folder": folder.name, "wandb_id": stage1["id"]}
        self._try(partial(self._run.config.update, {"stage1": values}, allow_val_change=True))
        artifact = None if stage1 is None else stage1.get("artifact")
        if artifact is not None and not self._offline:
            owner = [stage1[key] for key in ("entity", "project") if stage1 and stage1[key]]
            try:
                within(CALL_SECONDS, lambda: self._run.use_artifact("/".join([*owner, f"{artifact}:latest"])))
            except Exception as error:  # noqa: BLE001 -- it may have been deleted there; the configuration names the run
                log.info("W&B does not have the prompts of stage 1 (%s).", _first_line(error))

    def finished(self, metrics: Mapping[str, Any]) -> None:
        """Send metrics, tables, charts and the prompts of a finished run; nothing where that was done before.

        Args:
            metrics: content of metrics.json.
        """
        if self._identity["finished"]:
            return
        self._try(lambda: self._send_results(metrics), CALL_SECONDS)
        self._complete = True

    def close(self, exit_code: int = 0) -> None:
        """End the W&B run within a time limit, and note in wandb.json whether it has everything.

        Args:
            exit_code: other than 0 where the run failed or was stopped.
        """
        done = self._try(partial(self._run.finish, exit_code), FINISH_SECONDS + _GRACE) and self._complete
        if self._given_up:
            _release()
            return
        with suppress(OSError, RunError):  # a full disk, of which the run will tell
            if done and not self._identity["finished"]:
                self._identity |= {"finished": True}
                write_identity(self._folder, self._identity)
            if not self._offline:
                mark_synced(self._folder, self._identity["id"])

    def _send_results(self, metrics: Mapping[str, Any]) -> None:
        import wandb

        self._run.summary.update({key: value for key, value in metrics.items() if key != "groups"})
        columns, rows = charts.result_table(metrics)
        shown: dict[str, Any] = {f"results/{metrics['benchmark']}": wandb.Table(columns=[*columns], data=rows)}
        with np.load(self._folder / "scores.npz") as file:
            arrays = dict(file)
        for score in charts.score_names(arrays):
            for kind, lines, x in (
                ("roc", charts.roc_lines(arrays, score), "OOD accepted (false positive rate)"),
                ("histogram", charts.histogram_lines(arrays, score), "score"),
            ):
                xs, ys, names = lines
                shown[f"{kind}/{score}"] = wandb.plot.line_series(xs, ys, names, title=f"{kind}: {score}", xname=x)
        if self._last_row + 1 >= self._next_step:  # else an earlier attempt sent it and was killed after that
            self._run.log(shown, step=self._last_row + 1, commit=True)
            self._next_step = self._last_row + 2
        prompts = wandb.Artifact(f"prompts-{self._run.id}", "prompts", metadata=_about(metrics))
        prompts.add_file(str(self._folder / "prompts.safetensors"))
        self._run.log_artifact(prompts)
        if not self._offline:
            self._identity |= {"artifact": prompts.name.split(":")[0]}
            write_identity(self._folder, self._identity)

    def _try(self, call: Callable[[], object], seconds: float = CALL_SECONDS) -> bool:
        """Do a call to W&B unless an earlier one failed; whether it worked."""
        if self._given_up:
            return False
        try:
            within(seconds, call)
        except Exception as error:  # noqa: BLE001 -- nothing in W&B may end a run
            self._given_up = True
            log.warning(
                "W&B gave up (%s): the run goes on without it and everything is in %s. The same command sends what is "
                "missing later.",
                _first_line(error),
                self._folder,
            )
            return False
        return True


@contextmanager
def tracked(settings: LoggerSettings, folder: Path, config: Mapping[str, Any]) -> Iterator[Tracker | None]:
    """The W&B run of a run folder while it runs; None where none is asked for or W&B does not work at all.

    Args:
        settings: `logger.*`.
        folder: the run folder. Its wandb.json holds the W&B id, so a run that goes on has the same curve.
        config: the resolved configuration.
    """
    tracker = _started(settings, folder, config) if settings.name == "wandb" else None
    exit_code = 1
    try:
        yield tracker
        exit_code = 0
    finally:
        if tracker is not None:
            tracker.close(exit_code)


def is_complete(settings: LoggerSettings, folder: Path) -> bool:
    """Whether a finished run has nothing left to send."""
    return settings.name != "wandb" or bool((read_identity(folder) or {"finished": False})["finished"])


def _started(settings: LoggerSettings, folder: Path, config: Mapping[str, Any]) -> Tracker | None:
    """`_start`, or None: a run does not end because of its curves, not even by a file of theirs that is damaged."""
    try:
        return _start(settings, folder, config)
    except Exception as error:  # noqa: BLE001 -- whatever it is
        log.warning("W&B did not start (%s). The run goes on without it.", _first_line(error))
        return None


def _start(settings: LoggerSettings, folder: Path, config: Mapping[str, Any]) -> Tracker | None:
    identity = read_identity(folder) or new_identity(settings, folder)
    for file in attempts(folder, identity["id"]):
        mend(file)
    mode = _mode(settings)
    if mode == "disabled":
        return None
    for offline in (False, True) if mode == "online" else (True,):
        try:
            run = within(INIT_SECONDS + _GRACE, partial(_init, settings, folder, identity, config, offline))
        except Exception as error:  # noqa: BLE001 -- nothing in W&B may end a run
            log.warning(
                "W&B did not start%s (%s). %s",
                "" if offline else " online",
                _first_line(error),
                "The run goes on without it." if offline else f"Send the run later: wandb sync {folder / 'wandb'}",
            )
            _release()
            continue
        next_step = max(sent_steps(folder, run.id), default=-1) + 1 if offline else run.step
        return Tracker(folder, identity, run, offline=offline, next_step=next_step)
    return None


def _mode(settings: LoggerSettings) -> str:
    """online, offline or disabled; the environment wins, as W&B's users expect."""
    wanted = os.environ.get("WANDB_MODE", "")
    mode = {"run": "online", "dryrun": "offline"}.get(wanted, wanted)
    if mode and mode not in ("online", "offline", "disabled"):
        log.warning("WANDB_MODE=%s is none of online, offline and disabled: the run goes on without W&B.", wanted)
        return "disabled"
    return mode or settings.mode


def _init(
    settings: LoggerSettings, folder: Path, identity: Mapping[str, Any], config: Mapping[str, Any], offline: bool
) -> wandb.Run:
    import wandb

    wanted: dict[str, Any] = {
        "console": "off",  # log.txt has it
        "silent": True,
        "init_timeout": INIT_SECONDS,
        "login_timeout": INIT_SECONDS,
        "finish_timeout": FINISH_SECONDS,
        "finish_timeout_raises": True,
        "x_graphql_timeout_seconds": CALL_SECONDS,
        "x_transaction_log_flush_interval": 1.0,
    }
    known = wandb.Settings.model_fields  # older versions lack some
    wandb.setup(settings=wandb.Settings(silent=True))  # without a key it would ask a person, and wait
    return wandb.init(
        id=identity["id"],
        name=identity["id"],
        project=identity["project"],
        entity=identity["entity"],
        group=settings.group,
        job_type=settings.job_type,
        tags=list(settings.tags),
        notes=settings.notes,
        config={**config},
        dir=folder,
        mode="offline" if offline else "online",
        resume="allow",
        reinit="finish_previous",
        settings=wandb.Settings(**{key: value for key, value in wanted.items() if key in known}),
    )


def _release() -> None:
    """End W&B's own process: it would keep the run's id, and the end of this process would wait for it."""
    try:
        import wandb
        from wandb.sdk import wandb_setup

        connection = wandb_setup.singleton()._connection  # there is no public way to end it at once
        if connection is not None and connection._proc is not None:
            connection._proc._process.kill()
        within(_GRACE, wandb.teardown)
    except Exception as error:  # noqa: BLE001 -- what is gone cannot say goodbye
        log.debug("W&B's process was ended: %s", error)


def _about(metrics: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("benchmark", "method", "backbone", "seed", "num_shots", "class_fraction", "steps", "id_accuracy")
    return {key: metrics[key] for key in (*keys, "weights_sha256", "split_sha256")}


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
