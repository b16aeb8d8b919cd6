"""Figures of runs: what is drawn is what was measured. Most tests look at the figure before it becomes bytes."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib.pyplot
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from tests.reports.summary_rows import COOP, MCM, NEGPROMPT, made_up
from torch.nn.functional import normalize

from negprompt.errors import DataError, RunError
from negprompt.metrics.functional import auroc, fpr95_id_positive, id_threshold, roc_curve
from negprompt.metrics.intervals import over_images, over_seeds
from negprompt.reports.document import Plot
from negprompt.reports.figures import canvas, cost, histograms, roc, setting, similarity, training, tsne
from negprompt.types import NearestPrompts, TextFeatures

GENERATOR = np.random.default_rng(0)
ID = 28 + GENERATOR.normal(2, 1, 300)
OOD = {f"set {i}": 28 + GENERATOR.normal(i / 2, 1, 100 + 50 * i) for i in range(5)}
LABELS = {"key": "some", "title": "Some"}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures; their plots have words and no bytes."""
    kept: list[Figure] = []

    def keep(figure: Figure, **words: str) -> Plot:
        kept.append(figure)
        return Plot(**words, svg=b"", png=b"")

    for module in (cost, histograms, roc, setting, similarity, training, tsne):
        monkeypatch.setattr(module, "plot", keep)
    return kept


def texts(figure: Figure, panel: int = 0) -> list[str]:
    """Of the legend of a panel, or of the figure's own."""
    legend = figure.axes[panel].get_legend() or figure.legends[0]
    return [text.get_text() for text in legend.get_texts()]


# --- canvas --------------------------------------------------------------------------------------------------------


def simple(text: str = "a") -> Figure:
    figure = canvas.canvas(2.0, width=3.0)
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], clip_on=True)
    panel.set_title(text)
    return figure


def test_a_plot_is_a_vector_and_pixels_of_one_figure_and_equal_each_time() -> None:
    words = {"key": "one", "title": "t", "caption": "c", "description": "d"}
    first, second = (canvas.plot(simple(), **words) for _ in range(2))
    assert first == second
    assert first[:4] == ("one", "t", "c", "d")
    root = ET.fromstring(first.svg)
    assert root.get("width") == f"{3.0 * 72:g}pt"
    assert b"dc:date" not in first.svg
    with Image.open(io.BytesIO(first.png)) as image:
        assert image.size == (300, 200)
    assert canvas.plot(simple("b"), **words).svg != first.svg
    assert matplotlib.pyplot.get_fignums() == []


def test_ids_of_two_figures_on_a_page_are_apart() -> None:
    words = {"title": "t", "caption": "c", "description": "d"}
    clips = [set(re.findall(rb'clipPath id="([^"]+)"', canvas.plot(simple(), key=key, **words).svg)) for key in "ab"]
    assert clips[0]
    assert not clips[0] & clips[1]


def test_the_first_five_lines_differ_in_colour_marker_and_dashes_alone() -> None:
    styles = [canvas.style(place) for place in range(5)]
    for part in range(3):
        assert len({str(one[part]) for one in styles}) == 5
    assert len({str(canvas.style(place)) for place in range(40)}) == 40


# --- histograms and ROC --------------------------------------------------------------------------------------------


def test_a_histogram_is_described_in_numbers(drawn: list[Figure]) -> None:
    plot = histograms.histogram_plot(ID, {"far": OOD["set 1"]}, "mcm", **LABELS)
    area, rate = 100 * auroc(ID, OOD["set 1"]), 100 * fpr95_id_positive(ID, OOD["set 1"])
    assert f"{rate:.1f} % of 150 pictures at or above the threshold (FPR95), AUROC {area:.1f} %" in plot.description
    assert f"threshold {id_threshold(ID):.4g}" in plot.description


def test_the_legend_of_roc_curves_tells_auroc_and_fpr95(drawn: list[Figure]) -> None:
    plot = roc.roc_plot(ID, OOD, "mcm", **LABELS)
    expected = [
        f"{name}: AUROC {100 * auroc(ID, scores):.1f}, FPR95 {100 * fpr95_id_positive(ID, scores):.1f}"
        for name, scores in OOD.items()
    ]
    assert texts(drawn[0]) == expected
    assert all(f"{name}: AUROC" in plot.description for name in OOD)


