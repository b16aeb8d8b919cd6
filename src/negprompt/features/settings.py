"""Whether image features of the frozen backbone are computed once or at every step."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from negprompt.errors import ConfigError
from negprompt.settings import LATER, Settings


class FeatureSettings(Settings):
    """`mode=store` keeps the features of `views` augmented views of every training picture on disk, `none` nothing.

    Epoch e trains on view e mod `views`, whose augmentation is that of epoch (e mod `views`) with `mode=none`: with
    `views` at least the number of epochs the two modes train on the same features. `augment=false`: one view, under
    the test transform. `local`: also the features of regions, for methods and scores that look at them.
    """

    mode: Literal["store", "none"] = "store"
    views: Annotated[int, Field(ge=1)] = 8
    augment: Annotated[bool, Field(json_schema_extra=LATER)] = True
    local: Annotated[bool, Field(exclude=True)] = False

    @model_validator(mode="after")
    def _views_differ(self) -> Self:
        if self.views > 1 and not self.augment:
            msg = (
                f"features.augment=false with features.views={self.views}: without augmentation all views are equal; "
                "set features.views=1, or features.augment=true."
            )
            raise ConfigError(msg)
        return self

    def hash_payload(self) -> dict[str, Any]:
        """The values, with the word for stored features of the first version, so that its run folders are found."""
        payload = super().hash_payload()
        return {**payload, "mode": "memory"} if self.mode == "store" else payload
