"""Where a listed data set lies: files or shards, and what a picture does that cannot be decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from negprompt.data.listing import Listing
from negprompt.data.looked import Corrupt, looked_at
from negprompt.data.shards.folder import ShardFolder
from negprompt.settings import Settings

TRAIN, TEST = "train", "test"


class Stored(Settings):
    """Where a listed data set lies, and what a picture does that cannot be decoded.

    `shards`: prepared shards in place of files (folder or URL). `cache_dir`: listings, content hashes and fetched
    shards, null for nowhere. `corrupt`: stop and name the picture, or warn, leave it out and count it.
    """

    shards: Annotated[str | None, Field(exclude=True)] = None
    cache_dir: Annotated[str | None, Field(exclude=True)] = None
    shard_cache_gb: Annotated[float, Field(exclude=True, gt=0)] = 50.0
    corrupt: Corrupt = "stop"

    @property
    def cache(self) -> Path | None:
        """Folder of what is remembered."""
        return None if self.cache_dir is None else Path(self.cache_dir)

    @property
    def shard_folder(self) -> ShardFolder | None:
        """The prepared shards, where they are used."""
        return None if self.shards is None else ShardFolder.open(self.shards, self.cache, self.shard_cache_gb)

    def stored_name(self, set_name: str) -> str:
        """Name of a set in shards: another for other pictures, so that shards of one protocol do not serve another."""
        return set_name

    def looked(self, listing: Listing, name: str) -> Listing:
        """A look at pictures before a run: all there, content hashes, under `corrupt=skip` only those that decode."""
        return looked_at(listing, name, self.cache, self.corrupt)
