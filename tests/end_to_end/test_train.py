"""A run from request to folder: the same request the same bits, stage 1 made once, and nothing lost on the way."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from importlib import metadata

import numpy as np
import pytest
import torch
from helpers import QUIET, TinySettings, coop, request, scores, two_stage, write_benchmark

from negprompt import api, phases
from negprompt.data.base import Augmentation
from negprompt.data.icons import IconsOOD
from negprompt.errors import ConfigError, NegPromptError, PromptMismatchError, RunBusyError, RunError
from negprompt.evaluation.module import PromptEvaluation
from negprompt.features.extract import FeatureExtraction
from negprompt.features.settings import FeatureSettings
from negprompt.methods.coop import CoOp
from negprompt.methods.negprompt import NegPrompt
from negprompt.prompts import bundle as bundles
from negprompt.reports.collect import collect
from negprompt.runs.lease import lease
from negprompt.training.schedule import OptimizerSettings
from negprompt.training.trainer import TrainerSettings

pytestmark = pytest.mark.usefixtures("no_figures")

RESULTS = ("metrics.json", "scores.npz", "prompts.safetensors")


@pytest.fixture(scope="module")
def finished(icons, tmp_path_factory):
    """One run of both stages, to compare others with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("negprompt.phases.score_histograms", lambda *_, **__: None)
        return api.train(request(icons, tmp_path_factory.mktemp("runs")))


def stage1_of(folder):
    (found,) = (folder.parents[2] / "coop").glob("*/*")
    return found


def results(folder):
    return {name: (folder / name).read_bytes() for name in RESULTS}


def folder_of(wanted):
    """The folder a request would have, without running it."""
    bench = api._workbench(wanted)
    return wanted.runs_dir / wanted.run_name(bench, api._given_prompts(wanted, bench))


# --- the same request ----------------------------------------------------------------------------------------------


def test_a_finished_run_is_reused_and_not_touched(icons, finished):
    before = results(finished.folder), (finished.folder / "DONE").stat().st_mtime_ns
    again = api.train(request(icons, finished.folder.parents[3]))
    assert again == finished._replace(reused=True)
    assert (results(finished.folder), (finished.folder / "DONE").stat().st_mtime_ns) == before


def test_the_same_request_in_another_folder_gives_the_same_bytes(icons, finished, tmp_path):
    again = api.train(request(icons, tmp_path))
    assert again.folder.name == finished.folder.name
    assert results(again.folder) == results(finished.folder)
    assert results(stage1_of(again.folder)) == results(stage1_of(finished.folder))


def test_shards_in_another_place_give_the_same_bytes(finished, tmp_path):
    copy = write_benchmark(tmp_path / "shards")
    assert results(api.train(request(copy, tmp_path / "runs")).folder) == results(finished.folder)


def test_a_run_asked_never_to_resume_is_made_again_with_the_same_bytes(icons, finished, tmp_path, caplog):
    first = api.train(request(icons, tmp_path))
    with caplog.at_level(logging.INFO):
        again = api.train(request(icons, tmp_path, resume="never"))
    assert not again.reused
    assert not [record for record in caplog.records if "Going on from" in record.getMessage()]
    assert results(again.folder) == results(first.folder)


def test_a_run_made_anew_keeps_the_old_one_whole_and_shares_stage_1(icons, tmp_path, caplog):
    first = api.train(request(icons, tmp_path))
    stage1 = (stage1_of(first.folder) / "DONE").stat().st_mtime_ns
    for attempt in (1, 2):
        with caplog.at_level(logging.INFO):
            api.train(request(icons, tmp_path, resume="never"))
        aside = (
            tmp_path / "_superseded" / first.folder.relative_to(tmp_path).with_name(f"{first.folder.name}-{attempt}")
        )
        assert results(aside) == results(first.folder)
        assert (aside / "DONE").exists()
        assert f"is now in {aside}" in caplog.text
    assert (stage1_of(first.folder) / "DONE").stat().st_mtime_ns == stage1
    assert len(collect(tmp_path)) == 2


