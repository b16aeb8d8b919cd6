"""An exported file answers what the detector answers, for every backbone, format and score that a file can hold."""

from __future__ import annotations

import importlib
import json
import warnings

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from helpers import CLASS_NAMES, encoded, picture, tiny_backbone

from negprompt.backbones.embedded import EmbeddedSettings, shipped_adapter
from negprompt.backbones.openclip import OpenClipBackbone
from negprompt.detection.calibration import Calibration, p_values
from negprompt.detection.detector import PromptDetector
from negprompt.detection.export import check as checking
from negprompt.detection.export.check import BATCHES, TOLERANCE, check
from negprompt.detection.export.description import describe
from negprompt.detection.export.formats import file_format
from negprompt.detection.export.graph import DetectorGraph, Threshold
from negprompt.detection.export.pictures import embedded_pictures
from negprompt.detection.export.write import export, level_of
from negprompt.detection.loading import Loaded
from negprompt.detection.readers import Learned
from negprompt.errors import ConfigError, ExportError, RunError
from negprompt.prompts.bundle import class_names_sha256, read_adapter
from negprompt.scores.choice import choose
from negprompt.types import ImageSpec, PromptBundle

CPU = torch.device("cpu")
NAMES = CLASS_NAMES[:5]
SPEC = ImageSpec(32, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28), "bicubic")
VERDICTS = ("similarity", "label", "score", "p_value", "is_ood", "nearest_negative")


def score_of(name, **settings):
    function = getattr(importlib.import_module(f"negprompt.scores.{name}"), name)
    return choose(name, function, settings, f"negprompt.scores.{name}.{name}")


def loaded(backbone, score=("negprompt", {}), *, negatives=2, calibration=None, names=NAMES):
    """A detector of random prompts."""
    generator = torch.Generator().manual_seed(0)
    width = backbone.embed_tokens(torch.zeros(1, dtype=torch.long)).shape[-1]
    contexts = 0.02 * torch.randn(1 + negatives, 4, width, generator=generator)
    metadata = {
        "method": "negprompt", "backbone": backbone.name, "weights_sha256": backbone.weights_sha256(), "run": "a/run",
        "class_token_position": "end", "full_stop": False, "train_class_names": list(names),
    }  # fmt: skip
    bundle = PromptBundle(contexts[0], contexts[1:] if negatives else None, metadata)
    name, settings = score
    return Loaded(backbone, Learned(bundle, {}, {}), tuple(names), name, score_of(name, **settings), calibration)


def calibrated(one, count=19):
    """The same with a calibration on pictures of its own."""
    detector = PromptDetector(one, device="cpu")
    calibration = detector.calibrate([picture(place / count, place) for place in range(count)], source="boxes")
    return one._replace(calibration=calibration)


def small_resnet():
    """A random ResNet of open_clip, RN50's class with a block a stage."""
    vision = {"image_size": 32, "layers": (1, 1, 1, 1), "width": 16, "patch_size": None}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text)
    return OpenClipBackbone(model, "small_resnet", "small/random", SPEC)


BACKBONES = {
    "tiny_rn": lambda: EmbeddedSettings(name="tiny_rn").build(),
    "tiny_vit": lambda: EmbeddedSettings(name="tiny_vit").build(),
    "tiny_lit": lambda: EmbeddedSettings(name="tiny_lit").build(),
    "open_clip's ViT": tiny_backbone,
    "open_clip's ResNet": small_resnet,
}


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def boxes():
    return [picture(place / 9, 70 + place, (30 + 3 * place, 45)) for place in range(9)]


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
@pytest.mark.parametrize("name", BACKBONES)
def test_a_file_answers_what_the_detector_does(name, kind, tmp_path, boxes):
    one = loaded(BACKBONES[name]())
    one = one._replace(calibration=Calibration.of(np.linspace(0.01, 0.2, 19), "made up"))
    exported = export(one, tmp_path / "file", kind)
    assert exported.checked.pictures == 2 * sum(BATCHES)
    assert exported.checked.difference < TOLERANCE / 10
    answer = file_format(kind).opened((tmp_path / "file").read_bytes(), CPU)
    pixels = torch.stack([pixels_in_unit_range(image, one.backbone.image_spec) for image in boxes])
    found, expected = answer(pixels), PromptDetector(one, device="cpu")(boxes)
    assert tuple(found) == VERDICTS
    assert found["label"].tolist() == expected.label.tolist()
    assert [NAMES[place] for place in found["nearest_negative"]] == expected.nearest_negative
    assert found["score"].numpy() == pytest.approx(expected.score, abs=TOLERANCE)
    # What follows from a score is exact: it is that of the file's own.
    assert found["p_value"].numpy().tolist() == p_values(found["score"].numpy(), one.calibration).tolist()
    assert found["is_ood"].tolist() == (found["p_value"] <= 0.05).tolist()


