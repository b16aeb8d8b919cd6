"""Training that belongs to no benchmark: done once for all runs that need its result, however many start together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import lightning

from negprompt import ranks, stopping
from negprompt.errors import RunError
from negprompt.runs.folder import DONE, RunFolder
from negprompt.runs.logfile import log_to
from negprompt.runs.provenance import provenance
from negprompt.training.callbacks import Rows, to_csv
from negprompt.training.checkpoint import usable_checkpoint
from negprompt.training.held import held
from negprompt.training.trainer import TrainerSettings, fit_trainer, interruptible

log = logging.getLogger(__name__)


class Work(NamedTuple):
    """What is trained: `module` on `data`, up to `epochs` or `steps`; `result` gives the content of the file then."""

    module: lightning.LightningModule
    data: lightning.LightningDataModule
    epochs: int
    steps: int
    result: Callable[[], bytes]


def made_once(
    place: Path,
    file: str,
    made_from: Mapping[str, Any],
    begin: Callable[[], Work],
    trainer: TrainerSettings,
    command: str = "",
) -> Path:
    """The file that training ends with: found finished, waited for, gone on with after a stop, or trained now.

    The folder also keeps `made_from.json`, `metrics.csv` (curves), `checkpoints/`, `log.txt` and `provenance.json`.

    Args:
        place: folder whose name follows from everything that can change the result.
        file: name of the result.
        made_from: the same in words.
        begin: makes the work, called only where there is some.
        trainer: where to train.
        command: what asks for it.

    Raises:
        RunError: the folder cannot be written, or is finished without its file.
    """
    folder = RunFolder(place, writes=ranks.rank() == 0)
    if not ranks.of_rank_zero(folder.is_done):
        with held(folder, waits=True) as folder:
            if not ranks.of_rank_zero(folder.is_done):  # by whoever held it until now
                folder.create()
                folder.remove_unfinished_files()
                folder.write_json("made_from.json", made_from)
                with log_to(folder.path / "log.txt") if folder.writes else nullcontext():
                    _make(folder, file, begin(), trainer, command)
            ranks.barrier()  # nobody reads the folder before it is whole
    if not (place / file).is_file():
        msg = f"{place} is marked {DONE} but has no {file}: delete the folder and run the same command again."
        raise RunError(msg)
    return place / file


def _make(folder: RunFolder, file: str, work: Work, trainer: TrainerSettings, command: str) -> None:
    start = time.perf_counter()
    identity, checkpoints = {"made_once": folder.path.name}, folder.path / "checkpoints"

    def publish(rows: Rows) -> None:
        folder.write_bytes("metrics.csv", to_csv(rows))

    fit = fit_trainer(trainer, checkpoints, identity, work.epochs, publish, folder.before_write, work.steps)
    resume = ranks.of_rank_zero(usable_checkpoint(checkpoints, identity) if folder.writes else None)
    log.info("training %s in %s%s", file, folder.path, "" if resume is None else ", going on from its checkpoint")
    with stopping.at_boundaries(), interruptible():
        fit.fit(work.module, work.data, ckpt_path=resume, weights_only=True)
    folder.write_bytes(file, work.result())
    seconds = {"training": round(time.perf_counter() - start, 3)}
    folder.write_json("provenance.json", provenance(seconds, command, str(work.module.device)))
    folder.mark_done()