def test_an_unfinished_run_is_kept_too_when_it_is_made_anew(icons, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(CoOp, "loss", failing(CoOp.loss, OSError("power cut"), 5))
        with pytest.raises(OSError, match="power cut"):
            api.train(request(icons, tmp_path, method=coop()))
    api.train(request(icons, tmp_path, method=coop(), resume="never"))
    (checkpoint,) = (tmp_path / "_superseded").rglob("*.ckpt")
    assert (checkpoint.parents[1] / "FAILED.json").exists()


def test_a_job_that_slurm_queues_again_goes_on_with_what_it_began_anew(icons, finished, tmp_path, monkeypatch, caplog):
    """Preemption must not lose a `resume=never` run; what another job left is made anew, also by a queued-again one."""
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "c1")
    wanted = request(icons, tmp_path, method=coop(), resume="never")
    for job, preempted in (("7", True), ("8", False)):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # the first time, it was stopped before it began
        if preempted:
            with monkeypatch.context() as patch:
                patch.setattr(CoOp, "loss", failing(CoOp.loss, KeyboardInterrupt(), 5))
                with pytest.raises(KeyboardInterrupt):
                    api.train(wanted)
        monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
        caplog.clear()
        with caplog.at_level(logging.INFO):
            run = api.train(wanted)
        assert ("Going on from" in caplog.text) == preempted
        assert not run.reused
        assert results(run.folder) == results(stage1_of(finished.folder))
        assert api.train(wanted).reused
    assert [path.name for path in tmp_path.rglob("_superseded/*/*/*/*-[0-9]")] == [f"{run.folder.name}-1"]


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_run_that_somebody_else_makes_is_left_alone(icons, tmp_path, resume):
    run = api.train(request(icons, tmp_path, method=coop()))
    (run.folder / "DONE").unlink()
    before = sorted(tmp_path.rglob("*"))
    with lease(run.folder), pytest.raises(RunBusyError, match="right now by process"):
        api.train(request(icons, tmp_path, method=coop(), resume=resume))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_lost_its_folder_to_another_writes_nothing_more(icons, tmp_path, monkeypatch):
    def lose(*_, **__):
        (path,) = tmp_path.rglob(".*.lease/1.json")
        path.rename(path.with_name("2.json"))
        return steps(*_, **__)

    steps = phases.fit
    monkeypatch.setattr(phases, "fit", lose)
    with pytest.raises(RunError, match="taken over"):
        api.train(request(icons, tmp_path, method=coop()))
    for name in ("prompts.safetensors", "FAILED.json", "DONE"):
        assert not list(tmp_path.rglob(name))


def test_a_folder_that_is_removed_meanwhile_is_not_half_made_again(icons, tmp_path, monkeypatch):
    def lose(*_, **__):
        (path,) = tmp_path.rglob("config.yaml")
        shutil.rmtree(path.parent)
        raise OSError("no such file")

    monkeypatch.setattr(CoOp, "loss", lose)
    with pytest.raises(OSError, match="no such file"):
        api.train(request(icons, tmp_path, method=coop()))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "_features" not in path.parts]


# --- a finished run that does not stand for the request ------------------------------------------------------------

STALE = {
    "other weights": (lambda run: set_in(run, "metrics.json", "weights_sha256", "f" * 64), "other weights.*ffffffff"),
    "other pictures": (lambda run: set_in(run, "metrics.json", "split_sha256", "f" * 64), "other pictures.*ffffffff"),
    "no metrics": (lambda run: (run / "metrics.json").write_text('{"a'), "metrics.json is missing or damaged"),
    "no scores": (lambda run: (run / "scores.npz").unlink(), "scores.npz is missing"),
    "half the scores": (lambda run: os.truncate(run / "scores.npz", 99), "scores.npz is damaged"),
    "no prompts": (lambda run: os.truncate(run / "prompts.safetensors", 0), "prompts.safetensors is missing or empty"),
}


def set_in(run, name, key, value):
    content = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps({**content, key: value}))


