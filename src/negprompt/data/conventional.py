"""The four conventional OOD sets of ImageNet: iNaturalist, SUN, Places (Huang & Li, 2021) and Texture (DTD)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from negprompt.data.base import Expected
from negprompt.data.listed_ood import ListedOOD, chosen
from negprompt.data.listing import Listing, without_class
from negprompt.data.tree import list_tree
from negprompt.errors import DataError

_FOLDERS = {
    "iNaturalist": ("iNaturalist/images", "iNaturalist", "inaturalist/images", "inaturalist"),
    "SUN": ("SUN/images", "SUN", "sun/images", "sun"),
    "Places": ("Places/images", "Places", "places365/images", "places365", "places/images"),
    "Texture": ("dtd/images", "Texture/images", "Textures/images", "Texture", "Textures", "texture"),
}
"""Folders that each set is unpacked to: the archive's own first, then the names in use elsewhere."""

_COUNTS = {"iNaturalist": 10_000, "SUN": 10_000, "Places": 10_000, "Texture": 5_640}


class ConventionalOOD(ListedOOD):
    """iNaturalist, SUN, Places and Texture in the layouts people download.

    `root`: folder that holds all of them, None for `data_root`; `sets`: those to use, None for all.
    """

    sets: list[str] | None = None
    root: Annotated[str | None, Field(exclude=True)] = None
    data_root: Annotated[str, Field(exclude=True)] = "data"

    def check(self) -> None:
        """Refuse unknown sets, and sets that are not there."""
        for name in self.set_names():
            if self.shards is None:
                self.folder(name)

    def set_names(self) -> tuple[str, ...]:
        """Sets in the order of the paper's columns."""
        return chosen(self.sets, tuple(_FOLDERS))

    def folder(self, name: str) -> Path:
        """Where the pictures of a set lie.

        Raises:
            DataError: none of the usual folders is there.
        """
        top = Path(self.data_root if self.root is None else self.root)
        found = next((top / folder for folder in _FOLDERS[name] if (top / folder).is_dir()), None)
        if found is None:
            msg = (
                f"OOD set {name} is not in {top}: looked for {', '.join(_FOLDERS[name])}. Unpack its archive there "
                "(docs/data.md says where to get it), set ood.root to the folder that holds the sets, or leave it out "
                f"with ood.sets=[{','.join(one for one in _FOLDERS if one != name)}]."
            )
            raise DataError(msg)
        return found

    def list_set(self, name: str) -> Listing:
        """All pictures below the set's folder."""
        return without_class(list_tree(self.folder(name), self.cache))

    def expected(self, set_name: str) -> Expected:
        """Counts of the archives."""
        return Expected(_COUNTS[set_name], None, "Unpack the archive again (docs/data.md says where to get it).")
