"""What an exported file weighs, and how fast it answers beside the detector it was made of.

    python experiments/benchmarks/exported.py [--large]

For the embedded backbones, with --large for an RN50 and a ViT-B-32 with random weights: random prompts of 90 classes
with two negatives each, the NegPrompt score, a threshold. Seconds of a call are taken in turns (Python, ONNX Runtime,
TorchScript, Python, ...) in this process, with equal threads, and ratios are of the same round. Every file passes the
check of `negprompt export` first. Writes `results/exported.md` and `.csv` (`exported_large`).
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import common
import numpy as np
import onnxruntime
import open_clip
import torch

from negprompt.backbones.embedded import EmbeddedSettings
from negprompt.backbones.openclip import OpenClipBackbone
from negprompt.detection.calibration import Calibration
from negprompt.detection.export.formats import file_format
from negprompt.detection.export.graph import INPUT, DetectorGraph
from negprompt.detection.export.write import export
from negprompt.detection.loading import Loaded
from negprompt.detection.readers import Learned
from negprompt.scores.choice import choose
from negprompt.scores.negprompt import negprompt
from negprompt.types import ImageSpec, PromptBundle

CLASSES, NEGATIVES, TOKENS = 90, 2, 4
BATCHES = (1, 8)
NAMES = tuple(open_clip.IMAGENET_CLASSNAMES[:CLASSES])
KINDS = ("onnx", "torchscript")
CPU = torch.device("cpu")


def backbones(*, large: bool) -> Iterator[OpenClipBackbone]:
    """The embedded ones, or two of the usual size."""
    for name in () if large else ("tiny_rn", "tiny_vit", "tiny_lit"):
        yield EmbeddedSettings(name=name).build()
    for name in ("RN50", "ViT-B-32") if large else ():
        spec = ImageSpec(224, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        yield OpenClipBackbone(open_clip.create_model(name), f"{name}, random", f"{name}/random", spec)


def detector(backbone: OpenClipBackbone) -> Loaded:
    """A detector with random prompts."""
    width = backbone.embed_tokens(torch.zeros(1, dtype=torch.long)).shape[-1]
    contexts = 0.02 * torch.randn(1 + NEGATIVES, TOKENS, width)
    metadata = {
        "method": "negprompt", "weights_sha256": backbone.weights_sha256(), "class_token_position": "end",
        "full_stop": False, "train_class_names": list(NAMES),
    }  # fmt: skip
    score = choose("negprompt", negprompt, {}, "negprompt.scores.negprompt.negprompt")
    calibration = Calibration.of(np.linspace(0.001, 0.01, 317), "numbers")
    bundle = PromptBundle(contexts[0], contexts[1:], metadata)
    return Loaded(backbone, Learned(bundle, {}, {}), NAMES, "negprompt", score, calibration)


def session(content: bytes) -> Callable[[torch.Tensor], object]:
    """ONNX Runtime with as many threads as PyTorch has; by itself it takes all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    opened = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda image: opened.run(None, {INPUT: image.numpy()})


def main() -> None:
    """Export, measure in turns, write the table."""
    parser = common.parser(__doc__)
    parser.add_argument("--large", action="store_true", help="an RN50 and a ViT-B-32 in place of the embedded ones")
    given = common.checked(parser)
    rows = []
    for backbone in backbones(large=given.large):
        common.progress(backbone.name)
        loaded = detector(backbone)
        graph, row = DetectorGraph(loaded), {"backbone": backbone.name}
        answers = {}
        with tempfile.TemporaryDirectory() as folder:
            for kind in KINDS:
                done = export(loaded, Path(folder) / kind, kind)
                content = done.path.read_bytes()
                answers[kind] = session(content) if kind == "onnx" else file_format(kind).opened(content, CPU)
                row |= {
                    f"{kind}, MB": f"{len(content) / 1e6:.1f}",
                    f"{kind}, difference": f"{done.checked.difference:.0e}",
                }
        for size in BATCHES:
            image = torch.rand(size, 3, graph.size, graph.size)

            def python(graph: DetectorGraph = graph, image: torch.Tensor = image) -> None:
                with torch.no_grad():
                    graph(image)

            actions = {kind: functools.partial(answers[kind], image) for kind in KINDS}
            seconds = common.in_turns({"python": python, **actions}, given.rounds, "cpu")
            row |= {
                f"Python over {kind}, batch {size}": common.ratio(seconds["python"], seconds[kind]) for kind in KINDS
            }
        rows.append(row)
    notes = [
        f"{CLASSES} classes, {NEGATIVES} negatives each, score negprompt; decoding and resizing are not measured",
        "Above 1: the file is faster. Median and range over the rounds",
        "Difference: the largest of a cosine or score in the check of `negprompt export`",
    ]
    common.write(
        "exported_large" if given.large else "exported",
        "An exported detector beside the one in Python",
        rows,
        notes,
        given,
    )


if __name__ == "__main__":
    main()
