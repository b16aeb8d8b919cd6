"""Settings: what a yaml node becomes. A constructor that checks every value before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

LATER = {"later": True}
"""Mark of a field added after its class was released: `Field(default, json_schema_extra=LATER)`.

Left out of the request hash while it has its default, so old run folders are still found.
"""


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys are errors, no silent conversion ("3" is not 3).

    Fields excluded from serialisation (`exclude=True`) cannot change a result and stay out of the request hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def check(self) -> None:
        """Refuse what can be seen to fail on this machine, before anything is loaded or trained; by default nothing.

        Raises:
            NegPromptError: names the setting and the fix.
        """

    def hash_payload(self) -> dict[str, Any]:
        """All values that can change a result, as JSON values: what the run folder's hash covers."""
        payload = self.model_dump(mode="json")
        for key, field in type(self).model_fields.items():
            if field.json_schema_extra == LATER and getattr(self, key) == field.default:
                payload.pop(key, None)
            elif isinstance(value := getattr(self, key), Settings) and key in payload:
                payload[key] = value.hash_payload()
        return payload


def settings_target(settings: Settings) -> Mapping[str, Any]:
    """The yaml node that builds `settings` again: its values and `_target_`."""
    cls = type(settings)
    return {"_target_": f"{cls.__module__}.{cls.__qualname__}", **settings.model_dump(mode="json")}
