"""A control: the same words for every picture, those that the decoder proposes without looking at one.

python experiments/zoc/blind.py RUN OUTPUT data=icons_hard_1       # RUN: a run folder of method=zoc on the same data
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from negprompt.cli.main import main
from negprompt.methods import zoc
from negprompt.prompts.candidates import Proposals


class Blind(Proposals):
    """Sees features of zero in place of every picture's."""

    def __call__(self, features: Tensor) -> Tensor:
        """What is proposed for nothing."""
        return super().__call__(torch.zeros_like(features))


if __name__ == "__main__":
    run, output, *overrides = sys.argv[1:]
    zoc.Proposals = Blind  # type: ignore[misc]
    sys.argv[1:] = ["evaluate", f"run={run}", f"output={output}", "score=[zoc]", *overrides]
    main()
