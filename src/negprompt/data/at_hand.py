"""Which of the known data sets lie on this machine: a few folders are looked for, no picture is read or listed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from negprompt.data import openood
from negprompt.data.catalogue import Entry, Home
from negprompt.data.conventional import ConventionalOOD
from negprompt.data.imagenet import ImageNetID
from negprompt.data.imagenet_layout import TRUTH, beside
from negprompt.data.openood import OpenOODID
from negprompt.data.tiny_imagenet import Archive, TinyImageNetID
from negprompt.errors import DataError


class Homes(NamedTuple):
    """Settings that know where sets lie."""

    imagenet_1k: ImageNetID
    conventional: ConventionalOOD
    tiny_imagenet: TinyImageNetID
    openood: OpenOODID


class Place(NamedTuple):
    """Where a set lies; `missing` says what was looked for, and is empty where it was found."""

    path: Path | None
    missing: str = ""


def find(entry: Entry, homes: Homes) -> Place:
    """Look for one set."""
    search: dict[Home, Callable[[str, Homes], Path]] = {
        "package": _package,
        "imagenet": _imagenet,
        "conventional": lambda part, known: known.conventional.folder(part),
        "tiny_imagenet": _tiny_imagenet,
        "openood": _openood,
    }
    try:
        return Place(search[entry.home](entry.part, homes))
    except DataError as error:
        return Place(None, str(error))
    except OSError as error:  # a folder that may not be entered
        return Place(None, f"{error.filename} cannot be looked at ({error.strerror}).")


def _package(part: str, homes: Homes) -> Path:
    del homes
    return Path(str(resources.files("negprompt.data") / part))


def _imagenet(part: str, homes: Homes) -> Path:
    layout = homes.imagenet_1k.layout()
    if part == "devkit":
        truth = beside(layout, TRUTH)
        if truth is None:
            msg = f"No {TRUTH} in or near {layout.root}."
            raise DataError(msg)
        return truth
    if part == "kaggle" and layout.train.parent.name != "CLS-LOC":
        msg = f"ImageNet in {layout.root} is not laid out as Kaggle's."
        raise DataError(msg)
    return layout.train.parent if part == "kaggle" else layout.root


def _tiny_imagenet(part: str, homes: Homes) -> Path:
    del part
    settings = homes.tiny_imagenet
    return Archive(settings.root, settings.data_root, settings.cache).root


def _openood(part: str, homes: Homes) -> Path:
    opened = openood.folder(homes.openood.root, homes.openood.data_root)
    found = next((folder for top in openood.ROOTS if (folder := opened.root / top / part).is_dir()), None)
    if found is None:
        msg = f"No {part} in {opened.root}, nor in its folders images_largescale and images_classic."
        raise DataError(msg)
    return found
