"""Whatever is wrong: one message that names the value and the fix, an exit code that is not 0, and nothing lost."""

from __future__ import annotations

import json
import shutil

import pytest
from command_line import LIGHT, ONE_STAGE, one_message

from negprompt.prompts import bundle as bundles

pytestmark = pytest.mark.usefixtures("no_figures")

REFUSED = {
    # groups
    "backbone=tiny_rm": ("backbone=tiny_rm", "did you mean 'tiny_rn'?", "tiny_vit"),
    "method=cop": ("method=cop", "did you mean 'coop'?", "zero_shot"),
    "score=mmc": ("score=mmc", "did you mean 'mcm'?", "energy"),
    "score=[mcm,energi]": ("score=energi", "did you mean 'energy'?"),
    "data=iconz": ("data=iconz", "did you mean 'icons'?", "icons_hard_4"),
    "ood=icon": ("ood=icon", "did you mean 'icons'?"),
    "trainer=gpu": ("trainer=gpu", "did you mean 'gpu_bf16'?", "cpu"),
    "features=disk": ("features=disk", "allowed: none, store"),
    "experiment=table": ("experiment=table", "none"),
    "method=null": ("method=null", "allowed: clipn, coop"),
    "backbone=5": ("backbone=5", "tiny_rn"),
    "~method": ("~method", "choose another one", "coop"),
    "hydra/launcher=slum": ("hydra/launcher=slum: unknown",),
    "backbone.name=tiny_rm": ("backbone.name='tiny_rm'", "did you mean 'tiny_rn'?"),
    "backbone=open_clip": ("backbone.model_name is missing", "set backbone.model_name=..."),
    "backbone=open_clip backbone.model_name=ViT-B32 backbone.pretrained=openai": (
        "backbone.model_name='ViT-B32'", "did you mean 'ViT-B-32'?", "more",
    ),
    "backbone=open_clip backbone.model_name=ViT-B-32 backbone.pretrained=opena": (
        "backbone.pretrained='opena'", "did you mean 'openai'?",
    ),
    "backbone=open_clip backbone.model_name=ViT-B-32 backbone.pretrained=gone.pt": ("gone.pt is no file",),
    "backbone._target_=no.such.Thing": ("backbone._target_=no.such.Thing: cannot be imported",),
    "backbone._target_=negprompt.data.icons.IconsID": ("must be a BackboneSettings",),
    # names inside a data set
    "ood.sets=[near,flag]": ("unknown OOD set 'flag'", "did you mean 'flags'?", "symbols"),
    "ood.sets=[]": ("ood.sets=[]", "near, symbols, logos, flags"),
    "data.class_names=[bell,anchr]": ("unknown class 'anchr'", "did you mean 'anchor'?"),
    "data.class_names=[]": ("data.class_names=[]", "leave it null for all"),
    "data.class_names=bell": ("data.class_names=bell", "data.class_names=[bell]"),
    "data.part=train": ("data.part=train", "allowed: test, val"),
    "data.hard_split=7": ("data.hard_split=7", "1, 2, 3, 4"),
    # types and ranges
    "seed=abc": ("seed=abc: should be a valid integer",),
    "seed=null": ("seed=null: should be a valid integer",),
    "seed=true": ("seed=true: should be a valid integer",),
    "seed=1.5": ("seed=1.5: should be a valid integer",),
    "seed=": ("seed=: should be a valid integer",),
    "seed=-1": ("seed=-1: should be greater than or equal to 0",),
    "seed=4294967296": ("seed=4294967296: should be less than 4294967296",),
    "seed=[1,2]": ("seed=[1,2]: should be a valid integer",),
    "seed=???": ("seed is missing: set seed=...",),
    "~seed": ("seed is missing: set seed=...",),
    "seed=${sed}": ("seed: Interpolation key 'sed' not found",),
    "data.num_shots=-1": ("data.num_shots=-1: should be greater than or equal to 1",),
    "data.num_shots=0": ("data.num_shots=0: should be greater than or equal to 1",),
    "data.num_shots=many": ("data.num_shots=many: should be a valid integer",),
    "data.class_fraction=0": ("data.class_fraction=0: should be greater than 0",),
    "data.class_fraction=1.1": ("data.class_fraction=1.1: should be less than or equal to 1",),
    "data.augmentation.scale_min=0.9 data.augmentation.scale_max=0.5": ("scale_min=0.9 is above", "scale_max=0.5"),
    "method.num_negatives=0": ("method.num_negatives=0: should be greater than or equal to 1",),
    "method.num_context_tokens=0": ("method.num_context_tokens=0: should be greater than or equal to 1",),
    "method.context_init=word": ("method.context_init=word", "did you mean 'words'?", "auto, random"),
    "method.class_token_position=back": ("method.class_token_position=back", "allowed: end, front, middle"),
    "method.nis=margin": ("method.nis=margin", "did you mean 'multilabel_margin'?"),
    "method.npd_weight=-1": ("method.npd_weight=-1: should be greater than or equal to 0",),
    "method.optimizer.lr=fast": ("method.optimizer.lr=fast: should be a valid number",),
    "method.optimizer.lr=nan": ("method.optimizer.lr=nan: should be a finite number",),
    "method.optimizer.momentum=1": ("method.optimizer.momentum=1: should be less than 1",),
    "method.positive.optimizer.epochs=0": ("method.positive.optimizer.epochs=0: should be greater than",),
    "method.optimizer=null": ("method.optimizer=null: should stay a group of settings",),
    "score.mcm.temperature=0": ("score.mcm.temperature=0", "> 0"),
    "score.mcm.temperature=-1": ("score.mcm.temperature=-1", "> 0"),
    "score.negprompt.temperature=.inf": ("score.negprompt.temperature=.inf",),
    "score.msp.temperature=warm": ("score.msp.temperature=warm: should be a valid number",),
    "score=[]": ("score=[]", "choose at least one"),
    "trainer.devices=0": ("trainer.devices=0: should be greater than or equal to 1",),
    "trainer.precision=16": ("trainer.precision=16", "16-mixed"),
    "trainer.precision=16-mixed": ("trainer.precision=16-mixed needs a GPU", "32-true"),
    "resume=always": ("resume=always", "allowed: auto, never"),
    "text_chunk=0": ("text_chunk=0: should be auto, none or a number of classes, 1 or more",),
    "text_path=crop": ("text_path=crop", "did you mean 'cropped'?"),
    "paths.runs_dir=null": ("paths.runs_dir=null: should be a valid string",),
    # keys
    "sed=1": ("unknown setting 'sed'", "did you mean 'seed'?"),
    "+foo=1": ("unknown setting 'foo'", "Allowed: backbone"),
    "data.num_shot=4": ("unknown setting 'data.num_shot'", "did you mean 'num_shots'?"),
    "+data.num_shot=4": ("unknown setting 'data.num_shot'", "did you mean 'num_shots'?"),
    "+method.optimizer.lrr=1": ("unknown setting 'method.optimizer.lrr'", "did you mean 'lr'?"),
    "+method.positive.optimizer.lrr=1": ("unknown setting 'method.positive.optimizer.lrr'", "did you mean 'lr'?"),
    "score.mcm.temp=1": ("unknown setting 'score.mcm.temp'", "temperature"),
    "+score.mcm.temp=1": ("score.mcm.temp=1: unknown setting", "temperature"),
    "+trainer.foo=1": ("unknown setting 'trainer.foo'", "precision"),
    # settings that do not go together
    "method.class_specific=true data.class_fraction=0.5": ("data.class_fraction=0.5", "method.class_specific=false"),
    "method.num_context_tokens=80": ("class 'anchor' has 83 tokens", "takes 77", "lower method.num_context_tokens"),
    "method.num_context_tokens=3 method.context_init=words": (
        "'a photo of a' are 4 tokens", "method.num_context_tokens is 3", "method.context_init=random",
    ),
    "method.positive.num_context_tokens=3": ("Both stages share one prompt layout", "set method.num_context_tokens"),
    "method.positive_prompts=gone": ("No prompts at gone", "finished run folder"),
    "features.augment=false features.views=2": ("features.views=2: without augmentation", "set features.views=1"),
    "data.root=gone": ("No benchmark.json in gone", "data.root must be a folder"),
    "paths.runs_dir=pyproject.toml/runs": ("a part of the path is a file", "set another paths.runs_dir=<folder>"),
    # the words themselves
    "seed": ("'seed' cannot be read", "key=value"),
    "seed=[1": ("'seed=[1' cannot be read", "key=value"),
    "seed=1,2": ("seed=1,2", "--multirun"),
    "method=coop,zero_shot": ("method=coop,zero_shot", "--multirun"),
    "--multirun seed=1,x": ("seed=x: should be a valid integer",),
    "--multirun method=negprompt,zero": ("method=zero", "did you mean 'zero_shot'?"),
    "--multirun launcher=joblib,local": ("launcher=joblib,local", "a sweep has one launcher"),
    "--multirun launcher=slrum": ("launcher=slrum", "did you mean 'slurm'?"),
    "--multirun launcher=joblib launcher.n_jobs=0": ("launcher.n_jobs=0", "greater than or equal to 1"),
    "--multirun launcher=joblib launcher.partition=gpu": ("unknown setting 'launcher.partition'", "n_jobs"),
    "--multirun launcher=submitit_local launcher.timeout_min=1 launcher.signal_delay_s=60": (
        "launcher.signal_delay_s=60 is not shorter than launcher.timeout_min=1",
    ),
    "sweep=seeds": ("sweep=seeds", "add --multirun"),
    "launcher=joblib": ("launcher=joblib", "add --multirun"),
    "stage=second": ("stage=second", "allowed: all, first"),
    "--multi": ("unknown flag '--multi'", "did you mean '--multirun'?"),
    "--config-name=x": ("unknown flag '--config-name'", "--config-dir"),
    "--cfg=jop": ("--cfg jop", "did you mean 'job'?"),
    "--cfg": ("--cfg needs a value",),
    "--multirun --cfg=job": ("--cfg shows the settings of one run", "leave --multirun out"),
    "--config-dir=gone": ("--config-dir gone: there is no such folder",),
    "--cfg=job seed": ("'seed' cannot be read",),
    "--cfg=job method=cop": ("did you mean 'coop'?",),
}  # fmt: skip
WITHOUT_STAGE_2 = {
    "method=coop stage=first": ("stage=first: method=coop makes no stage 1",),
    "method=coop score=negprompt": ("score=negprompt needs negative prompts", "method=coop does not have"),
    "method=zero_shot score=[mcm,negprompt]": ("score=negprompt needs negative prompts", "method=zero_shot"),
    "method=zero_shot method.optimizer.epochs=3": ("unknown setting 'method.optimizer.epochs'", "has no settings"),
    "method=zero_shot method.context_init=random": ("method.context_init=words", "method=coop"),
    "method=coop method.positive_prompts=x": ("unknown setting 'method.positive_prompts'", "num_context_tokens"),
}


