"""A detector as a TorchScript file, which PyTorch alone reads, from Python or C++."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from negprompt.detection.export.formats import Answer, FileFormat, example, plain_attention
from negprompt.detection.export.graph import DetectorGraph

_jit: Any = torch.jit  # its functions carry no types

METADATA_FILE = "negprompt.json"
"""Name of the extra file with all metadata: one mapping, as TorchScript files can be asked for known names only."""


def content(graph: DetectorGraph, metadata: Mapping[str, str]) -> bytes:
    """The file of a graph, without what it does not use: freezing makes constants of the rest."""
    described = json.dumps({key: json.loads(value) for key, value in metadata.items()}, indent=1)
    buffer = io.BytesIO()
    with _quiet(), torch.no_grad(), plain_attention():
        traced = _jit.freeze(_jit.trace(graph, example(graph), check_trace=False))
        _jit.save(traced, buffer, _extra_files={METADATA_FILE: described.encode()})
    return buffer.getvalue()


def opened(file: bytes, device: torch.device) -> Answer:
    """What PyTorch answers to pictures with the file."""
    names = list(json.loads(metadata(file)["outputs"]))
    with _quiet():
        module = _jit.load(io.BytesIO(file), map_location=device)

    @torch.no_grad()
    def answer(image: Tensor) -> dict[str, Tensor]:
        return dict(zip(names, module(image.to(device)), strict=True))

    return answer


def metadata(file: bytes) -> dict[str, str]:
    """Texts by key."""
    extra = {METADATA_FILE: ""}
    with _quiet():
        _jit.load(io.BytesIO(file), map_location="cpu", _extra_files=extra)
    return {key: json.dumps(value) for key, value in json.loads(extra[METADATA_FILE]).items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PyTorch's words on TorchScript's age, and on sizes that do not depend on the pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


FORMAT = FileFormat(".pt", content, opened, metadata)