@pytest.mark.parametrize(("spoil", "message"), STALE.values(), ids=STALE)
def test_a_stale_run_is_named_and_made_anew_on_request(icons, finished, tmp_path, spoil, message):
    runs = shutil.copytree(finished.folder.parents[3], tmp_path / "runs")
    stage1 = stage1_of(finished.folder)
    copy = runs / stage1.relative_to(finished.folder.parents[3])
    spoil(copy)
    with pytest.raises(RunError, match=rf"(?s){message}.*resume=never"):
        api.train(request(icons, runs, method=coop()))
    (runs / finished.folder.relative_to(finished.folder.parents[3]) / "DONE").unlink()
    with pytest.raises(RunError, match=rf"(?s){message}.*move .* away"):  # the same run, as stage 1 of another
        api.train(request(icons, runs))
    assert results(api.train(request(icons, runs, method=coop(), resume="never")).folder) == results(stage1)


def test_a_run_of_another_version_is_used_with_a_warning(icons, finished, tmp_path, caplog):
    runs = shutil.copytree(finished.folder.parents[3], tmp_path / "runs")
    set_in(
        runs / finished.folder.relative_to(finished.folder.parents[3]),
        "provenance.json",
        "versions",
        {"negprompt": "0.0.9"},
    )
    assert api.train(request(icons, runs)).reused
    assert f"made by negprompt 0.0.9, this is {metadata.version('negprompt')}" in caplog.text


# --- randomness ----------------------------------------------------------------------------------------------------


def test_what_was_random_before_has_no_say(icons, finished, tmp_path):
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    assert results(api.train(request(icons, tmp_path)).folder) == results(finished.folder)


@pytest.mark.parametrize("seed", [0, 2])
def test_another_seed_is_another_run(icons, finished, tmp_path, seed):
    other = api.train(request(icons, tmp_path, seed=seed))
    assert other.folder.name.startswith(f"seed{seed}-")
    mine, theirs = bundles.load(finished.folder), bundles.load(other.folder)
    assert not torch.equal(mine.positive, theirs.positive)
    assert not torch.equal(mine.negative, theirs.negative)
    assert mine.metadata["split_sha256"] != theirs.metadata["split_sha256"]
    assert other.metrics["seed"] == seed
    with np.load(finished.folder / "scores.npz") as one, np.load(other.folder / "scores.npz") as two:
        assert (one["id/key"] == two["id/key"]).all()
        assert (one["id/negprompt"] != two["id/negprompt"]).any()


# --- what the hash covers ------------------------------------------------------------------------------------------

NO_SAY = {
    "runs_dir": {"runs_dir": "elsewhere"},
    "num_workers": {"trainer": QUIET.model_copy(update={"num_workers": 2})},
    "eval_batch_size": {"trainer": QUIET.model_copy(update={"eval_batch_size": 7})},
    "progress_bar": {"trainer": QUIET.model_copy(update={"progress_bar": True})},
    "accelerator": {"trainer": QUIET.model_copy(update={"accelerator": "auto"})},
    "resume": {"resume": "never"},
    "command": {"command": "negprompt train", "config": {"a": 1}},
}
HAVE_A_SAY = {
    "seed": {"seed": 0},
    "num_shots": {"num_shots": 2},
    "class_fraction": {"class_fraction": 0.5},
    "class_names": {"class_names": ["bell", "owl"]},
    "part": {"part": "val"},
    "augmentation": {"augmentation": Augmentation(flip=0.0)},
    "ood": {"ood": {"part": "val"}},
    "num_negatives": {"method": two_stage(num_negatives=3)},
    "stage-1 recipe": {
        "method": two_stage(positive=coop(optimizer=OptimizerSettings(lr=0.01, epochs=3, batch_size=16)))
    },
    "nis": {"method": two_stage(nis="joint_uniform")},
    "batch size": {"method": two_stage(optimizer=OptimizerSettings(lr=0.02, epochs=3, batch_size=8))},
    "precision": {"trainer": QUIET.model_copy(update={"precision": "bf16-mixed"})},
    "weights": {"backbone": TinySettings(init_seed=1)},
    "views": {"features": FeatureSettings(views=4)},
    "scores": {"scores": scores("mcm")},
}


def changed(icons, runs_dir, changes):
    """A request with some settings changed; `ood` is given as settings of `IconsOOD`."""
    changes = {"runs_dir": runs_dir, **changes}
    if "ood" in changes:
        changes["ood"] = IconsOOD(**{"name": "icons", "root": str(icons), **changes["ood"]})
    return request(icons, changes.pop("runs_dir"), **changes)


