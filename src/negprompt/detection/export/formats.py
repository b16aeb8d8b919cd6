"""The kinds of file a detector is exported to, each in a module that is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from negprompt.detection.export.graph import DetectorGraph

FormatName = Literal["onnx", "torchscript"]

Answer = Callable[[Tensor], dict[str, Tensor]]
"""Pictures (B, 3, size, size) -> outputs by name, from a file."""

_EXAMPLE = 2
"""Pictures in the batch that a graph is traced with: of one, a batch axis might be taken for a constant."""


class FileFormat(NamedTuple):
    """A kind of file.

    `ending` of its name; `content`: graph and metadata (texts by key) -> bytes; `opened`: bytes and device -> what the
    file answers there; `metadata`: bytes -> texts by key.
    """

    ending: str
    content: Callable[[DetectorGraph, Mapping[str, str]], bytes]
    opened: Callable[[bytes, torch.device], Answer]
    metadata: Callable[[bytes], dict[str, str]]


def file_format(name: FormatName) -> FileFormat:
    """One of the formats.

    Raises:
        ConfigError: what it needs is not installed; the message says how to get it.
    """
    module = importlib.import_module(f"negprompt.detection.export.{name}_file")
    found: FileFormat = module.FORMAT
    return found


def example(graph: DetectorGraph) -> Tensor:
    """Pictures to trace a graph with."""
    return torch.full((_EXAMPLE, 3, graph.size, graph.size), 0.5, device=graph.device)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention from single operations in the body: PyTorch's fused inference path is one that no file can hold."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