def pixels_in_unit_range(image, spec):
    from negprompt.data.transforms import test_pixels

    return test_pixels(image, spec).float() / 255


@pytest.mark.parametrize(
    "score",
    [
        ("mcm", {}), ("mcm", {"temperature": 0.01}), ("msp", {}), ("max_logit", {}), ("energy", {}), ("gl_mcm", {}),
        ("negprompt", {"form": "negative"}), ("negprompt", {"form": "difference"}),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_scores_of_cosines_and_regions_are_in_the_file(backbone, boxes, score, kind, tmp_path):
    one = loaded(backbone, score)
    export(one, tmp_path / "file", kind)
    answer = file_format(kind).opened((tmp_path / "file").read_bytes(), CPU)
    found = answer(torch.stack([pixels_in_unit_range(image, SPEC) for image in boxes]))
    expected = PromptDetector(one, device="cpu")(boxes).score
    assert found["score"].dtype == torch.float64
    assert found["score"].numpy() == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)
    assert np.ptp(found["score"].numpy()) > 0


@pytest.mark.parametrize("score", ["ctw", "atd"])
def test_a_tower_that_says_no_is_in_the_file_as_its_prompts(boxes, score, tmp_path):
    one = loaded(EmbeddedSettings(name="tiny_rn").build(), (score, {}), negatives=0)
    adapter = read_adapter(shipped_adapter("embedded/tiny_rn", "clipn")).tensors
    method = {"_target_": "negprompt.methods.clipn.ClipnSettings", "context_words": "a photo of a"}
    one = one._replace(learned=Learned(one.learned.bundle, adapter, method))
    export(one, tmp_path / "file", "onnx")
    spec = one.backbone.image_spec
    answer = file_format("onnx").opened((tmp_path / "file").read_bytes(), CPU)
    found = answer(torch.stack([pixels_in_unit_range(image, spec) for image in boxes]))
    expected = PromptDetector(one, device="cpu")(boxes)
    assert found["score"].numpy() == pytest.approx(expected.score, abs=TOLERANCE)
    assert np.ptp(expected.score) > 100 * TOLERANCE
    assert [NAMES[place] for place in found["nearest_negative"]] == expected.nearest_negative


def test_without_calibration_and_negatives_a_file_has_less_to_say(backbone, tmp_path):
    export(loaded(backbone, ("mcm", {}), negatives=0), tmp_path / "file", "onnx")
    form = file_format("onnx")
    content = (tmp_path / "file").read_bytes()
    assert tuple(form.opened(content, CPU)(torch.rand(3, 3, 32, 32))) == ("similarity", "label", "score")
    metadata = form.metadata(content)
    assert json.loads(metadata["threshold"]) is None
    assert list(json.loads(metadata["outputs"])) == ["similarity", "label", "score"]


def test_one_picture_worked_out_by_hand(backbone):
    one = loaded(backbone, ("mcm", {}))
    graph = DetectorGraph(one, Threshold(Calibration.of([0.1, 0.9, 0.2, 0.8], "made up"), 0.4))
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (SPEC.mean, SPEC.std))
    with torch.no_grad():
        found = graph.answers(image)
        features = F.normalize(backbone.encode_image((image - mean) / std), dim=-1)
    # The reader's text features, seen through unit vectors; MCM by its definition.
    text = graph._reader.similarity(torch.eye(features.shape[1])).positive.T
    cosines = (text @ features[0]).double()
    shares = cosines.exp() / cosines.exp().sum()
    assert found["score"].item() == pytest.approx(shares.max().item(), abs=1e-6)
    assert found["label"].item() == shares.argmax().item()
    # Five classes of nearly equal cosines: about 0.2, with one or two of the calibration scores at most that.
    not_above = sum(score <= found["score"].item() for score in (0.1, 0.2, 0.8, 0.9))
    assert found["p_value"].item() == (1 + not_above) / 5
    # floor(0.4 * 5) = 2: OOD below the second smallest score, 0.2, and a score of 0.2 itself is kept.
    verdict = graph.verdict(torch.tensor([0.05, 0.1, 0.15, 0.2, 0.5], dtype=torch.float64))
    assert verdict["p_value"].tolist() == [0.2, 0.4, 0.4, 0.6, 0.6]
    assert verdict["is_ood"].tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.15, 0.3, 0.55])
