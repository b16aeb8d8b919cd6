"""Which reader goes with a run's prompts: those of methods, without what trains them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.detection.nodes import imported
from negprompt.errors import PromptMismatchError
from negprompt.prompts.candidates import Naming, naming_reader
from negprompt.prompts.no_text import yes_no_reader
from negprompt.prompts.reader import Reader
from negprompt.prompts.text_features import TEMPLATES, text_features
from negprompt.types import PromptBundle

_CLIPN = "negprompt.methods.clipn.ClipnSettings"
_ZOC = "negprompt.methods.zoc.ZocSettings"
_PACKAGE = "negprompt."


class Learned(NamedTuple):
    """What a run has learned: prompts, tensors beside them (none for most methods), the run's `method` settings."""

    bundle: PromptBundle
    adapter: Mapping[str, Tensor]
    method: Mapping[str, Any]

    @property
    def provides(self) -> frozenset[str]:
        """What scores may ask of it (keys of `scores.base.NEEDS`)."""
        own = {_CLIPN: {"no_text"}, _ZOC: {"candidates"}}.get(str(self.method.get("_target_")), set())
        return frozenset(own) | ({"negative"} if self.bundle.negative is not None else frozenset())


@torch.no_grad()
def reader_of(learned: Learned, backbone: FrozenBackbone, class_names: Sequence[str]) -> Reader:
    """What compares pictures with the prompts, on the backbone's device: the same as `MethodSettings.reader`.

    Args:
        learned: prompts and what belongs to them.
        backbone: frozen CLIP.
        class_names: K names in label order.

    Raises:
        PromptMismatchError: class-specific prompts and other names, or a method whose settings are not at hand.
    """
    bundle, adapter, method = learned
    target = method.get("_target_")
    if target in (_CLIPN, _ZOC):
        words = str(method["context_words"])
        if target == _CLIPN:
            return yes_no_reader(backbone, bundle, adapter, class_names, words)
        naming = Naming(method["top_k"], method["steps"], (words, *bundle.metadata.get(TEMPLATES, ())))
        return naming_reader(backbone, bundle, adapter, class_names, naming)
    if adapter and target is None:
        msg = (
            f"Prompts of method={bundle.metadata['method']} are read together with the run's adapter.safetensors and "
            "config.yaml: load the run folder, not a copy of the prompts alone."
        )
        raise PromptMismatchError(msg)
    if target is not None and not str(target).startswith(_PACKAGE):
        _refuse_own_reader(str(target))
    return Reader(text_features(backbone, bundle, class_names), backbone.logit_scale)


def _refuse_own_reader(target: str) -> None:
    """A method from elsewhere may compare pictures in its own way, which needs its settings as the command has them."""
    from negprompt.methods.base import MethodSettings  # here, for it imports Lightning

    if getattr(imported(target), "reader", None) is not MethodSettings.reader:
        msg = (
            f"{target} cannot be imported, or reads its prompts in its own way, which a detector does not know: use "
            "negprompt evaluate."
        )
        raise PromptMismatchError(msg)