def test_the_marked_points_are_those_of_fpr95_on_the_curves(drawn: list[Figure]) -> None:
    roc.roc_plot(torch.tensor(ID), OOD, "mcm", **LABELS)
    marks = [
        line for line in drawn[0].axes[0].lines if len(line.get_xydata()) == 1 and line.get_marker() not in ("None", "")
    ]
    curves = [line for line in drawn[0].axes[0].lines if len(line.get_xydata()) > 5]
    assert len(marks) == len(curves) == len(OOD)
    kept = 100 * float(np.mean(id_threshold(ID) <= ID))
    assert kept >= 95
    for mark, curve, scores in zip(marks, curves, OOD.values(), strict=True):
        assert mark.get_xydata()[0] == pytest.approx([100 * fpr95_id_positive(ID, scores), kept])
        distance = np.abs(np.asarray(curve.get_xydata()) - mark.get_xydata()[0]).sum(axis=1).min()
        assert distance == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_a_thinned_curve_has_the_area_of_the_whole_one(decimals: int) -> None:
    positive, negative = (GENERATOR.normal(mean, 1, 95_000).round(decimals) for mean in (1, 0))
    whole = roc_curve(positive, negative)
    thin = roc.thinned(whole)
    assert len(thin.ood) <= 4 * roc.STEPS + 4
    assert (thin.ood[0], thin.id[0], thin.ood[-1], thin.id[-1]) == (0, 0, 1, 1)
    area = np.trapezoid(thin.id, thin.ood)
    assert area == pytest.approx(auroc(positive, negative), abs=1 / roc.STEPS**2 if decimals < 8 else 1e-4)
    assert np.abs(np.interp(whole.ood, thin.ood, thin.id) - whole.id)[whole.ood > 0].max() <= 1 / roc.STEPS


def test_figures_of_95000_scores_have_few_points(drawn: list[Figure]) -> None:
    many = {"far": GENERATOR.normal(0, 1, 95_000)}
    scores = GENERATOR.normal(1, 1, 95_000)
    roc.roc_plot(scores, many, "mcm", **LABELS)
    histograms.histogram_plot(scores, many, "mcm", **LABELS)
    assert max(len(line.get_xydata()) for line in drawn[0].axes[0].lines) < 1300
    assert all(len(patch.get_data()[0]) == 50 for patch in drawn[1].axes[0].patches)  # type: ignore[attr-defined]


def test_no_ood_set_and_scores_that_are_no_numbers_are_refused() -> None:
    for make in (roc.roc_plot, histograms.histogram_plot):
        with pytest.raises(RunError, match="at least one OOD set"):
            make(ID, {}, "mcm", **LABELS)
        with pytest.raises(DataError, match="NaN"):
            make(ID, {"near": np.array([0.1, np.nan])}, "mcm", **LABELS)


# --- Fig. 3 --------------------------------------------------------------------------------------------------------


def nearest(shift: float = 0.0, negatives: bool = True) -> dict[str, NearestPrompts]:
    sets = {"id": 0.5, "ood/near": 0.4, "shifted/sketch": 0.45}
    zeros = torch.zeros(30, dtype=torch.long)
    noise = torch.linspace(-0.02, 0.02, 30)
    return {
        name: NearestPrompts(
            value + shift + noise,
            zeros,
            *((0.3 - value / 5 + shift + 2 * noise, zeros) if negatives else ()),
        )
        for name, value in sets.items()
    }


def test_one_run_has_intervals_over_pictures_and_several_over_seeds() -> None:
    one = similarity.similarities([nearest()], seed=3)
    values = nearest()["ood/near"].positive.double().numpy()
    assert one["positive"]["ood/near"] == over_images(values, seed=3)
    seeds = similarity.similarities([nearest(shift) for shift in (0.0, 0.01, 0.05)])
    assert seeds["negative"]["id"] == pytest.approx(over_seeds(np.array([0.2, 0.21, 0.25])), abs=1e-6)


