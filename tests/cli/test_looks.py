"""What a report shows of single runs: of one real run, of a moved one, and of those that are not whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from command_line import LIGHT, call

from negprompt.backbones.openclip import OpenClipBackbone
from negprompt.cli.looks import Look, inside, scores_of, similarity
from negprompt.reports.document import Plot
from negprompt.reports.figures.tsne import Sample

SAMPLE = Sample(images_per_set=12, num_classes=6, perplexity=8.0)


@pytest.fixture(scope="module")
def runs_dir(icons: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("looks") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("negprompt.api.score_histograms", lambda *_, **__: None)
        code = call(
            "train",
            "method=negprompt",
            f"paths.runs_dir={folder}",
            *(f"{k}.root={icons}" for k in ("data", "ood")),
            *LIGHT,
        )
    assert code == 0
    return folder


def look(runs_dir: Path, method: str = "negprompt") -> Look:
    (done,) = runs_dir.glob(f"icons/{method}/*/*/DONE")
    return Look(done.parent, done.parent.as_posix(), f"{method}, seed 1")


def whole(plot: Plot) -> bool:
    """Whether a plot has its words, a vector that a browser reads, and pixels."""
    ET.fromstring(plot.svg)
    return plot.png.startswith(b"\x89PNG") and all((plot.key, plot.title, plot.caption, plot.description))


def test_scores_and_curves_of_a_run_agree_with_its_metrics(runs_dir: Path) -> None:
    run = look(runs_dir)
    plots = scores_of(run)
    assert [plot.key.partition("_")[0] for plot in plots] == ["histograms", "roc", "training"]
    assert all(map(whole, plots))
    measured = json.loads((run.folder / "metrics.json").read_text())["scores"]["negprompt"]
    for name in ("near", "symbols", "logos", "flags"):
        area, rate = (100 * measured[name][metric] for metric in ("auroc", "fpr95_id_positive"))
        assert f"{name}: AUROC {area:.1f} %, FPR95 {rate:.1f} %" in plots[1].description


def test_a_run_shows_its_map_mistakes_and_words_from_stored_features_also_where_it_was_moved(
    runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = shutil.copytree(runs_dir, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(OpenClipBackbone, "encode_image", lambda *_: pytest.fail("a picture was encoded"))
    found = inside(look(Path("elsewhere")), count=2, sample=SAMPLE)
    assert moved.is_dir()
    (plot,), (mistakes,) = found.plots, found.mistakes
    assert whole(plot)
    assert [(one.kind, one.rank) for one in mistakes.pictures] == [("id", 1), ("id", 2), *[("ood", 1), ("ood", 2)] * 4]
    assert all(one.positive and one.negative and one.png for one in mistakes.pictures)
    assert [one.prompt for one in found.words] == ["positive", "negative 1", "negative 2"]
    assert all(len(one.words) == len(one.drift) == 4 for one in found.words)
    assert all(0 < moved < 100 for one in found.words for moved in one.drift if moved is not None)
    assert len(found.words[1].nearest_classes) == 5


def test_the_prompts_of_zero_shot_clip_read_as_their_words_and_never_moved(runs_dir: Path, icons: Path) -> None:
    (stage1,) = runs_dir.glob("icons/coop/*/*/DONE")
    words = ("method=zero_shot", f"paths.runs_dir={runs_dir}", f"data.root={icons}", f"ood.root={icons}")
    assert call("train", *words, *(word for word in LIGHT if not word.startswith("method."))) == 0
    found = inside(look(runs_dir, "zero_shot"), count=1, sample=SAMPLE)
    (positive,) = found.words
    assert [[words[0][0], round(words[0][1], 6)] for words in positive.words] == [
        ["a", 1.0],
        ["photo", 1.0],
        ["of", 1.0],
        ["a", 1.0],
    ]
    assert positive.drift == (0.0, 0.0, 0.0, 0.0)
    assert not found.mistakes[0].pictures[0].negative
    assert stage1.is_file()


def test_fig_3_of_a_run(runs_dir: Path) -> None:
    plot = similarity([look(runs_dir)], "NegPrompt")
    assert plot is not None
    assert whole(plot)
    assert "bootstrap over pictures" in plot.caption
    assert similarity([], "nothing") is None


def test_what_cannot_be_shown_is_left_out_and_named(
    runs_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(look(runs_dir).folder, tmp_path / "icons" / "negprompt" / "tiny_rn" / "seed1")
    run = Look(folder, "key", "damaged")
    (folder / "scores.npz").write_bytes(b"half")
    assert [plot.key.partition("_")[0] for plot in scores_of(run)] == ["training"]
    assert f"histograms and ROC of {folder} cannot be shown" in caplog.text
    (folder / "config.yaml").write_text("[")
    assert inside(run) == ((), (), ())
    assert "config.yaml is damaged" in caplog.text