@pytest.mark.parametrize(("words", "fragments"), REFUSED.items(), ids=REFUSED)
def test_refused_settings_name_the_value_and_what_is_allowed(negprompt, light, tmp_path, words, fragments):
    said = negprompt("train", *light, *words.split())
    one_message(said, 2, *fragments)
    assert len(said.err.splitlines()) == 1
    assert not list(tmp_path.rglob("metrics.json"))


@pytest.mark.parametrize(("words", "fragments"), WITHOUT_STAGE_2.items(), ids=WITHOUT_STAGE_2)
def test_methods_refuse_what_they_do_not_have(negprompt, light, words, fragments):
    settings = [word for word in light if word not in LIGHT] + [*ONE_STAGE]
    one_message(negprompt("train", *settings, *words.split()), 2, *fragments)


def test_a_gpu_that_is_not_there(negprompt, light, monkeypatch):
    for kind in ("CUDAAccelerator", "MPSAccelerator"):
        monkeypatch.setattr(f"negprompt.training.trainer.{kind}.is_available", lambda: False)
    one_message(negprompt("train", *light, "trainer=gpu_bf16"), 2, "trainer.accelerator=gpu", "trainer=cpu")


def test_seed_0_is_a_seed(negprompt, light, tmp_path):
    settings = [word for word in light if word not in LIGHT] + [*ONE_STAGE]
    assert negprompt("train", *settings, "method=zero_shot", "seed=0").code == 0
    (metrics,) = tmp_path.rglob("metrics.json")
    assert json.loads(metrics.read_text())["seed"] == 0