def test_fig_3_draws_each_mean_with_its_interval(drawn: list[Figure]) -> None:
    plot = similarity.similarity_plot([nearest()], **LABELS)
    left, right = drawn[0].axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["ID", "near (OOD)", "sketch (shifted ID)"]
    assert [text.get_text() for text in left.texts] == ["0.500", "0.400", "0.450"]
    assert [text.get_text() for text in right.texts] == ["0.200", "0.220", "0.210"]
    interval = similarity.similarities([nearest()])["negative"]["ood/near"]
    (bar,) = [one for one in right.collections if one.get_segments()[0][0][1] == 1]  # type: ignore[attr-defined]
    ends = [x for x, _ in bar.get_segments()[0]]
    assert ends == pytest.approx([interval.low, interval.high])
    assert "positive prompts: ID 0.500, near (OOD) 0.400" in plot.description
    assert "bootstrap over pictures" in plot.caption


def test_fig_3_of_a_run_without_negatives_has_one_panel(drawn: list[Figure]) -> None:
    plot = similarity.similarity_plot([nearest(negatives=False), nearest(0.1, negatives=False)], **LABELS)
    assert len(drawn[0].axes) == 1
    assert "Student's t over 2 seeds" in plot.caption


def test_fig_3_of_runs_on_different_sets_is_refused() -> None:
    other = nearest()
    del other["ood/near"]
    for runs in ([], [nearest(), other]):
        with pytest.raises(RunError, match="the same test sets"):
            similarity.similarities(runs)


# --- Fig. 4 --------------------------------------------------------------------------------------------------------

TEXT = TextFeatures(normalize(torch.randn(6, 8), dim=-1), normalize(torch.randn(6, 2, 8), dim=-1))
IMAGES = {"id": 5 * torch.randn(40, 8), "ood/near": torch.randn(10, 8)}
SAMPLE = tsne.Sample(images_per_set=15, num_classes=4, perplexity=5.0, seed=1)


def test_a_map_shows_unit_features_of_drawn_pictures_and_both_prompts_of_drawn_classes() -> None:
    shown = tsne.points(TEXT, IMAGES, SAMPLE)
    counts = {kind: shown.kinds.count(kind) for kind in shown.kinds}
    assert counts == {"id": 15, "ood/near": 10, tsne.POSITIVE: 4, tsne.NEGATIVE: 8}
    assert shown.vectors.norm(dim=1).tolist() == pytest.approx([1.0] * 37, abs=1e-6)
    units = normalize(IMAGES["id"], dim=-1)
    rows = [int((units == one).all(dim=1).nonzero()) for one in shown.vectors[:15]]
    assert rows == sorted(set(rows))
    assert torch.equal(shown.vectors[15:25], normalize(IMAGES["ood/near"], dim=-1))
    classes = [int((TEXT.positive == one).all(dim=1).nonzero()) for one in shown.vectors[25:29]]
    assert TEXT.negative is not None
    assert torch.equal(shown.vectors[29:], TEXT.negative[classes].flatten(0, 1))


def test_the_same_seed_gives_the_same_map_and_another_one_another(drawn: list[Figure]) -> None:
    def places(seed: int) -> np.ndarray[Any, Any]:
        tsne.tsne_plot(TEXT, IMAGES, SAMPLE._replace(seed=seed), **LABELS)
        return np.concatenate([one.get_offsets() for one in drawn[-1].axes[0].collections])

    first = places(1)
    assert first.shape == (37, 2)
    assert np.array_equal(first, places(1))
    assert not np.allclose(first, places(2))