@pytest.mark.parametrize("changes", NO_SAY.values(), ids=NO_SAY)
def test_what_cannot_change_a_result_keeps_the_folders_name(icons, finished, tmp_path, changes):
    moved = {**changes, "runs_dir": tmp_path / "elsewhere"} if "runs_dir" in changes else changes
    assert folder_of(changed(icons, tmp_path, moved)).name == finished.folder.name


@pytest.mark.parametrize("changes", HAVE_A_SAY.values(), ids=HAVE_A_SAY)
def test_what_can_change_a_result_changes_the_folders_name(icons, finished, tmp_path, changes):
    assert folder_of(changed(icons, tmp_path, changes)).name.split("-")[1] != finished.folder.name.split("-")[1]


def test_loader_processes_and_test_batches_do_not_change_the_prompts(icons, tmp_path):
    few = FeatureSettings(mode="none", views=1)
    other = TrainerSettings(accelerator="cpu", progress_bar=False, num_workers=2, eval_batch_size=5)
    one = api.train(request(icons, tmp_path / "1", features=few, method=coop()))
    two = api.train(request(icons, tmp_path / "2", features=few, method=coop(), trainer=other))
    assert one.folder.name == two.folder.name
    assert (one.folder / "prompts.safetensors").read_bytes() == (two.folder / "prompts.safetensors").read_bytes()
    with np.load(one.folder / "scores.npz") as mine, np.load(two.folder / "scores.npz") as theirs:
        assert all(np.allclose(mine[key], theirs[key], atol=1e-4) for key in mine if mine[key].dtype.kind == "f")


# --- stage 1 -------------------------------------------------------------------------------------------------------


def test_stage_1_is_made_once_for_several_stage_2_runs(icons, tmp_path):
    first = api.train(request(icons, tmp_path))
    done = (stage1_of(first.folder) / "DONE").stat().st_mtime_ns
    second = api.train(request(icons, tmp_path, method=two_stage(num_negatives=1)))
    assert (stage1_of(first.folder) / "DONE").stat().st_mtime_ns == done  # stage1_of finds exactly one
    assert second.metrics["positive_prompts"] == first.metrics["positive_prompts"] == stage1_of(first.folder).name


def test_stage_1_of_a_two_stage_run_is_the_run_of_method_coop(icons, finished):
    alone = api.train(request(icons, finished.folder.parents[3], method=coop()))
    assert alone.reused
    assert alone.folder == stage1_of(finished.folder)


def test_stage_1_changes_with_its_own_settings_only(icons, tmp_path):
    def stage1(**changes):
        return folder_of(request(icons, tmp_path, method=two_stage(**changes).positive_stage()))

    assert stage1() == stage1(num_negatives=5) == stage1(nis="joint_uniform", npd_weight=0.7)
    assert stage1() != stage1(num_context_tokens=2)


@pytest.mark.parametrize("given", ["folder", "file"])
def test_named_positive_prompts_give_the_stage_2_of_their_run(icons, finished, tmp_path, given):
    stage1 = stage1_of(finished.folder)
    path = stage1 if given == "folder" else stage1 / bundles.FILE_NAME
    run = api.train(request(icons, tmp_path, method=two_stage(positive_prompts=str(path))))
    assert not (tmp_path / "icons" / "coop").exists()
    assert run.metrics == finished.metrics
    assert (run.folder / "scores.npz").read_bytes() == (finished.folder / "scores.npz").read_bytes()
    mine, theirs = bundles.load(run.folder), bundles.load(finished.folder)
    assert torch.equal(mine.negative, theirs.negative)
    assert mine.metadata["positive_prompts"] == theirs.metadata["positive_prompts"] == stage1.name


def test_the_place_of_named_prompts_has_no_say_but_their_content_has(icons, finished, tmp_path):
    stage1 = stage1_of(finished.folder)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((stage1 / bundles.FILE_NAME).read_bytes())
    by_path = [folder_of(request(icons, tmp_path, method=two_stage(positive_prompts=str(p)))) for p in (stage1, copy)]
    assert by_path[0] == by_path[1]
    bundle = bundles.load(copy)
    copy.write_bytes(bundles.to_bytes(bundle._replace(positive=bundle.positive + 1e-3)))
    assert folder_of(request(icons, tmp_path, method=two_stage(positive_prompts=str(copy)))) != by_path[0]


