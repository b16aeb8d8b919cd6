"""Whether image features of the frozen backbone are computed once or at every step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from negprompt.settings import Settings


class FeatureSettings(Settings):
    """`mode=memory` computes the features of `views` augmented views a training picture once, `none` every step.

    Epoch e trains on view e mod `views`, whose augmentation is that of epoch (e mod `views`) without the cache: with
    `views` at least the number of epochs the two modes train on the same features.
    """

    mode: Literal["memory", "none"] = "memory"
    views: Annotated[int, Field(ge=1)] = 8
