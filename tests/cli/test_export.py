"""`negprompt export`: a file that needs nothing of this package, and one message for whatever is in its way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command_line import one_message
from helpers import encoded, picture
from PIL import Image

from negprompt import Detector
from negprompt.cli import export as command

pytestmark = pytest.mark.usefixtures("no_figures")

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_detector.py"
ALONE = "import runpy, sys; sys.modules.update(negprompt=None, torch=None); runpy.run_path(sys.argv[1])"
"""Runs the example where neither this package nor PyTorch can be imported."""


def without_negprompt(*words):
    """What the example prints, a JSON value a line."""
    code = ALONE.replace("run_path(sys.argv[1])", "run_path(sys.argv.pop(0) and sys.argv[0], run_name='__main__')")
    done = subprocess.run(
        [sys.executable, "-c", code, str(EXAMPLE), *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def run(finished):
    (done,) = finished.rglob("negprompt/*/*/DONE")
    return done.parent


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures as users have them: large and small, wide and high, grey, transparent, turned by their tag."""
    folder = tmp_path_factory.mktemp("pictures")
    for place, size in enumerate([(96, 96), (40, 36), (333, 97), (99, 400)]):
        (folder / f"{place}.png").write_bytes(encoded(picture(place / 4, place, size), "png"))
    picture(0.3, 9, (120, 80)).convert("L").save(folder / "grey.jpg")
    cut_out = picture(0.6, 9, (150, 110)).convert("RGBA")
    cut_out.putalpha(Image.linear_gradient("L").resize(cut_out.size))
    cut_out.save(folder / "transparent.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(0.8, 9, (90, 140)).save(folder / "turned.jpg", exif=exif)
    return folder


def test_one_run_answers_the_same_on_the_command_line_in_python_and_on_onnx_runtime(negprompt, run, pictures, tmp_path):
    said = negprompt("export", f"run={run}", f"output={tmp_path / 'detector.onnx'}")
    assert (said.code, said.err) == (0, "")
    assert "20 classes, score negprompt; OOD below" in said.out
    assert "compared with the run on 20 pictures" in said.out
    assert f"written to {tmp_path / 'detector.onnx'} (" in said.out
    files = sorted(pictures.iterdir())
    words = (f"run={run}", f"input={pictures}", f"output={tmp_path / 'answers.jsonl'}", "trainer=cpu")
    assert negprompt("predict", *words, "trainer.progress_bar=false").code == 0
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    detector = Detector.load(run, device="cpu")
    ours = detector(files)
    theirs = without_negprompt(tmp_path / "detector.onnx", *files)
    assert [Path(line["path"]) for line in lines] == [Path(line["file"]) for line in theirs] == files
    assert [line["class_name"] for line in lines] == [line["class_name"] for line in theirs] == ours.class_name
    assert [line["is_ood"] for line in lines] == [line["is_ood"] for line in theirs] == ours.is_ood.tolist()
    for answers in (lines, theirs):
        assert [line["score"] for line in answers] == pytest.approx(ours.score.tolist(), abs=1e-4)
    # Pictures of other sizes, and a turned one, are told apart far above that tolerance.
    assert len({round(score, 5) for score in ours.score.tolist()}) == len(files)


def test_a_torchscript_file_carries_what_it_is(negprompt, run, pictures, tmp_path):
    output = tmp_path / "new" / "detector.pt"
    said = negprompt("export", f"run={run}", "format=torchscript", f"output={output}", "score=mcm")
    assert said.code == 0, said.err
    assert "score mcm; no threshold: the run has no calibration of this score" in said.out
    extra = {"negprompt.json": ""}
    module = torch.jit.load(output, _extra_files=extra)
    about = json.loads(extra["negprompt.json"])
    assert about["score"]["name"] == "mcm"
    size = about["preprocessing"]["size"]
    image = Image.open(pictures / "0.png").convert("RGB")
    assert image.size == (size, size)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    found = dict(zip(about["outputs"], module(pixels), strict=True))
    expected = Detector.load(run, device="cpu", score="mcm")([pictures / "0.png"])
    assert about["class_names"][found["label"][0]] == expected.class_name[0]
    assert found["score"][0].item() == pytest.approx(expected.score[0], abs=1e-4)


def test_a_saved_detector_is_exported_with_the_names_and_calibration_that_it_has(negprompt, run, pictures, tmp_path):
    detector = Detector.load(run, device="cpu")
    detector.classes = ["cat", "dog", "sun"]
    detector.calibrate(sorted(pictures.iterdir()))
    detector.save(tmp_path / "mine.safetensors")
    said = negprompt("export", f"run={tmp_path / 'mine.safetensors'}", "ood_alpha=0.25")
    assert said.code == 0, said.err
    assert "3 classes" in said.out
    (line,) = without_negprompt(tmp_path / "export" / "detector.onnx", pictures / "1.png")
    expected = detector([pictures / "1.png"], alpha=0.25)
    assert (line["class_name"], line["is_ood"]) == (expected.class_name[0], expected.is_ood[0])


def test_the_same_command_again_writes_the_same_file(negprompt, run, tmp_path):
    words = ("export", f"run={run}", f"output={tmp_path / 'detector.onnx'}")
    assert negprompt(*words).code == 0
    before = (tmp_path / "detector.onnx").read_bytes()
    assert negprompt(*words).code == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"detector.onnx": before}


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        (("format=onx",), 2, ("format=onx", "did you mean 'onnx'", "torchscript")),
        (("format=null",), 2, ("format=null",)),
        (("device=cuda",), 2, ("device=cuda", "no CUDA device")),
        (("device=tpu",), 2, ("device=tpu", "cpu, cuda")),
        (("ood_alpha=1.5",), 2, ("ood_alpha=1.5", "between 0 and 1")),
        (("ood_alpha=0.001",), 2, ("ood_alpha=0.001", "cannot be promised with 20", "at least 999")),
        (("score=mcm", "ood_alpha=0.1"), 2, ("ood_alpha=0.1 needs a calibration", "score=mcm")),
        (("score=odin",), 2, ("score=odin cannot be exported", "the pictures themselves")),
        (("score=zoc",), 2, ("score=zoc needs",)),
        (("score=react",), 2, ("score=react needs",)),
        (("score=[mcm,msp]",), 2, ("score=mcm,msp", "choose one")),
        (("run=nowhere",), 2, ("no run at nowhere",)),
        (("output=.",), 2, ("output=. is a folder",)),
        (("output=/dev/null/detector.onnx",), 1, ("Cannot write /dev/null", "in the way", "output=")),
        (("backbone=tiny_vit",), 2, ("learned on tiny_rn", "tiny_vit")),
        (("out=x",), 2, ("out",)),
    ],
    ids=str,
)
def test_one_message_says_what_is_wrong(negprompt, run, tmp_path, monkeypatch, words, code, fragments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    given = {word.partition("=")[0] for word in words}
    usual = {"run": run, "output": tmp_path / "detector.onnx"}
    said = negprompt("export", *(f"{key}={value}" for key, value in usual.items() if key not in given), *words)
    one_message(said, code, *fragments)
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_not_finished_is_refused(negprompt, run, tmp_path):
    unfinished = shutil.copytree(run, tmp_path / "run")
    (unfinished / "DONE").unlink()
    one_message(negprompt("export", f"run={unfinished}", f"output={tmp_path / 'x'}"), 2, "is not finished", "DONE")


def test_files_of_a_run_are_not_written_over(negprompt, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    before = (copy / "prompts.safetensors").read_bytes()
    said = negprompt("export", f"run={copy}", f"output={copy / 'prompts.safetensors'}")
    one_message(said, 2, "prompts.safetensors is there and is no exported detector")
    assert (copy / "prompts.safetensors").read_bytes() == before


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_extra_says_how_to_get_it(negprompt, run, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "negprompt.detection.export.onnx_file", raising=False)
    said = negprompt("export", f"run={run}", f"output={tmp_path / 'x'}")
    one_message(said, 2, "pip install 'negprompt[export]'", "format=torchscript needs nothing more")


@pytest.mark.parametrize("lacking", ["run"])
def test_a_run_must_be_named(negprompt, lacking):
    one_message(negprompt("export", "output=x.onnx"), 2, f"{lacking} is missing")


def test_settings_and_help_are_shown_without_a_run(negprompt):
    assert yaml.safe_load(negprompt("export", "--cfg", "job").out)["format"] == "onnx"
    said = negprompt("export", "--help")
    assert (said.code, said.err) == (0, "")
    assert "negprompt export run=runs/icons" in said.out


def test_one_process_is_enough():
    assert command.ALONE