def test_named_prompts_of_other_weights_are_refused_before_anything_is_written(icons, finished, tmp_path):
    method = two_stage(positive_prompts=str(stage1_of(finished.folder)))
    with pytest.raises(PromptMismatchError, match="other weights of tiny_test"):
        api.train(request(icons, tmp_path, method=method, backbone=TinySettings(init_seed=1)))
    assert not list(tmp_path.iterdir())


def test_named_prompts_of_another_layout_are_refused_with_the_settings_to_change(icons, finished, tmp_path):
    method = two_stage(positive_prompts=str(stage1_of(finished.folder)), num_context_tokens=2)
    with pytest.raises(PromptMismatchError, match=r"set method\.num_context_tokens"):
        api.train(request(icons, tmp_path, method=method))


# --- leakage -------------------------------------------------------------------------------------------------------


def test_other_ood_pictures_leave_the_prompts_bit_for_bit(finished, tmp_path):
    other = write_benchmark(tmp_path / "shards", ood_seed=5)
    run = api.train(request(other, tmp_path / "runs"))
    assert run.metrics["scores"] != finished.metrics["scores"]
    assert run.folder.name != finished.folder.name
    mine, theirs = bundles.load(run.folder), bundles.load(finished.folder)
    assert torch.equal(mine.positive, theirs.positive)
    assert torch.equal(mine.negative, theirs.negative)


def test_other_scores_leave_the_prompts_bit_for_bit(icons, finished, tmp_path):
    run = api.train(request(icons, tmp_path, scores=scores("mcm"), stage_scores=scores("msp")))
    assert list(run.metrics["scores"]) == ["mcm"]
    assert torch.equal(bundles.load(run.folder).negative, bundles.load(finished.folder).negative)


# --- what goes wrong -----------------------------------------------------------------------------------------------


def failing(original, error, calls):
    """`original`, with `error` raised at its call number `calls`."""
    count = [0]

    def wrapped(*args, **kwargs):
        count[0] += 1
        if count[0] == calls:
            raise error
        return original(*args, **kwargs)

    return wrapped


PLACES = {
    "image features": (FeatureExtraction, "predict_step", 1, "coop"),
    "stage 1, first step": (CoOp, "loss", 1, "coop"),
    "stage 1, second epoch": (CoOp, "loss", 5, "coop"),
    "evaluation of stage 1": (PromptEvaluation, "test_step", 2, "coop"),
    "stage 2, second epoch": (NegPrompt, "loss", 5, "negprompt"),
    "evaluation of stage 2": (PromptEvaluation, "test_step", 7, "negprompt"),
}


