"""`Detector`: the scores of evaluate, thresholds, names that are exchanged, files that are saved, fits from Python."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from negprompt import Detector
from negprompt.backbones.embedded import EmbeddedSettings
from negprompt.detection.calibration import p_values
from negprompt.errors import ConfigError, DataError, NegPromptError, PromptMismatchError, RunError
from negprompt.prompts import bundle as bundles

pytestmark = pytest.mark.usefixtures("no_figures")

QUICK = ["features.views=1", "method.optimizer.epochs=1", "method.optimizer.min_steps=0"]
BOTH = [*QUICK, "method.positive.optimizer.epochs=1"]


@pytest.fixture(scope="module")
def detector(run):
    return Detector.load(run, device="cpu")


@pytest.fixture
def own(run):
    """A detector to change."""
    return Detector.load(run, device="cpu")


@pytest.fixture
def copied(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "run"))


def class_names(run):
    return json.loads((run / "detector.json").read_text())["class_names"]


# --- the scores of evaluate -----------------------------------------------------------------------------------------


def test_scores_and_labels_are_those_of_the_run(detector, run, tests):
    scores = np.load(run / "scores.npz")
    found = detector((Image.open(io.BytesIO(one)) for one in tests.encoded), batch_size=7)
    np.testing.assert_allclose(found.score, scores["id/negprompt"], atol=1e-6, rtol=0)
    np.testing.assert_array_equal(found.label, scores["id/prediction"])
    assert found.class_name == [detector.classes[label] for label in found.label]


@pytest.mark.parametrize("score", ["mcm", "energy", "msp", "max_logit"])
def test_other_scores_are_those_of_the_run_too(run, opened, score):
    found = Detector.load(run, device="cpu", score=score)(opened)
    np.testing.assert_allclose(found.score, np.load(run / "scores.npz")[f"id/{score}"], rtol=1e-5)
    assert found.is_ood is found.p_value is None  # the calibration is of another score


def test_paths_images_arrays_and_tensors_are_answered_alike(detector, folder, opened):
    wanted = detector(opened[:4])
    paths = [folder / f"{place}.webp" for place in range(4)]
    arrays = np.stack([np.asarray(one) for one in opened[:4]])
    for given in (paths, [str(one) for one in paths], arrays, torch.from_numpy(arrays).permute(0, 3, 1, 2)):
        found = detector(given)
        np.testing.assert_allclose(found.score, wanted.score, atol=1e-9)
        assert found.nearest_negative == wanted.nearest_negative


def test_one_image_is_a_batch_of_one_and_none_are_a_batch_of_none(detector, opened):
    assert detector(opened[0]).score.shape == (1,)
    nothing = detector([])
    assert (len(nothing.label), nothing.class_name, len(nothing.is_ood)) == (0, [], 0)


def test_how_many_images_are_looked_at_together_does_not_matter(detector, opened):
    one, all_at_once = (detector(opened, batch_size=size).score for size in (1, 64))
    np.testing.assert_allclose(one, all_at_once, atol=1e-8)


def test_the_nearest_negative_is_the_class_whose_negative_prompt_has_the_largest_cosine(detector, opened):
    learned = detector._loaded.learned
    from negprompt.detection.pixels import pixels_of
    from negprompt.prompts.text_features import text_features

    text = text_features(detector.backbone, learned.bundle, detector.classes)
    pixels = torch.stack([pixels_of(one, detector.backbone.image_spec) for one in opened[:5]])
    with torch.no_grad():
        image = torch.nn.functional.normalize(detector.backbone.encode_image(pixels), dim=-1)
    cosines = torch.einsum("bd,kpd->bkp", image, text.negative).flatten(1)
    wanted = [detector.classes[int(place) // text.negative.shape[1]] for place in cosines.argmax(dim=1)]
    assert detector(opened[:5]).nearest_negative == wanted


def test_a_run_without_negatives_names_none(run, opened, negprompt):
    (coop,) = run.parents[2].glob("coop/*/*")
    found = Detector.load(coop, device="cpu")(opened[:2])
    assert found.nearest_negative is None
    assert found.is_ood is not None


@pytest.mark.parametrize(("method", "score"), [("clipn", "atd"), ("zoc", "zoc")])
def test_methods_with_more_than_prompts_are_read_from_their_run_folder(
    method, score, icons, tests, tmp_path, negprompt
):
    settings = (f"method={method}", "trainer=cpu", "trainer.progress_bar=false", "data.num_shots=2")
    assert negprompt("train", *settings, f"data.root={icons}", f"paths.runs_dir={tmp_path}").code == 0
    (done,) = tmp_path.rglob("DONE")
    detector = Detector.load(done.parent, device="cpu")
    assert detector.score_name == score
    found = detector([Image.open(io.BytesIO(one)) for one in tests.encoded])
    np.testing.assert_allclose(found.score, np.load(done.parent / "scores.npz")[f"id/{score}"], atol=1e-6, rtol=0)
    assert detector.calibration.n == 20
    with pytest.raises(ConfigError, match="keep its run folder"):
        detector.save(tmp_path / "detector.safetensors")


def test_it_runs_without_lightning_and_hydra(run):
    code = (
        "import sys\n"
        "from negprompt import Detector\n"
        "import numpy as np\n"
        f"detector = Detector.load({str(run)!r})\n"
        "detector(np.zeros((40, 40, 3), np.uint8))\n"
        "print(*sorted(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"lightning", "pytorch_lightning", "hydra", "omegaconf", "torchmetrics", "matplotlib"}
    assert heavy & set(done.stdout.split()) == set()


# --- thresholds -----------------------------------------------------------------------------------------------------


def test_a_run_keeps_its_score_on_the_held_out_pictures(detector, run, id_sets):
    held_out = id_sets.held_out(1)
    found = detector([Image.open(io.BytesIO(one)) for one in held_out.encoded])
    np.testing.assert_allclose(np.sort(found.score), detector.calibration.scores, atol=1e-6, rtol=0)
    assert (detector.calibration.n, detector.calibration.kind) == (len(held_out.keys), "held_out")


def test_no_tested_and_no_trained_picture_is_calibrated_on(id_sets):
    pictures = id_sets.load(1)
    others = {*pictures.train.encoded, *pictures.test.encoded}
    assert others.isdisjoint(id_sets.held_out(1).encoded)
    assert id_sets.model_copy(update={"part": "val"}).held_out(1) is None


def test_is_ood_is_p_up_to_alpha_and_score_below_the_threshold(detector, opened):
    found = detector(opened)
    np.testing.assert_array_equal(found.p_value, p_values(found.score, detector.calibration))
    np.testing.assert_array_equal(found.is_ood, found.p_value <= 0.05)
    np.testing.assert_array_equal(found.is_ood, found.score < detector.threshold)
    np.testing.assert_array_equal(detector(opened, alpha=0.5).is_ood, found.p_value <= 0.5)


def test_an_alpha_that_twenty_images_cannot_promise_is_refused(own, opened):
    for attempt in (lambda: own(opened, alpha=0.01), lambda: setattr(own, "alpha", 0.01)):
        with pytest.raises(ConfigError, match=r"0.01 cannot be promised with 20 .*at least 99"):
            attempt()
    own.alpha = 0.3
    assert (own(opened).is_ood == (own(opened).p_value <= 0.3)).all()
    with pytest.raises(ConfigError, match="two rules"):
        own(opened, alpha=0.1, false_discovery_rate=0.1)


def test_few_images_promise_what_they_can(own, opened):
    own.calibrate(opened[:4], source="four")
    assert own.alpha == 0.2
    assert own(opened).is_ood.tolist() == (own(opened).p_value <= 0.2).tolist()


def test_benjamini_hochberg_is_over_the_whole_batch(own, opened):
    own.calibrate(opened)
    black, white = (Image.new("RGB", (32, 32), colour) for colour in ("black", "white"))
    found = own([*opened[:4], black, white], false_discovery_rate=0.9)
    from scipy.stats import false_discovery_control

    np.testing.assert_array_equal(found.is_ood, false_discovery_control(found.p_value) <= 0.9)


def test_without_a_calibration_there_is_no_verdict_and_no_threshold(copied, opened):
    (copied / "detector.json").unlink()
    plain = Detector.load(copied, device="cpu")
    found = plain(opened[:3])
    assert found.is_ood is found.p_value is None
    assert (found.score == Detector.load(copied.parent / "run", device="cpu")(opened[:3]).score).all()
    for attempt in (
        lambda: plain(opened, alpha=0.1),
        lambda: plain(opened, false_discovery_rate=0.1),
        lambda: plain.threshold,
    ):
        with pytest.raises(ConfigError, match=r"no calibration of score=negprompt"):
            attempt()


def test_a_training_whose_held_out_picture_is_broken_ends_well_and_says_so(icons, tmp_path, negprompt, monkeypatch):
    def broken(self, seed):
        raise DataError("Picture 'x' is corrupt.")

    monkeypatch.setattr("negprompt.data.icons.IconsID.held_out", broken)
    settings = ("method=zero_shot", "trainer=cpu", "trainer.progress_bar=false", "data.num_shots=2")
    said = negprompt("train", *settings, f"data.root={icons}", f"paths.runs_dir={tmp_path}")
    assert said.code == 0
    assert "No threshold" in said.err + said.out
    (record,) = tmp_path.rglob("detector.json")
    assert json.loads(record.read_text())["calibration"] is None


# --- names ----------------------------------------------------------------------------------------------------------


def test_other_class_names_are_encoded_anew_and_drop_the_calibration(own, opened, caplog):
    before = own(opened[:3])
    own.classes = [*own.classes[:5], "teapot"]
    assert "calibrate again" in caplog.text
    assert own.calibration is None
    assert len(set(own(opened).label)) <= 6
    own.classes = [before.class_name[0], "teapot"]
    assert set(own(opened[:3]).class_name) <= {before.class_name[0], "teapot"}


def test_the_same_names_keep_the_calibration(own):
    own.classes = list(own.classes)
    assert own.calibration is not None


def test_names_given_on_loading_are_those_assigned_later(run, own, opened):
    names = ["anchor", "bell", "teapot"]
    own.classes = names
    np.testing.assert_array_equal(Detector.load(run, device="cpu", class_names=names)(opened).score, own(opened).score)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ([], "has no class"),
        (["cat"], "one class"),
        (["cat", "cat"], "'cat' twice"),
        (["cat", " "], "' '"),
        (["cat", 3], "holds 3"),
        ("cat", "one text"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(own, names, what):
    with pytest.raises(ConfigError, match=what):
        own.classes = names
    assert own.calibration is not None


def test_class_specific_prompts_keep_their_names(copied):
    file = copied / bundles.FILE_NAME
    bundle = bundles.load(file)
    specific = bundle._replace(
        positive=bundle.positive.expand(20, *bundle.positive.shape),
        negative=bundle.negative.expand(20, *bundle.negative.shape),
    )
    file.write_bytes(bundles.to_bytes(specific))
    loaded = Detector.load(copied, device="cpu")
    with pytest.raises(PromptMismatchError, match="Class-specific"):
        loaded.classes = ["cat", "dog"]


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_saved_detector_is_one_file_that_answers_alike(own, opened, tmp_path):
    own.calibrate(opened, source="the test pictures")
    again = Detector.load(own.save(tmp_path / "new" / "detector.safetensors"), device="cpu")
    assert again.classes == own.classes
    assert again.calibration.source == "the test pictures"
    for one, other in zip(own(opened), again(opened), strict=True):
        assert list(one) == list(other)
    assert (
        own.save(tmp_path / "equal.safetensors").read_bytes()
        == (tmp_path / "new" / "detector.safetensors").read_bytes()
    )


def test_saving_replaces_a_file_and_refuses_other_places(own, tmp_path):
    file = tmp_path / "detector.safetensors"
    file.write_text("something else")
    assert Detector.load(own.save(file)).classes == own.classes
    with pytest.raises(ConfigError, match=r"ends with \.safetensors"):
        own.save(tmp_path / "detector.pt")
    (tmp_path / "taken").write_text("")
    with pytest.raises(RunError, match="Cannot write"):
        own.save(tmp_path / "taken" / "detector.safetensors")


def test_prompts_alone_find_their_embedded_backbone(run, tmp_path, opened, detector):
    shutil.copy(run / bundles.FILE_NAME, tmp_path)
    alone = Detector.load(tmp_path / bundles.FILE_NAME, device="cpu")
    assert alone.calibration is None
    np.testing.assert_array_equal(alone(opened).score, detector(opened).score)


def test_a_backbone_may_be_named_or_given(run, opened, detector):
    for backbone in ("tiny_rn", "embedded/tiny_rn", EmbeddedSettings(name="tiny_rn"), detector.backbone):
        assert (Detector.load(run, backbone, device="cpu")(opened[:2]).score == detector(opened[:2]).score).all()


def test_what_does_not_fit_together_is_refused(run, copied, tmp_path):
    attempts = {
        "learned on tiny_rn": lambda: Detector.load(run, "tiny_vit"),
        "no embedded backbone": lambda: Detector.load(run, "tiny_xx"),
        "did you mean 'negprompt'": lambda: Detector.load(run, score="negpromt"),
        "score=zoc needs": lambda: Detector.load(run, score="zoc"),
        "score=react needs": lambda: Detector.load(run, score="react"),
        "There is no run": lambda: Detector.load(tmp_path / "nothing"),
        "device='tpu9'": lambda: Detector.load(run, device="tpu9"),
    }
    for what, attempt in attempts.items():
        with pytest.raises(NegPromptError, match=what):
            attempt()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda record: record.update(schema=99), "schema 99"),
        (lambda record: record.pop("score"), "damaged"),
        (lambda record: record["calibration"].update(scores=["x"]), "damaged"),
    ],
)
def test_a_record_that_is_damaged_or_of_a_later_version_is_refused(copied, change, what):
    record = json.loads((copied / "detector.json").read_text())
    change(record)
    (copied / "detector.json").write_text(json.dumps(record))
    with pytest.raises(PromptMismatchError, match=what):
        Detector.load(copied)


def test_a_bundle_of_another_version_is_refused(copied):
    file = copied / bundles.FILE_NAME
    bundle = bundles.load(file)
    file.write_bytes(bundles.to_bytes(bundle._replace(metadata={"backbone": "tiny_rn"})))
    with pytest.raises(PromptMismatchError, match="of another version"):
        Detector.load(copied)


# --- fits -----------------------------------------------------------------------------------------------------------


def test_a_fit_trains_both_stages_and_calibrates_on_what_it_kept_out(opened, tests):
    names = ["anchor", "bell", "cactus"]
    few = [(image, label) for image, label in zip(opened, tests.labels, strict=True) if label < 3] * 2
    images, labels = zip(*few, strict=True)
    fitted = Detector.fit(images, labels, names, held_out=0.25, overrides=BOTH, device="cpu")
    assert fitted.classes == tuple(names)
    assert (fitted.calibration.n, fitted.calibration.kind) == (3, "held_out")
    assert fitted(images[:2]).nearest_negative is not None
    assert fitted(images[:2]).is_ood.shape == (2,)


def test_a_fit_may_calibrate_by_cross_validation_and_says_so(opened, tests):
    few = [(image, label) for image, label in zip(opened, tests.labels, strict=True) if label < 2]
    images, labels = zip(*few, strict=True)
    fitted = Detector.fit(
        images, labels, ["anchor", "bell"], method="coop", calibrate="cross_validation", folds=2, overrides=QUICK
    )
    assert (fitted.calibration.n, fitted.calibration.kind) == (4, "cross_validation")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"labels": [0, 1]}, "2 of them for 3 images"),
        ({"labels": [0, 1, 2]}, "2 among them"),
        ({"labels": [0, 0, 0]}, "No image has the label 1"),
        ({"class_names": ["cat", "cat"]}, "twice"),
        ({"calibrate": "oracle"}, "allowed: held_out"),
        ({"held_out": 1.5}, "held_out=1.5"),
        ({"overrides": ["method.num_negatives=none"]}, "num_negatives"),
        ({"images": ["gone.png"] * 3}, "gone.png"),
        ({"images": [np.full((4, 4, 3), 7.0)] * 3}, r"floats are in \[0, 1\]"),
    ],
)
def test_a_fit_refuses_what_does_not_fit(change, what):
    usual = {"images": [Image.new("RGB", (8, 8))] * 3, "labels": [0, 1, 1], "class_names": ["cat", "dog"]}
    with pytest.raises(NegPromptError, match=what):
        Detector.fit(**{**usual, **change})
