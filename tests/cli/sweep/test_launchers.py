"""Several members at a time, in threads or in submitit's jobs: logs of their own, shared stage 1, one table."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def test_joblib_makes_shared_stage_1_first_and_once(negprompt, light, table, tmp_path):
    said = negprompt("train", "-m", *light, "method.num_negatives=1,2", "launcher=joblib", "launcher.n_jobs=2")
    assert said.code == 0
    assert {row["state"] for row in table().values()} == {"done"}
    (first,) = (tmp_path / "runs" / "icons" / "coop").rglob("DONE")
    assert (first.parent / "log.txt").read_text().count("training coop") == 1
    began = [line for line in said.out.splitlines() if line.startswith("[")]
    assert began[0] == "[1/3] stage 1 of method.num_negatives=1"
    logs = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "runs" / "_sweeps").rglob("*.log"))
    assert logs == ["method.num_negatives=1", "method.num_negatives=2", "stage_1_of_method.num_negatives=1"]
    assert "training negprompt" not in said.err


def test_submitit_runs_several_members_in_a_job(negprompt, quick, table, tmp_path):
    said = negprompt(
        "train", "-m", *quick, "seed=1,2", "launcher=submitit_local", "launcher.members_per_job=2", "launcher.n_jobs=1"
    )
    assert said.code == 0
    assert [row["state"] for row in table().values()] == ["done", "done"]
    assert len(list((tmp_path / "runs" / "_sweeps").rglob("*_submitted.pkl"))) == 1