@pytest.mark.parametrize("error", [OSError("the disk went away"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
@pytest.mark.parametrize(("cls", "name", "calls", "failed"), PLACES.values(), ids=PLACES)
def test_what_stops_a_run_is_kept_and_the_next_attempt_ends_as_if_nothing_was(
    icons, finished, tmp_path, monkeypatch, cls, name, calls, failed, error
):
    with monkeypatch.context() as patch:
        patch.setattr(cls, name, failing(getattr(cls, name), error, calls))
        with pytest.raises(type(error)):
            api.train(request(icons, tmp_path))
    broken = {path.parent.parents[1].name: path for path in tmp_path.rglob("FAILED.json")}
    if isinstance(error, KeyboardInterrupt):
        assert not broken  # it was stopped, it did not fail
    else:
        assert set(broken) == ({"coop", "negprompt"} if failed == "coop" else {"negprompt"})
        note = json.loads(broken["negprompt"].read_text())
        assert (note["error"], note["message"]) == (type(error).__name__, str(error))
    done = {path.parent.parents[1].name for path in tmp_path.rglob("DONE")}
    assert done == ({"coop"} if failed == "negprompt" else set())
    assert not list(tmp_path.rglob("*.lease"))

    again = api.train(request(icons, tmp_path))
    assert results(again.folder) == results(finished.folder)
    assert results(stage1_of(again.folder)) == results(stage1_of(finished.folder))
    assert (again.folder / "metrics.csv").read_bytes() == (finished.folder / "metrics.csv").read_bytes()
    assert not list(tmp_path.rglob("FAILED.json"))


def test_a_second_attempt_goes_on_from_the_last_epoch(icons, tmp_path, monkeypatch):
    steps = []
    loss = NegPrompt.loss

    def counted(self, *args):
        steps.append(self.global_step)
        if len(steps) == 8:
            raise OSError("power cut")
        return loss(self, *args)

    monkeypatch.setattr(NegPrompt, "loss", counted)
    with pytest.raises(OSError, match="power cut"):
        api.train(request(icons, tmp_path))
    api.train(request(icons, tmp_path))
    assert steps == [0, 1, 2, 3, 4, 5, 6, 7, 6, 7, 8]


def test_a_real_signal_ends_the_run_like_ctrl_c(icons, tmp_path, monkeypatch):
    loss = CoOp.loss

    def signalled(self, *batch):
        signal.raise_signal(signal.SIGINT)
        return loss(self, *batch)

    monkeypatch.setattr(CoOp, "loss", signalled)
    with pytest.raises(KeyboardInterrupt):
        api.train(request(icons, tmp_path, method=coop()))
    assert not list(tmp_path.rglob("DONE"))


def test_ctrl_c_works_a_second_time(icons, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(CoOp, "loss", failing(CoOp.loss, KeyboardInterrupt(), 1))
        with pytest.raises(KeyboardInterrupt):
            api.train(request(icons, tmp_path))
    assert signal.getsignal(signal.SIGINT) == before


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_setting(icons, tmp_path, monkeypatch):
    monkeypatch.setattr(CoOp, "loss", lambda self, *_: (self.context.sum() * float("nan"), {}))
    with pytest.raises(NegPromptError, match=r"The loss became nan at step 0: lower method\.optimizer\.lr"):
        api.train(request(icons, tmp_path, method=coop()))
    assert json.loads(next(tmp_path.rglob("FAILED.json")).read_text())["error"] == "RunError"
    assert not list(tmp_path.rglob("prompts.safetensors"))


def test_class_specific_prompts_and_a_share_of_the_classes_are_refused_before_anything_is_loaded(icons, tmp_path):
    wanted = request(icons / "gone", tmp_path, method=two_stage(class_specific=True), class_fraction=0.1)
    with pytest.raises(ConfigError, match=r"data\.class_fraction=0\.1 tests names that were never trained on"):
        api.train(wanted)


def test_a_score_that_needs_negatives_is_refused_for_a_method_without(icons, tmp_path):
    wanted = request(icons / "gone", tmp_path, method=coop(), scores=scores("negprompt"), cut_scores=frozenset())
    with pytest.raises(ConfigError, match=r"score=negprompt needs negative prompts .* method=coop does not have"):
        api.train(wanted)


# --- the folder ----------------------------------------------------------------------------------------------------


def test_a_finished_folder_holds_what_the_contract_names(icons, finished):
    files = {str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*") if path.is_file()}
    assert files == {
        "config.yaml", "metrics.json", "provenance.json", "scores.npz", "prompts.safetensors",
        "checkpoints/last.ckpt", "checkpoints/previous.ckpt", "log.txt", "metrics.csv", "DONE", "detector.json",
    }  # fmt: skip
    assert finished.folder.relative_to(finished.folder.parents[3]).parts[:3] == ("icons", "negprompt", "tiny_test")


def test_a_figure_is_drawn_of_the_first_score(icons, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(phases, "score_histograms", lambda *values: drawn.append(values))
    run = api.train(request(icons, tmp_path, method=coop(), scores=scores("msp", "mcm")))
    ((id_scores, ood_scores, name, path),) = drawn
    assert (name, path) == ("msp", run.folder / "figures" / "msp_histograms.png")
    with np.load(run.folder / "scores.npz") as saved:
        assert (saved["id/msp"] == id_scores).all()
        assert (saved["ood/flags/msp"] == ood_scores["flags"]).all()