def test_a_map_keeps_neighbours_by_cosine() -> None:
    directions = normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(1)), dim=-1)
    vectors = normalize(directions.repeat_interleave(12, 0) + 0.02 * torch.randn(36, 8), dim=-1)
    places = torch.from_numpy(tsne.embedded(vectors, SAMPLE))
    away = torch.cdist(places, places).fill_diagonal_(torch.inf).argmin(dim=1)
    assert torch.equal(away // 12, torch.arange(36) // 12)


def test_a_map_is_described_by_what_can_be_counted(drawn: list[Figure]) -> None:
    text = TextFeatures(torch.eye(8)[:2], torch.eye(8)[2:4].unsqueeze(1))
    images = {"id": torch.eye(8)[[0, 0, 1, 1, 2]], "ood/far": torch.eye(8)[[2, 3, 3, 2]]}
    plot = tsne.tsne_plot(text, images, SAMPLE._replace(perplexity=3.0), **LABELS)
    assert "5 ID, 4 far (OOD), 2 positive prompts and 2 negative prompts" in plot.description
    assert "ID 20 %, far (OOD) 100 %" in plot.description


def test_a_map_of_too_few_points_is_refused() -> None:
    with pytest.raises(RunError, match="perplexity of 40: lower it"):
        tsne.embedded(torch.eye(8), SAMPLE._replace(perplexity=40.0))


def test_a_missing_scikit_learn_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(RunError, match=r"pip install 'negprompt\[report\]'"):
        tsne.embedded(torch.eye(8), SAMPLE)


# --- training ------------------------------------------------------------------------------------------------------

CURVES: list[dict[str, float]] = [
    {
        "epoch": epoch,
        "step": 22 * (epoch + 1),
        "lr": 0.1,
        "train/loss": 2.0 - epoch,
        "train/nis": 1.5 - epoch,
        "train/negatives_across_classes": 0.1 * epoch,
        "train/accuracy": 0.5 + 0.1 * epoch,
        "train/new_term": 3.0,
    }
    for epoch in range(3)
]


def test_training_curves_draw_the_columns_that_are_there(drawn: list[Figure]) -> None:
    plot = training.training_plot(CURVES, **LABELS)
    assert [panel.get_title() for panel in drawn[0].axes] == ["loss and its terms", "cosines (means)", "shares (%)"]
    assert texts(drawn[0]) == ["loss (weighted sum)", "NIS", "new_term"]
    assert texts(drawn[0], 1) == ["negatives of different classes (mean pairwise)"]
    line = drawn[0].axes[2].lines[0]
    assert np.asarray(line.get_xydata()).tolist() == pytest.approx(np.array([[22, 50], [44, 60], [66, 70]]))
    assert "NIS from 1.5 to -0.5" in plot.description
    assert "66 steps, 3 epochs" in plot.description


def test_no_training_has_no_curves() -> None:
    for rows in ([], [{"epoch": 0.0, "step": 1.0}]):
        with pytest.raises(RunError, match="no training curve"):
            training.training_plot(rows, **LABELS)


# --- settings ------------------------------------------------------------------------------------------------------

TWO, FOUR = (
    made_up("negprompt", "negprompt", areas, num_negatives=number)
    for number, areas in ((2, {1: 0.86, 2: 0.88}), (4, {1: 0.90, 2: 0.90}))
)


def points_of(figure: Figure, panel: int) -> list[list[list[float]]]:
    lines = [container.lines[0] for container in figure.axes[panel].containers]  # type: ignore[attr-defined]
    return [np.asarray(line.get_xydata()).tolist() for line in lines]


def test_curves_over_negatives_are_means_with_methods_without_them_as_levels(drawn: list[Figure]) -> None:
    (plot,) = setting.setting_plots([FOUR, MCM, TWO, COOP], "num_negatives", key="figure")
    assert points_of(drawn[0], 0) == [[pytest.approx([2, 87]), pytest.approx([4, 90])]]
    assert points_of(drawn[0], 1) == [[pytest.approx([2, 33]), pytest.approx([4, 30])]]
    assert texts(drawn[0]) == [
        "zero_shot: mcm (no negatives)",
        "coop: mcm (no negatives)",
        "negprompt: negprompt",
    ]
    assert plot.key == "figure_num_negatives_icons"
    assert "2 gives AUROC 87.0 ± 1.4 % and FPR95 33.0 ± 1.4 % (2 seeds)" in plot.description


@pytest.mark.parametrize(
    ("name", "values", "places"),
    [
        ("num_shots", (1, 16), [1, 16]),
        ("class_fraction", (0.1, 1.0), [10, 100]),
        ("backbone", ("b", "a"), [0, 1]),
    ],
)
def test_any_setting_makes_a_curve(
    drawn: list[Figure], name: setting.Setting, values: tuple[Any, ...], places: list[float]
) -> None:
    rows = [NEGPROMPT._replace(**{name: value}) for value in values]
    assert len(setting.setting_plots(rows, name, key="figure")) == 1
    assert [x for x, _ in points_of(drawn[0], 0)[0]] == pytest.approx(places)


def test_rows_that_differ_in_another_setting_are_lines_of_their_own(drawn: list[Figure]) -> None:
    rows = [row._replace(num_shots=shots) for row in (TWO, FOUR) for shots in (8, 16)]
    setting.setting_plots([*rows, TWO._replace(num_shots=4)], "num_negatives", key="figure")
    assert texts(drawn[0]) == ["negprompt: negprompt, 8 shots", "negprompt: negprompt, 16 shots"]


def test_a_setting_with_one_value_makes_no_figure() -> None:
    assert setting.setting_plots([MCM, COOP, NEGPROMPT], "num_negatives", key="figure") == []
    assert setting.setting_plots([NEGPROMPT, COOP._replace(num_shots=4)], "num_shots", key="figure") == []


def test_each_benchmark_and_choice_of_ood_sets_has_a_figure_of_its_own(drawn: list[Figure]) -> None:
    fewer = {"flags": NEGPROMPT.auroc["flags"], "mean": NEGPROMPT.auroc["mean"]}
    rows = [
        TWO,
        FOUR,
        *(row._replace(benchmark="b") for row in (TWO, FOUR)),
        *(r._replace(auroc=fewer) for r in (TWO, FOUR)),
    ]
    keys = [plot.key for plot in setting.setting_plots(rows, "num_negatives", key="f")]
    assert keys == ["f_num_negatives_icons", "f_num_negatives_b", "f_num_negatives_icons_2"]


# --- cost ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A run's row and its provenance."""

    def row(method: str, area: float, seconds: float | None, steps: int, stage1: str | None = None) -> dict[str, Any]:
        folder = tmp_path / method / "seed1-abc"
        folder = folder.with_name(f"seed1-{method}")
        folder.mkdir(parents=True)
        if seconds is not None:
            (folder / "provenance.json").write_text(json.dumps({"seconds": {"training": seconds, "evaluation": 9}}))
        scores = {"mcm": {"near": {"auroc": area}, "mean": {"auroc": area}}}
        shared = {"benchmark": "icons", "backbone": "tiny", "positive_prompts": stage1, "scores": scores}
        return {"run": str(folder), "method": method, "steps": steps, **shared}

    return row


def test_a_run_costs_its_training_and_its_stage_1(finished: Callable[..., dict[str, Any]]) -> None:
    rows = [finished("coop", 0.8, 10.0, 100), finished("negprompt", 0.9, 4.0, 30, "seed1-coop")]
    assert [one.cost for one in cost.costs(rows, "seconds")] == [10, 14]
    assert [one.cost for one in cost.costs(rows, "steps")] == [100, 130]


def test_runs_of_unknown_cost_are_left_out_and_named(
    finished: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [finished("coop", 0.8, None, 1), finished("other", 0.7, 2.0, 1), finished("late", 0.9, 4.0, 1, "seed1-gone")]
    assert [one.method for one in cost.costs(rows, "seconds")] == ["other"]
    assert "seed1-coop" in caplog.text
    assert "seed1-late" in caplog.text


def test_a_point_a_run_stands_at_its_cost_and_auroc(drawn: list[Figure]) -> None:
    runs = [cost.Cost("icons", m, a, c) for m, a, c in (("zero_shot", 0.7, 0), ("coop", 0.8, 50), ("coop", 0.9, 200))]
    (plot,) = cost.cost_plots(runs, "seconds", key="cost")
    offsets = [np.asarray(one.get_offsets()).tolist() for one in drawn[0].axes[0].collections]
    assert offsets == [[pytest.approx([0, 70])], [pytest.approx([50, 80]), pytest.approx([200, 90])]]
    assert texts(drawn[0]) == ["zero_shot", "coop"]
    assert drawn[0].axes[0].get_xlim()[0] < 0
    assert "coop (2 runs): AUROC 80.0 to 90.0 %, 50 to 200 seconds" in plot.description
    assert plot.key == "cost_seconds_icons"


def test_a_benchmark_with_one_method_has_no_scatter() -> None:
    assert cost.cost_plots([cost.Cost("icons", "coop", 0.8, 1.0)] * 2, "steps", key="cost") == []
