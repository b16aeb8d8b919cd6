"""A detector as an ONNX file: the one place that knows onnx and ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from negprompt.detection.export.formats import Answer, FileFormat, example, plain_attention
from negprompt.detection.export.graph import INPUT, DetectorGraph
from negprompt.errors import ConfigError

try:
    import onnx
    import onnxruntime
except ImportError as error:
    _MISSING = (
        "format=onnx needs onnx and onnxruntime: pip install 'negprompt[export]', or pip install onnx onnxruntime; "
        "format=torchscript needs nothing more."
    )
    raise ConfigError(_MISSING) from error

_OPSET = 17
"""Of September 2022: old runtimes read it, and it has all that is needed."""

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def content(graph: DetectorGraph, metadata: Mapping[str, str]) -> bytes:
    """The file of a graph; the batch axis is free.

    PyTorch's exporter that traces, not the newer one that compiles: the same file from torch 2.8 on, in a second
    rather than a minute, and for image towers that the newer one refuses (docs/decisions.md).
    """
    axes = {name: {0: "batch"} for name in (INPUT, *graph.names)}
    with TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad(), plain_attention():
        warnings.simplefilter("ignore")  # of its age, and of sizes that do not depend on the pictures
        file = Path(folder) / "traced.onnx"
        torch.onnx.export(
            graph,
            (example(graph),),
            str(file),
            dynamo=False,
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=list(graph.names),
            dynamic_axes=axes,
        )
        model = onnx.load_model(file)
    onnx.helper.set_model_props(model, dict(metadata))
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def opened(file: bytes, device: torch.device) -> Answer:
    """What ONNX Runtime answers to pictures.

    Raises:
        ConfigError: this ONNX Runtime has nothing for the device.
    """
    provider, available = _PROVIDERS[device.type], onnxruntime.get_available_providers()
    if provider not in available:
        msg = (
            f"device={device.type}: this onnxruntime has {', '.join(available)} only: set device=cpu, or "
            "pip install onnxruntime-gpu in its place."
        )
        raise ConfigError(msg)
    session = onnxruntime.InferenceSession(file, providers=[provider])
    names = [output.name for output in session.get_outputs()]

    def answer(image: Tensor) -> dict[str, Tensor]:
        found = session.run(names, {INPUT: image.cpu().numpy()})
        return {name: torch.as_tensor(value) for name, value in zip(names, found, strict=True)}

    return answer


def metadata(file: bytes) -> dict[str, str]:
    """Texts by key."""
    return {entry.key: entry.value for entry in onnx.load_model_from_string(file).metadata_props}


FORMAT = FileFormat(".onnx", content, opened, metadata)
