"""Settings of launchers are refused before anything is queued."""

from __future__ import annotations

import pytest

from negprompt.cli.sweep.settings import launcher_settings
from negprompt.errors import ConfigError


def slurm(**changes):
    return launcher_settings(
        {"name": "slurm", "timeout_min": 10, "signal_delay_s": 60, "max_num_timeout": 30, **changes}
    )


def test_slurm_without_slurm(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="there is no sbatch on this machine"):
        slurm().check()


def test_what_the_launcher_sets_itself_is_refused():
    with pytest.raises(ConfigError, match=r"launcher\.additional_parameters\.open_mode is set by the launcher itself"):
        slurm(additional_parameters={"constraint": "a100", "open_mode": "append"}).check()


@pytest.mark.parametrize(
    ("gpus", "devices", "accelerator", "fits"),
    [(2, 2, "gpu", True), (1, 2, "gpu", False), (0, 1, "gpu", False), (1, 2, "auto", False), (1, 8, "cpu", True),
     (0, 8, "auto", True), (None, 8, "gpu", True)],
)  # fmt: skip
def test_a_member_has_the_gpus_of_its_node(gpus, devices, accelerator, fits):
    launcher = slurm(gpus_per_node=gpus)
    if fits:
        launcher.check_devices(devices, accelerator)
    else:
        with pytest.raises(ConfigError, match=f"trainer.devices={devices}.*launcher.gpus_per_node={gpus}"):
            launcher.check_devices(devices, accelerator)