def test_a_traceback_is_there_for_those_who_ask(negprompt, light, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="unknown OOD set"):
        negprompt("train", *light, "ood.sets=[flag]")


# --- prompts of others ---------------------------------------------------------------------------------------------


def changed(folder, tmp_path, **metadata):
    """A copy of a run's prompts that says something else of itself."""
    bundle = bundles.load(folder)
    path = tmp_path / "prompts.safetensors"
    path.write_bytes(bundles.to_bytes(bundle._replace(metadata={**bundle.metadata, **metadata})))
    return path


def folder_of(finished, method):
    (done,) = (finished / "icons" / method).rglob("DONE")
    return done.parent


OTHERS = {
    "other backbone": ({"backbone": "vit_b16_laion2b"}, "learned on vit_b16_laion2b", "set backbone=vit_b16_laion2b"),
    "other weights": ({"weights_sha256": "0" * 64}, "learned on other weights of tiny_rn", "train stage 1 again"),
    "other layout": ({"class_token_position": "front"}, "another layout", "method.class_token_position=front"),
}


@pytest.mark.parametrize(("metadata", "fragments"), [(m, f) for m, *f in OTHERS.values()], ids=OTHERS)
def test_positive_prompts_of_another_backbone_or_layout(negprompt, light, finished, tmp_path, metadata, fragments):
    path = changed(folder_of(finished, "coop"), tmp_path, **metadata)
    one_message(negprompt("train", *light, f"method.positive_prompts={path}"), 2, *fragments)
    assert not list(tmp_path.rglob("FAILED.json"))


