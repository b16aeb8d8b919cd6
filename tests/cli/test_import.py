"""`negprompt import`: what was trained elsewhere scores as it did there, and nothing that is there is written over."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from command_line import LIGHT, one_message
from foreign import coop_state, dassl, negprompt_state, stored

from negprompt.backbones.embedded import EmbeddedSettings
from negprompt.data.icons import IconsID
from negprompt.prompts import bundle as bundles
from negprompt.runs.finished import find_run

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NEGPROMPT_FEATURES", str(tmp_path_factory.mktemp("features")))


@pytest.fixture(scope="module")
def backbone():
    return EmbeddedSettings(name="tiny_rn").build()


@pytest.fixture(scope="module")
def names(icons):
    return IconsID(name="icons", root=str(icons), num_shots=1).names()


@pytest.fixture
def imported(negprompt, icons, tmp_path):
    """`negprompt import` of a file into `tmp_path / "imported"`."""

    def call(file, *words):
        given = {word.partition("=")[0] for word in words}
        usual = {"file": file, "output": tmp_path / "imported", "data.root": icons, "data.num_shots": 2}
        return negprompt("import", *(f"{key}={value}" for key, value in usual.items() if key not in given), *words)

    return call


def run_folder(runs_dir, method):
    (done,) = runs_dir.rglob(f"{method}/*/*/DONE")
    return done.parent


def random(*shape, width=128):
    """A context as wide as tiny_rn's tokens."""
    return 0.02 * torch.randn(*shape, width, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def exported(finished, backbone, names, tmp_path):
    """A finished run of ours in the layout of other code, and its folder."""

    def export(method):
        folder = run_folder(finished, method)
        bundle = bundles.load(folder)
        if method == "coop":
            state = dassl(coop_state(backbone, bundle.positive, names, full_stop=False))
            return stored(tmp_path / "model.pth.tar-50", state), folder
        state = negprompt_state(
            backbone, bundle.positive, bundle.negative, names, prefix="module.", negative_dtype=torch.float32
        )
        return stored(tmp_path / "md.pth.pth", state), folder

    return export


@pytest.mark.parametrize("method", ["coop", "negprompt"])
def test_an_imported_bundle_scores_like_the_run_it_was_exported_from(negprompt, imported, exported, tmp_path, method):
    file, run = exported(method)
    said = imported(file)
    assert said.code == 0, said.err
    assert f"written to {tmp_path / 'imported'}" in said.out
    mine, theirs = bundles.load(tmp_path / "imported"), bundles.load(run)
    assert torch.equal(mine.positive, theirs.positive)
    assert mine.metadata["full_stop"] is False  # as the file shows, although CoOp's own code has one
    for key in ("backbone", "backbone_tag", "weights_sha256", "train_class_names", "class_names_sha256", "num_shots"):
        assert mine.metadata[key] == theirs.metadata[key]
    assert set(theirs.metadata) < set(mine.metadata)
    said = negprompt("evaluate", f"run={tmp_path / 'imported'}", "trainer=cpu", "trainer.progress_bar=false")
    assert said.code == 0, said.err
    output = tmp_path / "imported" / "evaluation" / "icons"
    with np.load(output / "scores.npz") as ours, np.load(run / "scores.npz") as before:
        assert sorted(ours) == sorted(before)
        assert all((ours[key] == before[key]).all() for key in ours)
    found, expected = (json.loads((folder / "metrics.json").read_text()) for folder in (output, run))
    assert found["method"] == ("coop" if method == "coop" else "negprompt_official_code")
    assert found["scores"] == expected["scores"]


def test_an_import_is_evaluated_on_other_pictures(negprompt, imported, exported, icons, tmp_path):
    assert imported(exported("coop")[0]).code == 0
    words = ("data=icons_val", "ood=icons_val", f"data.root={icons}", "data.num_shots=1", "score=[mcm,energy]")
    given = tmp_path / "imported" / "prompts.safetensors"
    assert negprompt("evaluate", f"run={given}", *words, f"output={tmp_path / 'output'}").code == 0
    assert list(json.loads((tmp_path / "output" / "metrics.json").read_text())["scores"]) == ["mcm", "energy"]


def test_stage_2_starts_from_an_import(negprompt, imported, exported, light, tmp_path):
    file, _ = exported("coop")
    assert imported(file).code == 0
    words = [word for word in light if not word.startswith("method.positive.")]
    said = negprompt("train", *words, f"method.positive_prompts={tmp_path / 'imported'}")
    assert said.code == 0, said.err
    run = run_folder(tmp_path / "runs", "negprompt")
    assert torch.equal(bundles.load(run).positive, bundles.load(tmp_path / "imported").positive)
    sha256 = bundles.load(tmp_path / "imported").metadata["imported_from"]["sha256"]
    assert json.loads((run / "metrics.json").read_text())["positive_prompts"] == f"imported-{sha256[:8]}"


def test_stage_2_says_which_layout_an_import_has(negprompt, imported, backbone, names, light, tmp_path):
    state = coop_state(backbone, random(6), names)
    assert imported(stored(tmp_path / "f", state)).code == 0
    said = negprompt("train", *light, f"method.positive_prompts={tmp_path / 'imported'}")
    one_message(said, 2, "method.num_context_tokens=6", "method.full_stop=true")


def test_class_specific_contexts_of_half_precision(negprompt, imported, backbone, names, tmp_path):
    context = random(len(names), 3)
    file = stored(tmp_path / "f", dassl(coop_state(backbone, context, names, dtype=torch.float16)))
    assert imported(file, "format=locoop").code == 0
    assert torch.equal(bundles.load(tmp_path / "imported").positive, context.half().float())
    method = yaml.safe_load((tmp_path / "imported" / "config.yaml").read_text())["method"]
    assert (method["name"], method["num_context_tokens"]) == ("locoop", 3)
    assert (method["class_specific"], method["full_stop"]) == (True, True)
    assert negprompt("evaluate", f"run={tmp_path / 'imported'}").code == 0
    other = ("data=icons_hard_1", "ood=icons")
    said = negprompt("evaluate", f"run={tmp_path / 'imported'}", *other)
    assert said.code != 0
    assert "Class-specific prompts of 20 classes" in said.err


def test_layout_options_and_open_vocabulary(imported, backbone, names, tmp_path):
    file = stored(tmp_path / "f", coop_state(backbone, random(4), names[:2]))
    words = ("data.class_fraction=0.1", "method.class_token_position=middle", "method.full_stop=false", "seed=3")
    said = imported(file, *words)
    assert said.code == 0
    assert "trained with a full stop, and method.full_stop=false" in said.err + said.out
    metadata = bundles.load(tmp_path / "imported").metadata
    assert (metadata["class_token_position"], metadata["full_stop"], metadata["seed"]) == ("middle", False, 3)
    assert (metadata["train_class_names"], metadata["class_fraction"]) == (list(names[:2]), 0.1)


def test_the_same_import_again_changes_nothing_and_another_is_refused(imported, exported, tmp_path):
    coop, negatives = exported("coop")[0], exported("negprompt")[0]
    assert imported(coop).code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "imported").iterdir()}
    assert sorted(before) == ["config.yaml", "imported.json", "prompts.safetensors"]
    assert imported(coop).code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "imported").iterdir()} == before
    one_message(imported(negatives), 1, "holds other prompts", "name another folder")
    assert imported(coop, f"output={tmp_path / 'twice'}").code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "twice").iterdir()} == before
    assert json.loads(before["imported.json"])["file"] == "model.pth.tar-50"


