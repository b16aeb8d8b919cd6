"""W&B: offline runs are written, other loggers start nothing, a failure closes the run."""

from __future__ import annotations

import pytest
import wandb

from negprompt.tracking.wandb import LoggerSettings, log_results, tracked


@pytest.mark.parametrize("name", ["csv", "none"])
def test_other_loggers_start_no_wandb_run(tmp_path, name):
    with tracked(LoggerSettings(name=name), tmp_path, {}) as logger:
        assert logger is None
        log_results(logger, {"id_accuracy": 1.0})
    assert wandb.run is None
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_offline_run_is_written_under_the_run_folder_and_closed_when_the_run_fails(tmp_path):
    folder = tmp_path / "icons" / "coop" / "tiny_rn" / "seed1-00000000"
    folder.mkdir(parents=True)

    def fails():
        with tracked(LoggerSettings(name="wandb", mode="offline"), folder, {"seed": 1}) as logger:
            assert wandb.run.id == "icons-coop-tiny_rn-seed1-00000000"
            log_results(logger, {"id_accuracy": 0.5})
            assert wandb.run.summary["id_accuracy"] == 0.5
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fails()
    assert wandb.run is None
    assert list((folder / "wandb").glob("offline-run-*/*.wandb"))