def test_the_threshold_and_the_p_value_agree_on_ties_and_between(backbone, alpha):
    scores = np.repeat(np.arange(13) / 10, [1, 3, 1, 2, 1, 1, 4, 1, 1, 1, 1, 1, 1])
    graph = DetectorGraph(loaded(backbone), Threshold(Calibration.of(scores, "made up"), alpha))
    asked = torch.tensor(np.concatenate([scores, scores + 0.05, [-1.0, 9.0]]))
    verdict = graph.verdict(asked)
    assert verdict["p_value"].tolist() == p_values(asked.numpy(), Calibration.of(scores, "made up")).tolist()
    assert verdict["is_ood"].tolist() == (verdict["p_value"] <= alpha).tolist()


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_the_text_tower_is_not_in_the_file(backbone, kind, tmp_path):
    content = file_format(kind).content(graph := DetectorGraph(loaded(backbone)), {"outputs": "{}"})
    image_tower = 4 * sum(parameter.numel() for parameter in backbone.model.visual.parameters())
    everything = 4 * sum(parameter.numel() for parameter in graph.parameters())
    assert everything > 10 * image_tower  # the table of 49,408 tokens
    assert image_tower < len(content) < image_tower + 300_000


def test_what_a_file_says_of_itself(backbone, tmp_path):
    one = calibrated(loaded(backbone, ("mcm", {"temperature": 0.5})))
    level = level_of(one, None)
    texts = describe(DetectorGraph(one, level), one, level)
    for kind in ("onnx", "torchscript"):
        form = file_format(kind)
        stored = form.metadata(form.content(DetectorGraph(one, level), texts))
        assert {key: json.loads(value) for key, value in stored.items()} == {
            key: json.loads(value) for key, value in texts.items()
        }
    said = {key: json.loads(value) for key, value in texts.items()}
    assert said["class_names"] == list(NAMES)
    assert said["class_names_sha256"] == class_names_sha256(NAMES)
    assert said["weights_sha256"] == backbone.weights_sha256()
    assert said["score"]["name"], said["score"]["settings"] == ("mcm", {"temperature": 0.5})
    smallest = min(one.calibration.scores)  # with 19 pictures, alpha 0.05 rejects what is below all of them
    assert (said["threshold"]["value"], said["threshold"]["alpha"], said["threshold"]["n"]) == (smallest, 0.05, 19)
    assert (said["run"], said["backbone"]["name"]) == ("a/run", "tiny_test")
    assert said["preprocessing"] | {"decode": "", "resize": "", "crop": ""} == {
        "decode": "", "resize": "", "crop": "", "size": 32, "interpolation": "bicubic", "colour_order": "RGB",
        "layout": "NCHW", "range": [0.0, 1.0], "mean_inside": list(SPEC.mean), "std_inside": list(SPEC.std),
    }  # fmt: skip


def test_equal_detectors_make_equal_onnx_files(backbone, tmp_path):
    for name in ("a", "b"):
        export(loaded(backbone), tmp_path / name, "onnx")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_exporting_says_nothing_and_leaves_attention_as_it_was(backbone, tmp_path):
    before = torch.backends.mha.get_fastpath_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("onnx", "torchscript"):
            export(loaded(backbone), tmp_path / kind, kind)
    assert torch.backends.mha.get_fastpath_enabled() == before


# --- a file that is wrong ------------------------------------------------------------------------------------------


