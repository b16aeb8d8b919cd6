"""What an entry of the feature store holds, and the key that everything which changes it goes into."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from negprompt.backbones.base import FrozenBackbone
from negprompt.data.base import Augmentation
from negprompt.data.contents import digests
from negprompt.runs.folder import request_hash
from negprompt.types import ImageSet

SCHEMA = 1
"""Part of every key, raised when equal keys would give other features."""

Key = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """Pictures of one set under one transform.

    `augmentation` None: the test transform; else that of epoch `number` of a training with `seed`.
    """

    images: ImageSet
    augmentation: Augmentation | None = None
    seed: int = 0
    number: int = 0

    @property
    def transform(self) -> dict[str, Any]:
        """The transform as JSON values."""
        if self.augmentation is None:
            return {"name": "test"}
        return {
            "name": "augmented",
            **self.augmentation.model_dump(mode="json"),
            "seed": self.seed,
            "view": self.number,
        }


def make_key(view: View, pictures_sha256: str, backbone: FrozenBackbone, weights_sha256: str, precision: str) -> Key:
    """Key of the features without regions; `with_local` makes that of an entry which has both."""
    key = {
        "schema": SCHEMA,
        "backbone": {"tag": backbone.tag, "weights_sha256": weights_sha256},
        "image_spec": backbone.image_spec._asdict(),
        "pictures": {"set": view.images.name, "count": len(view.images.keys), "sha256": pictures_sha256},
        "transform": view.transform,
        "precision": precision,
        "local": False,
    }
    normalised: Key = json.loads(json.dumps(key))  # as it is read back: lists in place of tuples
    return normalised


def with_local(key: Key) -> Key:
    """Key of the same features together with those of the regions."""
    return {**key, "local": True}


def pictures_sha256(images: ImageSet) -> str:
    """Hash of the list of pictures: names, order and content."""
    digest = hashlib.sha256()
    for name, content in zip(images.keys, digests(images.encoded), strict=True):
        digest.update(json.dumps(name).encode() + content.tobytes())
    return digest.hexdigest()


def folder_name(key: Key) -> str:
    """Name of an entry's folder: the set, and 16 hex digits of the key's hash."""
    set_name = re.sub(r"[^\w.+-]", "_", str(key["pictures"]["set"]))
    return f"{set_name}-{request_hash(key)[:16]}"
