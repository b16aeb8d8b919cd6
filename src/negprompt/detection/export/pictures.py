"""Real pictures to ask a file about: drawings that ship with the package."""

from __future__ import annotations

import itertools
import tarfile
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from negprompt.data.decoding import decode
from negprompt.data.transforms import test_pixels
from negprompt.types import ImageSpec

_SHARD = Path(str(resources.files("negprompt.data") / "resources" / "icons" / "id_val.tar"))


def embedded_pictures(spec: ImageSpec, count: int) -> Tensor:
    """Validation pictures of `icons` as a backbone wants them, but in [0, 1]: (count, 3, size, size) float32."""
    with tarfile.open(_SHARD) as archive:
        members = itertools.islice((one for one in archive if one.name.endswith(".webp")), count)
        found = [(one.name, archive.extractfile(one).read()) for one in members]  # type: ignore[union-attr]
    pictures = [test_pixels(decode(content, name, _SHARD.name), spec) for name, content in found]
    return torch.stack(pictures).float() / 255
