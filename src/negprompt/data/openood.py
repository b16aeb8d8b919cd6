"""The OpenOOD v1.5 protocol on ImageNet-1k, read from its image lists."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from negprompt.data.base import Expected, Problem
from negprompt.data.classes import Classes, renamed
from negprompt.data.imagenet import label_doubts
from negprompt.data.imagenet_layout import find_layout
from negprompt.data.imagenet_lists import NUM_TRAIN, imagenet_classes
from negprompt.data.listed import ListedID
from negprompt.data.listed_ood import ListedOOD, chosen
from negprompt.data.listing import Listing, by_folder, of_rows
from negprompt.data.own_tables import read_imglist
from negprompt.data.stored import TEST, TRAIN
from negprompt.data.tree import list_tree
from negprompt.errors import DataError

Part = Literal["test", "val"]
ROOTS = ("images_largescale", "images_classic", "")
_LISTS = "benchmark_imglist/imagenet"
_GET = "Get OpenOOD's benchmark_imglist.zip and the archive of the set (docs/data.md says where)."


class ListFile(NamedTuple):
    """A list of the protocol: its file, number of pictures and the first 16 digits of its SHA-256."""

    file: str
    pictures: int
    sha256: str


ID_LISTS = {
    "test": ListFile("test_imagenet.txt", 45_000, "7e0e05f8aa8e3129"),
    "val": ListFile("val_imagenet.txt", 5_000, "b352c357d25ca94a"),
}
SHIFTED_LISTS = {
    "imagenet_v2": ListFile("test_imagenet_v2.txt", 10_000, "44f4322a5a44f1cc"),
    "imagenet_c": ListFile("test_imagenet_c.txt", 10_000, "d31f2b2fb1b242e8"),
    "imagenet_r": ListFile("test_imagenet_r.txt", 30_000, "a9668e25fa5c7d29"),
}
OOD_LISTS = {
    "ssb_hard": ListFile("test_ssb_hard.txt", 49_000, "e2dc7ba6c1e2bd21"),
    "ninco": ListFile("test_ninco.txt", 5_879, "28450babf7d8d738"),
    "inaturalist": ListFile("test_inaturalist.txt", 10_000, "86a19665f968eecf"),
    "textures": ListFile("test_textures.txt", 5_160, "9cf1ff7e97ce67ea"),
    "openimage_o": ListFile("test_openimage_o.txt", 15_869, "cbfb3ab73257f2d1"),
}
OOD_VAL_LISTS = {"openimage_o": ListFile("val_openimage_o.txt", 1_763, "3bb1227701775c38")}
GROUPS = {"near": ("ssb_hard", "ninco"), "far": ("inaturalist", "textures", "openimage_o")}


class OpenOODFolder(NamedTuple):
    """OpenOOD's data folder: lists in benchmark_imglist/imagenet, pictures in images_largescale and images_classic."""

    root: Path

    def rows(self, listed: ListFile) -> list[tuple[str, int]]:
        """Rows of a list.

        Raises:
            DataError: the list is missing or damaged.
        """
        path = self.root / _LISTS / listed.file
        if not path.is_file():
            msg = f"The list {path} is missing: data.root (ood.root) must be OpenOOD's data folder. {_GET}"
            raise DataError(msg)
        return read_imglist(path, "data.root (ood.root)")

    def is_own(self, listed: ListFile) -> bool:
        """Whether a list is OpenOOD v1.5's, byte by byte."""
        path = self.root / _LISTS / listed.file
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest()[:16] == listed.sha256

    def listing(self, listed: ListFile, keys: Sequence[str] | None) -> Listing:
        """Pictures of a list; labels are places in `keys`, None for OOD.

        Raises:
            DataError: the list is missing or damaged, or has a label that is no place in `keys`.
        """
        rows = self.rows(listed)
        if keys is not None and (bad := next((row for row in rows if not 0 <= row[1] < len(keys)), None)):
            msg = f"{listed.file}: picture {bad[0]} has label {bad[1]}; allowed: 0 to {len(keys) - 1}. {_GET}"
            raise DataError(msg)
        top = self._top(rows[0][0])
        return of_rows(top, [(path, path, None if keys is None else keys[label]) for path, label in rows])

    def _top(self, path: str) -> Path:
        """Folder that the paths of a list count from: that where its first picture lies, else the set's folder."""
        tops = [self.root / name for name in ROOTS]
        places = [*((top, top / path) for top in tops), *((top, top / path.partition("/")[0]) for top in tops)]
        return next((top for top, place in places if place.exists()), tops[0])