def test_a_file_that_holds_no_prompts(negprompt, light, tmp_path):
    file = tmp_path / "prompts.safetensors"
    file.write_bytes(b"rubbish")
    one_message(negprompt("train", *light, f"method.positive_prompts={file}"), 2, str(file), "make the run again")


def test_evaluate_wants_the_backbone_of_the_run(negprompt, finished, tmp_path):
    run = shutil.copytree(folder_of(finished, "negprompt"), tmp_path / "run")
    changed(run, run, weights_sha256="0" * 64, backbone="tiny_vit")
    one_message(negprompt("evaluate", f"run={run}"), 2, "learned on tiny_vit", "set backbone=tiny_vit")


def unharmed(run):
    """Leave the run as it is."""


UNREADABLE = {
    "nothing named": ([], unharmed, "run is missing: set run=..."),
    "a number": (["run=5"], unharmed, "run=5: give a run folder"),
    "not there": (["run=gone"], unharmed, "There is no run at gone"),
    "not finished": (["run=RUN"], lambda run: (run / "DONE").unlink(), "is not finished", "Run the same command again"),
    "no configuration": (["run=RUN"], lambda run: (run / "config.yaml").unlink(), "lacks config.yaml"),
    "damaged configuration": (["run=RUN"], lambda run: (run / "config.yaml").write_text("a: ["), "yaml is damaged"),
    "no prompts": (["run=RUN"], lambda run: (run / "prompts.safetensors").unlink(), "No prompts at"),
    "unknown set": (["run=RUN", "ood=icon"], unharmed, "ood=icon", "did you mean 'icons'?"),
    "no score": (["run=RUN", "score=[]"], unharmed, "score=[]", "choose at least one"),
    "no such score": (["run=RUN", "score=[mmc]"], unharmed, "score=mmc", "did you mean 'mcm'?"),
    "unknown setting": (["run=RUN", "+foo=1"], unharmed, "unknown setting 'foo'"),
}


@pytest.mark.parametrize(
    ("words", "damage", "fragments"), [(w, d, f) for w, d, *f in UNREADABLE.values()], ids=UNREADABLE
)
def test_runs_that_cannot_be_evaluated(negprompt, finished, tmp_path, words, damage, fragments):
    run = shutil.copytree(folder_of(finished, "negprompt"), tmp_path / "run")
    damage(run)
    one_message(negprompt("evaluate", *[word.replace("RUN", str(run)) for word in words]), 2, *fragments)


REPORTS = {
    "runs=gone": (1, "There is no folder gone", "runs=DIR"),
    "runs=tests": (1, "No finished run in tests", "DONE"),
    "scores=al": (2, "scores=al", "did you mean 'all'?"),
    "run=x": (2, "unknown setting 'run'", "did you mean 'runs'?"),
}


@pytest.mark.parametrize(("word", "code", "fragments"), [(w, c, f) for w, (c, *f) in REPORTS.items()], ids=REPORTS)
def test_reports_of_nothing(negprompt, tmp_path, monkeypatch, word, code, fragments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").mkdir()
    one_message(negprompt("report", word), code, *fragments)