def test_a_run_is_never_written_over(imported, exported, tmp_path):
    file, run = exported("coop")
    copy = shutil.copytree(run, tmp_path / "run")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    one_message(imported(file, f"output={copy}"), 2, "DONE", "name a folder that is new or empty")
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_an_import_that_was_broken_off_is_no_run_and_is_made_whole(negprompt, imported, exported, tmp_path):
    file, _ = exported("coop")
    assert imported(file).code == 0
    (tmp_path / "imported" / "imported.json").unlink()
    said = negprompt("evaluate", f"run={tmp_path / 'imported'}")
    assert (said.code, "Run the same command again" in said.err) == (2, True)
    assert imported(file).code == 0
    assert find_run(tmp_path / "imported").path == tmp_path / "imported"


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        (("file=nowhere.pth",), 2, ("file=nowhere.pth does not exist", "model.pth.tar-50")),
        (("format=clip",), 2, ("format=clip: unknown", "coop, locoop, negprompt")),
        (("format=negprompt",), 2, ("no ctx_positive", "ctx [", "format=auto")),
        (("method.full_stop=maybe",), 2, ("method.full_stop=maybe",)),
        (("method.lr=1",), 2, ("method.lr",)),
        (("negatives=some",), 2, ("negatives=some: unknown",)),
        (("seed=-1",), 2, ("seed=-1",)),
    ],
)
def test_one_message_says_what_is_wrong(imported, exported, tmp_path, words, code, fragments):
    one_message(imported(exported("coop")[0], *words), code, *fragments)
    assert not (tmp_path / "imported").exists()


def test_prompts_of_other_weights_are_refused(imported, backbone, names, tmp_path):
    state = coop_state(backbone, random(4), names)
    file = stored(tmp_path / "f", {**state, "token_prefix": -state["token_prefix"]})
    one_message(imported(file), 2, "start token", "not that of tiny_rn", "they differ by 200%", "set backbone")
    one_message(imported(stored(tmp_path / "g", {"ctx": random(4, width=7)})), 2, "7 wide; tiny_rn takes 128")
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("lacking", ["file", "output"])
def test_file_and_output_must_be_named(negprompt, lacking):
    words = {"file": "file=a", "output": "output=b"}
    one_message(
        negprompt("import", *(word for key, word in words.items() if key != lacking)), 2, f"{lacking} is missing"
    )


def test_a_light_run_is_what_the_fixture_says():
    assert "data.num_shots=2" in LIGHT  # as `imported` says of its training


def test_settings_and_help_are_shown_without_a_file(negprompt):
    assert yaml.safe_load(negprompt("import", "--cfg", "job").out)["format"] == "auto"
    said = negprompt("import", "--help")
    assert (said.code, said.err) == (0, "")
    assert "negprompt import file=model.pth.tar-50" in said.out