class OpenOODID(ListedID):
    """ImageNet-1k as OpenOOD v1.5 tests it: 45,000 validation pictures, 5,000 others for choosing settings.

    `root`: OpenOOD's data folder; `part`: `test`, or `val` for the pictures that settings may be chosen on;
    `full_spectrum`: also test with ImageNet-V2, -C and -R on the ID side. Training pictures are those of
    images_largescale/imagenet_1k/train, or of ImageNet where `train_root` says.
    """

    root: Annotated[str | None, Field(exclude=True)] = None
    train_root: Annotated[str | None, Field(exclude=True)] = None
    data_root: Annotated[str, Field(exclude=True)] = "data"
    class_names: Annotated[str | None, Field(exclude=True)] = None
    part: Part = "test"
    full_spectrum: bool = False

    @property
    def is_validation(self) -> bool:
        """Whether `part` is val."""
        return self.part == "val"

    def check(self) -> None:
        """Refuse a folder without the lists."""
        self.classes()
        if self.shards is None:
            opened = folder(self.root, self.data_root)
            for listed in (ID_LISTS[self.part], *(SHIFTED_LISTS[name] for name in self.shifted_sets())):
                opened.rows(listed)

    def all_classes(self) -> Classes:
        """All 1,000."""
        return renamed(imagenet_classes(), self.class_names)

    def list_train(self) -> Listing:
        """ImageNet's training pictures."""
        own = folder(self.root, self.data_root).root / "images_largescale" / "imagenet_1k" / "train"
        if self.train_root is None and own.is_dir():
            return by_folder(list_tree(own, self.cache))
        return by_folder(list_tree(find_layout(self.train_root, self.data_root).train, self.cache))

    def list_test(self) -> Listing:
        """Pictures of the ID list."""
        return self._listing(ID_LISTS[self.part])

    def shifted_sets(self) -> tuple[str, ...]:
        """ImageNet-V2, -C and -R, on request."""
        return tuple(SHIFTED_LISTS) if self.full_spectrum else ()

    def stored_name(self, set_name: str) -> str:
        """`val` for the test pictures of that part."""
        return self.part if set_name == TEST else set_name

    def list_shifted(self, set_name: str) -> Listing:
        """Pictures of a covariate-shifted list."""
        return self._listing(SHIFTED_LISTS[set_name])

    def _listing(self, listed: ListFile) -> Listing:
        return folder(self.root, self.data_root).listing(listed, imagenet_classes().keys)

    def expected(self, set_name: str) -> Expected:
        """Counts of the protocol."""
        if set_name == TRAIN:
            return Expected(NUM_TRAIN, None, _GET)
        per_class = {"test": 45, "val": 5}[self.part] if set_name == TEST else None
        listed = ID_LISTS[self.part] if set_name == TEST else SHIFTED_LISTS[set_name]
        return Expected(listed.pictures, per_class, _GET)

    def doubts_of(self, set_name: str, listing: Listing) -> list[Problem]:
        """Validation pictures whose label is not ILSVRC's, and lists that are not the protocol's."""
        found = label_doubts(listing) if set_name == TEST else []
        if self.shards is not None or set_name == TRAIN:
            return found
        listed = ID_LISTS[self.part] if set_name == TEST else SHIFTED_LISTS[set_name]
        return found + custom_list(folder(self.root, self.data_root), set_name, listed)


class OpenOOD(ListedOOD):
    """SSB-hard, NINCO (near); iNaturalist, Textures, OpenImage-O (far); `part=val`: OpenImage-O's validation list."""

    root: Annotated[str | None, Field(exclude=True)] = None
    data_root: Annotated[str, Field(exclude=True)] = "data"
    part: Part = "test"
    sets: list[str] | None = None

    @property
    def is_validation(self) -> bool:
        """Whether `part` is val."""
        return self.part == "val"

    def check(self) -> None:
        """Refuse unknown sets and missing lists."""
        for name in self.set_names():
            if self.shards is None:
                folder(self.root, self.data_root).rows(self._lists()[name])

    def set_names(self) -> tuple[str, ...]:
        """Near sets, then far ones."""
        return chosen(self.sets, tuple(self._lists()))

    def list_set(self, name: str) -> Listing:
        """Pictures of a list."""
        return folder(self.root, self.data_root).listing(self._lists()[name], None)

    def stored_name(self, set_name: str) -> str:
        """`<set>_val` for those of that part."""
        return set_name if self.part == "test" else f"{set_name}_{self.part}"

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Means over the near and over the far sets."""
        return dict(GROUPS) if self.part == "test" else {}

    def expected(self, set_name: str) -> Expected:
        """Counts of the protocol."""
        return Expected(self._lists()[set_name].pictures, None, _GET)

    def doubts_of(self, set_name: str) -> list[Problem]:
        """A list that is not the protocol's."""
        if self.shards is not None:
            return []
        return custom_list(folder(self.root, self.data_root), set_name, self._lists()[set_name])

    def _lists(self) -> dict[str, ListFile]:
        return OOD_LISTS if self.part == "test" else OOD_VAL_LISTS


def custom_list(opened: OpenOODFolder, set_name: str, listed: ListFile) -> list[Problem]:
    """A warning where a list is not OpenOOD v1.5's."""
    if opened.is_own(listed):
        return []
    return [Problem(set_name, f"{listed.file} is a custom list, not OpenOOD v1.5's", _GET, severe=False)]


def folder(root: str | None, data_root: str) -> OpenOODFolder:
    """OpenOOD's data folder: the one named, else `openood` in `data_root`, else `data_root` itself."""
    if root is not None:
        return OpenOODFolder(Path(root))
    tops = [Path(data_root) / "openood", Path(data_root) / "OpenOOD" / "data", Path(data_root)]
    return OpenOODFolder(next((top for top in tops if (top / _LISTS).is_dir()), tops[0]))
