"""Which shards a setting in webdataset's words stands for."""

from __future__ import annotations

import glob
import hashlib
import itertools
import re

from negprompt.data.shards.archive import expand
from negprompt.data.shards.fetch import is_remote, local_path
from negprompt.data.shards.folder import INDEX
from negprompt.errors import DataError


def shards_of(spec: str, setting: str) -> tuple[str, ...]:
    """Paths and URLs of the shards that a setting names, in its order; those of a folder or glob sorted.

    Raises:
        DataError: there are none, one is missing, two have one name, or it is a folder of prepared shards.
    """
    given = [spec] if not is_remote(spec) and local_path(spec).exists() else expand(spec)
    locations = tuple(itertools.chain.from_iterable(_files(one, setting) for one in given))
    names = [name_of(location) for location in locations]
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        msg = f"{setting}={spec}: two shards are called {twice}, and pictures are named by their shards: rename one."
        raise DataError(msg)
    return locations


def _files(one: str, setting: str) -> list[str]:
    if is_remote(one):
        return [one]
    path = local_path(one)
    if (path / INDEX).is_file():
        msg = (
            f"{setting}={one} is a folder of prepared shards: set data.shards (or ood.shards), or name its .tar files."
        )
        raise DataError(msg)
    if path.is_dir():
        files = sorted(map(str, path.glob("*.tar")))
    elif glob.has_magic(one) and not path.exists():
        files = sorted(glob.glob(str(path)))  # noqa: PTH207 -- absolute patterns
    else:
        files = [str(path)] if path.is_file() else []
    if not files:
        msg = f"{setting}: there is no shard {one}: give a folder with .tar files, a pattern, or a URL."
        raise DataError(msg)
    return files


def name_of(location: str) -> str:
    """Name of a shard, without .tar.

    Example:
        >>> name_of("/disk/train-000.tar"), name_of("pipe:curl -sfL 'https://host/a/train-001.tar' | cat")
        ('train-000', 'train-001')
    """
    names: list[str] = re.findall(r"([^/\s'\"=]+)\.tar\b", location)
    return names[-1] if names else hashlib.sha256(location.encode()).hexdigest()[:8]