def answer_with(graph, **changes):
    """What a file would answer that gets some outputs wrong."""

    def answer(image):
        found = graph.answers(image)
        return {name: changes[name](value) if name in changes else value for name, value in found.items()}

    return answer


@pytest.mark.parametrize(
    ("output", "wrong"),
    [
        ("similarity", lambda value: value + 2e-4),
        ("score", lambda value: value * (1 + 3e-2)),
        ("score", lambda value: value * float("nan")),
        ("label", lambda value: (value + 1) % len(NAMES)),
        ("nearest_negative", lambda value: (value + 1) % len(NAMES)),
        ("p_value", lambda value: value + 0.05),
        ("is_ood", lambda value: ~value),
        ("score", lambda value: value.float()),
        ("label", lambda value: value[:2]),  # a batch axis that was fixed when the graph was traced
    ],
)
def test_a_wrong_answer_is_noticed(backbone, output, wrong):
    one = calibrated(loaded(backbone))
    graph = DetectorGraph(one, level_of(one, None))
    pictures = embedded_pictures(SPEC, max(BATCHES))
    assert check(graph, graph.answers, pictures).difference == 0
    with pytest.raises(ExportError, match=output):
        check(graph, answer_with(graph, **{output: wrong}), pictures)


def test_a_difference_within_the_tolerance_is_told_and_may_move_a_tie(backbone):
    graph = DetectorGraph(loaded(backbone))
    found = check(graph, answer_with(graph, similarity=lambda value: value + 5e-5), embedded_pictures(SPEC, 7))
    assert found.difference == pytest.approx(5e-5, rel=1e-2)


def test_a_file_that_fails_is_not_left_behind_and_an_older_one_stays(backbone, tmp_path, monkeypatch):
    (tmp_path / "old.onnx").write_bytes(b"an older file")
    monkeypatch.setattr(checking, "TOLERANCE", -1.0)
    for name in ("old.onnx", "new.onnx"):
        with pytest.raises(ExportError, match="nothing was written"):
            export(loaded(backbone), tmp_path / name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old.onnx": b"an older file"}


class Untraceable(OpenClipBackbone):
    """A tower with an operation that ONNX does not have."""

    def encode_image(self, images):
        return super().encode_image(images) + torch.linalg.svdvals(images[:, 0]).sum()


def test_a_tower_that_a_format_cannot_hold_is_one_message(tmp_path):
    broken = tiny_backbone()
    broken.__class__ = Untraceable
    with pytest.raises(ExportError, match=r"tiny_test with score=negprompt cannot be written as onnx.*linalg_svd"):
        export(loaded(broken), tmp_path / "file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "words"), [("odin", "the pictures themselves"), ("zoc", "names that are proposed")])
def test_scores_that_look_at_more_than_one_pass_are_refused(backbone, name, words):
    with pytest.raises(ConfigError, match=f"score={name} cannot be exported.*{words}.*such as mcm"):
        DetectorGraph(loaded(backbone, (name, {})))


def test_a_threshold_needs_a_calibration_that_can_promise_it(backbone, tmp_path):
    with pytest.raises(ConfigError, match=r"ood_alpha=0.05 needs a calibration"):
        export(loaded(backbone), tmp_path / "file", alpha=0.05)
    with pytest.raises(ConfigError, match=r"ood_alpha=0.01 cannot be promised with 19"):
        export(calibrated(loaded(backbone)), tmp_path / "file", alpha=0.01)
    assert level_of(calibrated(loaded(backbone), count=4), None).alpha == pytest.approx(1 / 5)


def test_a_place_that_cannot_be_written_is_named(backbone, tmp_path):
    (tmp_path / "file").write_bytes(encoded(picture(0.1, 1)))
    with pytest.raises(RunError, match=r"Cannot write .*output=<file>"):
        export(loaded(backbone), tmp_path / "file" / "inside.onnx")


def test_embedded_pictures_are_drawings_in_the_unit_range():
    found = embedded_pictures(SPEC, 7)
    assert found.shape == (7, 3, 32, 32)
    assert found.dtype == torch.float32
    assert 0 <= found.min() < 0.5 < found.max() <= 1
    assert len({tuple(one.flatten().tolist()) for one in found}) == 7
