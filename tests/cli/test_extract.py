"""`negprompt extract` fills the store that runs read, and `negprompt data verify` looks at every byte of it."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from command_line import ONE_STAGE, one_message

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture
def words(icons, tmp_path):
    """Overrides of a small extraction below `tmp_path / "runs"`."""
    light = [word for word in ONE_STAGE if not word.startswith("features.")]
    return (*light, f"data.root={icons}", f"paths.runs_dir={tmp_path / 'runs'}", "features.views=2")


@pytest.fixture
def entries(tmp_path):
    return lambda: sorted(path for path in (tmp_path / "runs/_features").glob("*/*") if path.is_dir())


def rows(said):
    """First word of a table's row -> the rest."""
    return {line.split()[0]: line.split()[1:] for line in said.out.splitlines() if len(line.split()) > 3}


def test_extract_says_what_was_computed_and_what_was_there(negprompt, words, entries):
    first, again = negprompt("extract", *words), negprompt("extract", *words, "features.views=3")
    assert (first.code, again.code) == (0, 0)
    assert rows(first)["train"][:2] == ["40", "2"]
    assert "computed" in rows(first)["ood/near"]
    assert rows(again)["train"][3:7] == ["1", "computed,", "2", "found"]
    assert rows(again)["id"][-1] == "found"
    assert len(entries()) == 3 + 6


def test_a_run_after_an_extraction_decodes_no_picture(negprompt, words, monkeypatch):
    assert negprompt("extract", *words).code == 0

    def decoded(*_):
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr("negprompt.data.datamodule.decode", decoded)
    epochs = ("method.optimizer.epochs=3", "method.optimizer.min_steps=0")
    said = negprompt("train", *words, "method=coop", *epochs)
    assert said.code == 0, said.err


def test_a_sweep_of_extractions(negprompt, words, entries):
    assert negprompt("extract", *words, "-m", "seed=1,2").code == 0
    assert len(entries()) == 2 * 2 + 6


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("features=none", ("features=none stores nothing", "features=store")),
        ("features.augment=false", ("features.views=2: without augmentation", "features.views=1")),
        ("features.local=true", ("backbone tiny_rn has no local image features",)),
        ("backbone=tiny_rm", ("did you mean 'tiny_rn'?",)),
        ("seed=x", ("seed=x: should be a valid integer",)),
        ("features.view=3", ("unknown setting 'features.view'", "did you mean 'views'?")),
    ],
)
def test_refused_settings(negprompt, words, override, fragments, monkeypatch):
    monkeypatch.delattr("negprompt.backbones.openclip.OpenClipBackbone.encode_image_with_local")
    said = negprompt("extract", *words, override)
    one_message(said, 1 if "local" in override else 2, *fragments)


def states(said):
    """How often each state stands in the table."""
    return Counter(re.findall(r" (whole|damaged|unfinished) ", said.out))


# --- verify --------------------------------------------------------------------------------------------------------


def test_a_whole_store(negprompt, words, entries, tmp_path):
    negprompt("extract", *words)
    said = negprompt("data", "verify", f"paths.runs_dir={tmp_path / 'runs'}")
    assert (said.code, said.messages) == (0, [])
    assert states(said) == {"whole": 8}
    assert len(entries()) == 8
    assert "seed 1, view 1" in said.out


def test_no_store_is_whole(negprompt, tmp_path):
    said = negprompt("data", "verify", f"paths.features_dir={tmp_path / 'gone'}")
    assert said.code == 0
    assert "nothing was stored there yet" in said.out


def flip_a_byte(folder):
    content = bytearray((folder / "features.npy").read_bytes())
    content[-3] ^= 1
    (folder / "features.npy").write_bytes(content)


def truncate(folder):
    (folder / "features.npy").write_bytes((folder / "features.npy").read_bytes()[:-3])


def lose_the_description(folder):
    (folder / "meta.json").unlink()


def change_the_key(folder):
    meta = json.loads((folder / "meta.json").read_text())
    meta["key"]["precision"] = "16-mixed"
    (folder / "meta.json").write_text(json.dumps(meta))


def lose_a_part_of_the_key(folder):
    meta = json.loads((folder / "meta.json").read_text())
    del meta["key"]["pictures"]
    (folder / "meta.json").write_text(json.dumps(meta))


DAMAGES = {
    flip_a_byte: "sha256",
    truncate: "bytes where",
    lose_the_description: "meta.json is missing",
    change_the_key: "has another hash",
    lose_a_part_of_the_key: "its key lacks 'pictures'",
}


@pytest.mark.parametrize(("damage", "problem"), DAMAGES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_damaged_entry_is_named_with_the_fix(negprompt, words, entries, tmp_path, damage, problem):
    negprompt("extract", *words)
    folder = entries()[2]
    damage(folder)
    said = negprompt("data", "verify", f"paths.runs_dir={tmp_path / 'runs'}")
    one_message(said, 1, "1 of 8 entries are damaged", problem, f"Delete the folder {folder}")
    assert states(said) == {"whole": 7, "damaged": 1}


def test_an_entry_that_is_not_finished_is_no_damage(negprompt, words, entries, tmp_path, monkeypatch):
    def stop(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("negprompt.features.partial.Partial.finish", stop)
    assert negprompt("extract", *words, "trainer.eval_batch_size=30").code == 130
    said = negprompt("data", "verify", f"paths.runs_dir={tmp_path / 'runs'}")
    assert said.code == 0
    assert states(said) == {"unfinished": 2}
    assert "40 of 40" in said.out


@pytest.mark.parametrize(("part", "fragments"), [("verif", "did you mean 'verify'?"), ("", "data what?")])
def test_an_unknown_command_of_data(negprompt, part, fragments):
    said = negprompt("data", *([part] if part else []))
    assert said.code == 2
    assert fragments in said.err
    assert "verify" in said.err
