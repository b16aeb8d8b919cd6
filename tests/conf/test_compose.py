"""Every yaml composes and builds; the defaults and the groups are those that users were promised."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from negprompt.backbones.embedded import EmbeddedSettings
from negprompt.cli.arguments import parse
from negprompt.cli.build import build_request
from negprompt.cli.compose import compositions, members, plain
from negprompt.cli.main import COMMANDS
from negprompt.cli.paths import conf_dir

CONF = conf_dir()
GROUPS = {
    folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in CONF.iterdir() if folder.is_dir()
}
OPTIONS = [f"{group}={option}" for group, options in GROUPS.items() for option in options]
OF_A_SWEEP = ("sweep", "launcher")
OPEN = {
    "backbone=open_clip": ("backbone.model_name=ViT-B-32", "backbone.pretrained=openai"),
    "sweep=compare": ("data=icons", "seed=1"),  # all members take half a minute
}
EMBEDDED = ("tiny_rn", "tiny_lit", "tiny_vit")
BACKBONES = (
    "vit_b16_laion2b", "vit_b16_openai", "vit_b32_openai", "vit_b32_laion2b", "rn50_openai", "rn101_openai",
    "open_clip",
)  # fmt: skip
METHODS = ("zero_shot", "coop", "negprompt", "negprompt_paper", "negprompt_official_code", "clipn")


def config(*overrides):
    """The composed configuration of `negprompt train`."""
    (composed,) = compositions("train", parse(overrides))
    return plain(composed)


def request(*overrides):
    return build_request(config(*overrides))


def folder_name(wanted):
    """Run folder of a request on some weights and pictures."""
    bench = SimpleNamespace(weights_sha256="w", split=SimpleNamespace(sha256="s"))
    return wanted.run_name(bench, None)


def stage_1(wanted):
    """The request that a two-stage request makes of its first stage."""
    stage = wanted.method.positive_stage()
    return dataclasses.replace(
        wanted, method=stage, scores=wanted.stage_scores, cut_scores=frozenset(wanted.stage_scores)
    )


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option", [option for option in OPTIONS if not option.startswith(("preset=", "hydra=", "search_space="))]
)
def test_every_yaml_composes_and_builds_its_settings(option):
    flags = ("--multirun",) if option.startswith(OF_A_SWEEP) else ()
    wanted = build_request(plain(compositions("train", parse([*flags, option, *OPEN.get(option, ())]))[0]))
    group, _, name = option.partition("=")
    if group in ("backbone", "data", "ood", "method", "logger"):
        assert getattr(wanted, group).name == name
    if group == "score" and name not in ("auto", "all"):
        assert list(wanted.scores) == [name]


def test_the_promised_names_are_there():
    assert set(GROUPS["backbone"]) >= {*EMBEDDED, *BACKBONES}
    assert set(GROUPS["method"]) >= set(METHODS)
    assert set(GROUPS["data"]) >= {"icons", *(f"icons_hard_{number}" for number in range(1, 5))}
    assert set(GROUPS["score"]) >= {"mcm", "msp", "max_logit", "energy", "negprompt"}
    assert set(GROUPS["trainer"]) >= {"auto", "cpu", "gpu_bf16", "gpu_fp16"}
    assert set(GROUPS["logger"]) >= {"csv", "wandb", "none"}
    assert set(GROUPS["launcher"]) == {"local", "joblib", "submitit_local", "slurm"}
    assert set(GROUPS["sweep"]) >= {"backbones", "num_negatives", "num_shots", "seeds"}


def test_every_command_with_settings_has_its_yaml():
    single = {name for name, command in COMMANDS.items() if not command.parts} - {"completion"}
    parts = {f"{name}_{part}" for name, command in COMMANDS.items() for part in command.parts}
    assert {path.stem for path in CONF.glob("*.yaml")} == single | parts


def test_embedded_backbones_are_those_of_the_package():
    for name in EMBEDDED:
        assert isinstance(request(f"backbone={name}").backbone, EmbeddedSettings)


# --- defaults ------------------------------------------------------------------------------------------------------


def test_the_defaults():
    wanted = request()
    names = (wanted.method.name, wanted.data.name, wanted.ood.name, wanted.backbone.name)
    assert names == ("negprompt", "icons", "icons", "tiny_rn")
    assert (wanted.seed, wanted.resume, wanted.data.class_fraction) == (1, "auto", 1.0)
    assert list(wanted.ood.sets) == ["near", "symbols", "logos", "flags"]
    assert wanted.method.num_negatives == 2
    assert (wanted.runs_dir, wanted.features_dir) == (Path("runs"), Path("runs/_features"))
    assert (wanted.features.mode, wanted.features.views, wanted.features.augment) == ("store", 8, True)


@pytest.mark.parametrize("data", GROUPS["data"])
def test_a_data_set_brings_its_ood_sets(data):
    wanted = request(f"data={data}")
    assert wanted.ood.name == data
    for setting in ("hard_split", "part", "trial", "shards", "corrupt"):
        if hasattr(wanted.ood, setting) and hasattr(wanted.data, setting):
            assert getattr(wanted.ood, setting) == getattr(wanted.data, setting)


def test_ood_sets_can_be_chosen_apart():
    wanted = request("data=icons_hard_1", "ood=icons")
    assert (wanted.data.name, wanted.ood.name) == ("icons_hard_1", "icons")


def test_shards_of_ones_own_are_both_sides():
    wanted = request("data.root=somewhere")
    assert wanted.data.root == wanted.ood.root == "somewhere"


def test_paths_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("NEGPROMPT_RUNS", "elsewhere")
    monkeypatch.setenv("NEGPROMPT_WEIGHTS", "weights")
    wanted = request("backbone=vit_b16_openai")
    assert wanted.features_dir == Path("elsewhere/_features")
    monkeypatch.setenv("NEGPROMPT_FEATURES", "shared")
    assert request().features_dir == Path("shared")
    assert (wanted.runs_dir, wanted.backbone.weights_dir) == (Path("elsewhere"), "weights")


@pytest.mark.parametrize("method", METHODS)
def test_promised_options_exist_for_every_method(method):
    wanted = request(
        f"method={method}", "method.num_negatives=3", "data.num_shots=2", "data.class_fraction=0.5", "seed=0"
    )
    assert (wanted.seed, wanted.data.num_shots, wanted.data.class_fraction) == (0, 2, 0.5)


# --- stages and presets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", [*EMBEDDED, "vit_b16_laion2b"])
@pytest.mark.parametrize("method", ["negprompt", "negprompt_paper"])
def test_stage_1_is_the_run_of_method_coop(backbone, method):
    overrides = (f"backbone={backbone}", "seed=3", "data.class_fraction=0.1", "method.num_context_tokens=6")
    alone = request("method=coop", *overrides)
    assert folder_name(stage_1(request(f"method={method}", *overrides))) == folder_name(alone)


def test_what_is_set_for_both_stages_reaches_both():
    changes = {"num_context_tokens": 3, "class_specific": True, "class_token_position": "front", "full_stop": True}
    wanted = request(*(f"method.{key}={str(value).lower()}" for key, value in changes.items())).method
    for key, value in changes.items():
        assert getattr(wanted, key) == getattr(wanted.positive, key) == value


def test_stage_2_settings_and_scores_leave_stage_1_alone():
    first = folder_name(stage_1(request()))
    changes = ("method.num_negatives=4", "method.nis=joint_uniform", "method.optimizer.lr=1", "score=[mcm]")
    assert folder_name(stage_1(request(*changes))) == first
    assert folder_name(stage_1(request("method.positive.optimizer.lr=1"))) != first


@pytest.mark.parametrize("preset", [name for name in GROUPS.get("preset", ()) if name.startswith("tiny_")])
def test_a_preset_builds_and_gives_way_to_the_user(preset):
    backbone = next(name for name in EMBEDDED if preset.startswith(name))
    chosen = (f"backbone={backbone}", f"method={preset.removeprefix(f'{backbone}_')}")
    assert request(*chosen).method.name == preset.removeprefix(f"{backbone}_")
    recipe = "optimizer" if request(*chosen).method.optimizer else "training"  # of what all benchmarks share
    assert getattr(request(*chosen, f"method.{recipe}.lr=0.5").method, recipe).lr == 0.5


def test_presets_are_for_embedded_backbones_alone():
    paper, embedded = (
        request(f"backbone={backbone}", "method=negprompt_paper").method for backbone in ("vit_b16_laion2b", "tiny_rn")
    )
    assert (paper.num_context_tokens, paper.positive.optimizer.lr, paper.optimizer.epochs) == (16, 0.002, 10)
    assert (paper.npd_weight, paper.nnd_weight) == (0.1, 0.05)
    assert embedded.positive != paper.positive


def test_the_first_stage_alone_is_the_run_that_both_stages_make():
    for overrides in (
        ("backbone=tiny_vit",),
        ("method=negprompt_paper", "method.positive.optimizer.lr=1", "score=[mcm]"),
    ):
        assert folder_name(request(*overrides, "stage=first")) == folder_name(stage_1(request(*overrides)))


# --- sweeps --------------------------------------------------------------------------------------------------------


def product(*words):
    return [member.overrides for member in members("train", parse(["--multirun", *words]))]


def test_a_sweep_by_name_is_its_list_and_several_are_their_product():
    assert product("sweep=seeds") == [(f"seed={seed}", "sweep=seeds") for seed in (1, 2, 3)]
    both = product("sweep=[seeds,num_negatives]", "method=negprompt_paper")
    assert len(both) == 15
    assert both[1] == ("seed=1", "method.num_negatives=2", "sweep=[seeds,num_negatives]", "method=negprompt_paper")


def test_what_is_typed_wins_over_a_sweep_by_name():
    assert product("sweep=seeds", "seed=7") == [("seed=7", "sweep=seeds")]
    assert [one[0] for one in product("sweep=seeds", "seed=4,5")] == ["seed=4", "seed=5"]


def test_a_setting_that_some_members_lack_can_be_swept_with_them():
    assert (
        len(product("backbone=open_clip", "backbone.model_name=ViT-B-32,ViT-B-16", "backbone.pretrained=openai")) == 2
    )


def test_how_a_run_is_launched_is_no_part_of_it():
    assert not {"launcher", "sweep", "stage"} & set(request().config)


# --- own yaml ------------------------------------------------------------------------------------------------------


def test_a_folder_of_ones_own_adds_options(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text("defaults: [icons, _self_]\nname: mine\nnum_shots: 1\n")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "quick.yaml").write_text("# @package _global_\nmethod: {optimizer: {epochs: 1}}\n")
    wanted = request(f"--config-dir={tmp_path}", "data=mine", "ood=icons", "experiment=quick")
    assert (wanted.data.name, wanted.data.num_shots, wanted.method.optimizer.epochs) == ("mine", 1, 1)
