"""What a file says of itself: everything a program needs that has this file and not this package."""

from __future__ import annotations

import json
from typing import Any

import negprompt
from negprompt.detection.export.graph import INPUT, OUTPUTS, DetectorGraph, Threshold
from negprompt.detection.loading import Loaded
from negprompt.prompts.bundle import class_names_sha256
from negprompt.types import ImageSpec

SCHEMA = 1
"""Number of the metadata's format."""


def describe(graph: DetectorGraph, loaded: Loaded, level: Threshold | None) -> dict[str, str]:
    """Metadata of a file: JSON values by key.

    Args:
        graph: that is written.
        loaded: what it was made of.
        level: its threshold, None where there is no calibration.
    """
    learned, backbone, score = loaded.learned.bundle.metadata, loaded.backbone, loaded.score.node
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "class_names": list(loaded.class_names),
        "score": {
            "name": loaded.score_name,
            "settings": {key: value for key, value in score.items() if key != "_target_"},
            "direction": "higher is more in-distribution",
        },
        "threshold": None if level is None else _threshold(level),
        "input": {"name": INPUT, "shape": ["batch", 3, graph.size, graph.size], "type": "float32"},
        "outputs": {name: OUTPUTS[name] for name in graph.names},
        "preprocessing": preprocessing(backbone.image_spec),
        "backbone": {"name": backbone.name, "tag": backbone.tag},
        "weights_sha256": learned["weights_sha256"],
        "class_names_sha256": class_names_sha256(loaded.class_names),
        "run": learned.get("run"),
        "method": learned["method"],
        "negprompt": negprompt.__version__,
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}


def preprocessing(spec: ImageSpec) -> dict[str, Any]:
    """How a picture becomes the input of a graph: the test transform of `data.transforms`, in words and numbers."""
    return {
        "decode": "first frame, upright by its EXIF orientation, transparent pixels on white, 8 bits a channel",
        "size": spec.size,
        "resize": "shorter side to size, longer side to int(size * longer / shorter), antialiased (as Pillow does)",
        "interpolation": spec.interpolation,
        "crop": "centre square; left = round((width - size) / 2), top = round((height - size) / 2)",
        "colour_order": "RGB",
        "layout": "NCHW",
        "range": [0.0, 1.0],
        "mean_inside": list(spec.mean),
        "std_inside": list(spec.std),
    }


def _threshold(level: Threshold) -> dict[str, Any]:
    calibration = level.calibration
    return {
        "value": level.value,
        "rule": "out-of-distribution where score < value",
        "alpha": level.alpha,
        "n": calibration.n,
        "kind": calibration.kind,
        "source": calibration.source,
        "promise": calibration.promise(level.alpha),
    }
