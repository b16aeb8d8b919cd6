"""ID classes that are listings: what every layout on a disk, and its shards, have in common."""

from __future__ import annotations

import abc
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from negprompt.data import few_shot
from negprompt.data import manifest as manifests
from negprompt.data.base import MOST_HELD_OUT, Expected, IDPictures, IDSets, Problem, Source, num_train_classes
from negprompt.data.classes import Classes
from negprompt.data.listing import Listing
from negprompt.data.shards.excerpt import excerpt
from negprompt.data.stored import TEST, TRAIN, Stored
from negprompt.data.verification.checks import listing_problems, warn
from negprompt.errors import DataError
from negprompt.types import ImageSet


class ListedID(IDSets, Stored):
    """ID classes of a listing: few-shot draw from the training pictures, test pictures.

    `manifests_dir`: where draws are kept as files, null for nowhere; `manifest`: a draw to use in place of one's own.
    `keep_classes`: keys of the classes to use, null for all.
    """

    manifests_dir: Annotated[str | None, Field(exclude=True)] = None
    manifest: Annotated[str | None, Field(exclude=True)] = None
    keep_classes: list[str] | None = None

    @abc.abstractmethod
    def all_classes(self) -> Classes:
        """Classes in label order, before `keep_classes`."""

    @abc.abstractmethod
    def list_train(self) -> Listing:
        """All training pictures as they lie on the disk."""

    @abc.abstractmethod
    def list_test(self) -> Listing:
        """All test pictures as they lie on the disk."""

    def shifted_sets(self) -> tuple[str, ...]:
        """Names of covariate-shifted sets of the same classes; none by default."""
        return ()

    def list_shifted(self, set_name: str) -> Listing:
        """Pictures of one of them as they lie on the disk."""
        raise AssertionError(set_name)

    def classes(self) -> Classes:
        """Classes of this benchmark in label order."""
        found = self.all_classes()
        return found if self.keep_classes is None else found.keep(self.keep_classes, "data.keep_classes")

    def names(self) -> tuple[str, ...]:
        """What prompts call the classes."""
        return self.classes().names

    def listing(self, set_name: str) -> Listing:
        """Pictures of `train`, `test` or a shifted set: from shards where they are used, else from files."""
        if (folder := self.shard_folder) is not None:
            return folder.listing(self.stored_name(set_name))
        if set_name == TRAIN:
            return self.list_train()
        return self.list_test() if set_name == TEST else self.list_shifted(set_name)

    def load(self, seed: int) -> IDPictures:
        """Draw `num_shots` pictures of the training classes and list all test pictures."""
        classes = self.classes()
        trained = num_train_classes(len(classes.keys), self.class_fraction)
        self._refuse_other_draw(seed)
        drawn = self._drawn(self._checked(TRAIN), classes.keys[:trained], seed)
        train = self._images(drawn, TRAIN, classes, classes.keys[:trained])
        test = self._tested(TEST, classes)
        refuse_empty_classes(test, classes)
        shifted = {name: self._tested(name, classes) for name in self.shifted_sets()}
        return IDPictures(classes.names, trained, train, test, shifted)

    def held_out(self, seed: int) -> ImageSet | None:
        """Training pictures that the few-shot draw has left over, a draw of them where they are many.

        None where classes are tested that have no training pictures.
        """
        return None if self.class_fraction < 1 else self.left_over(seed)

    def left_over(self, seed: int) -> ImageSet | None:
        """Training pictures of the classes used, without the few-shot draw of a seed; None where nothing is left."""
        classes = self.classes()
        listing = self._of(self.listing(TRAIN), classes)
        drawn = set(self.draw(seed).keys)
        rows = np.array([row for row, key in enumerate(listing.keys) if key not in drawn], np.int64)
        if not len(rows):
            return None
        if len(rows) > MOST_HELD_OUT:
            rows = np.sort(np.random.default_rng([seed, len(rows)]).choice(rows, MOST_HELD_OUT, replace=False))
        images = self._images(listing.take(rows), TRAIN, classes, classes.keys)
        return images._replace(name=f"{self.name}/held_out")

    def draw(self, seed: int) -> Listing:
        """The few-shot pictures of a seed, before a look at them."""
        keys = self.classes().keys
        self._refuse_other_draw(seed)
        return self._drawn(self.listing(TRAIN), keys[: num_train_classes(len(keys), self.class_fraction)], seed)

    def _tested(self, set_name: str, classes: Classes) -> ImageSet:
        return self._images(self._of(self._checked(set_name), classes), set_name, classes, classes.keys)

    def _refuse_other_draw(self, seed: int) -> None:
        """Shards that hold one draw only serve no other."""
        wanted = {"seed": seed, "num_shots": self.num_shots}
        draw = None if self.shard_folder is None else self.shard_folder.draw
        if draw is not None and draw != wanted:
            held, asked = (f"seed={one['seed']} data.num_shots={one['num_shots']}" for one in (draw, wanted))
            msg = (
                f"The training pictures in {self.shards} are the draw of {held}, this run wants {asked}: set seed and "
                "data.num_shots to that, or prepare shards with train=all."
            )
            raise DataError(msg)

    def _checked(self, set_name: str) -> Listing:
        """The pictures of a set; what can be seen to be wrong with them is said, and the run goes on."""
        source = next(one for one in self.sources() if one.name == set_name)
        listing = source.read()
        warn([*listing_problems(source, listing), *self.doubts_of(set_name, listing)])
        return listing

    def _images(self, listing: Listing, set_name: str, classes: Classes, used: Sequence[str]) -> ImageSet:
        """Pictures of a set; of the classes `used`, those are counted too that prepared shards lack."""
        name = f"{self.name}/{set_name}"
        near = excerpt(listing, self.corrupt) if set_name == TRAIN else listing  # few pictures of many remote shards
        looked = self.looked(near, name)
        images = looked.image_set(name, looked.labels(classes.keys))
        folder = self.shard_folder
        before = {} if folder is None else folder.dropped_by_class(self.stored_name(set_name))
        return images._replace(dropped=len(listing) - len(looked) + sum(before.get(key, 0) for key in used))

    def _of(self, listing: Listing, classes: Classes) -> Listing:
        labels = listing.labels(classes.keys)
        return listing if (labels >= 0).all() else listing.take(np.flatnonzero(labels >= 0))

    def _drawn(self, listing: Listing, keys: tuple[str, ...], seed: int) -> Listing:
        """The few-shot pictures: those of the manifest, else drawn now and kept as one."""
        if self.manifest is None and (drawn_before := self._all_of_draw(listing, keys, seed)) is not None:
            return drawn_before
        path = self._manifest_path(keys, seed)
        if path is not None and (self.manifest is not None or path.is_file()):
            return self._of_manifest(listing, manifests.read(path), path, keys)
        pools = [(key, rows) for key, rows in listing.rows_by_class(keys)]
        rows = np.array(few_shot.draw(listing.keys, pools, self.num_shots, seed, "data.keep_classes"), np.int64)
        drawn = listing.take(rows)
        if path is not None:
            named = [drawn.classes[place] for place in drawn.class_of]
            rows_of_file = tuple(zip(named, drawn.keys, strict=True))
            manifests.write(path, manifests.Manifest(self.name, self.num_shots, seed, rows_of_file))
        return drawn

    def _all_of_draw(self, listing: Listing, keys: tuple[str, ...], seed: int) -> Listing | None:
        """What shards of one draw hold: all of it but what their preparation left out; None where it is not that."""
        folder = self.shard_folder
        if folder is None or folder.draw is None:
            return None
        left_out = folder.dropped_by_class(TRAIN)
        rows: list[int] = []
        for key, pool in listing.rows_by_class(keys):
            if len(pool) + left_out.get(key, 0) != self.num_shots:
                return None  # a draw of other classes: drawing from it says which are missing
            if len(pool):
                rows += few_shot.draw(listing.keys, [(key, pool)], len(pool), seed)
        return listing.take(np.array(rows, np.int64))

    def _manifest_path(self, keys: tuple[str, ...], seed: int) -> Path | None:
        if self.manifest is not None:
            return Path(self.manifest)
        if self.manifests_dir is None:
            return None
        return Path(self.manifests_dir) / self.manifest_name(keys, seed)

    def manifest_name(self, keys: tuple[str, ...], seed: int) -> str:
        """Name of the file that the draw of a seed is kept in; `keys` are the training classes."""
        return manifests.file_name(self.name, self.num_shots, seed, keys, self._place())

    def _place(self) -> list[str]:
        """Where the pictures lie: the settings that are no part of a request, but those of what is remembered."""
        others = {*ListedID.model_fields, "class_names"} - {"shards"}
        named = [name for name, field in type(self).model_fields.items() if field.exclude and name not in others]
        return [os.path.abspath(value) for name in named if isinstance(value := getattr(self, name), str)]  # noqa: PTH100

    def _of_manifest(self, listing: Listing, drawn: manifests.Manifest, path: Path, keys: tuple[str, ...]) -> Listing:
        known = set(keys)
        rows_of_file = [(class_key, key) for class_key, key in drawn.pictures if class_key in known]
        counts = dict.fromkeys(keys, 0)
        for class_key, _ in rows_of_file:
            counts[class_key] += 1
        wrong = {class_key: count for class_key, count in counts.items() if count != self.num_shots}
        if wrong and not set(wrong.values()) - {0}:
            msg = (
                f"The manifest {path} is of other classes: it has no picture of {len(wrong)} of {len(keys)}, for "
                f"example {next(iter(wrong))}. Use the same data set, data.keep_classes and data.class_fraction, or "
                "set data.manifest=null to draw anew."
            )
            raise DataError(msg)
        if wrong:
            class_key, count = next(iter(wrong.items()))
            msg = (
                f"The manifest {path} has {count} pictures of {class_key} and data.num_shots={self.num_shots}: set "
                f"data.num_shots={drawn.num_shots}, or data.manifest=null to draw anew."
            )
            raise DataError(msg)
        rows = listing.rows_of([key for _, key in rows_of_file])
        if (rows < 0).any():
            gone = [rows_of_file[int(place)][1] for place in np.flatnonzero(rows < 0)]
            msg = (
                f"{len(gone)} of {len(rows)} pictures of the manifest {path} are not in the training pictures of "
                f"{self.name}, for example {gone[0]}: put them back, or delete the manifest to draw anew."
            )
            raise DataError(msg)
        place = {class_key: label for label, class_key in enumerate(keys)}
        moved = np.flatnonzero(listing.labels(keys)[rows] != [place[class_key] for class_key, _ in rows_of_file])
        if len(moved):
            class_key, key = rows_of_file[int(moved[0])]
            msg = (
                f"{len(moved)} of {len(rows)} pictures of the manifest {path} have another class now, for example "
                f"{key}, which was {class_key}: delete the manifest to draw anew, or set data.manifest=null."
            )
            raise DataError(msg)
        return listing.take(rows)

    def known_classes(self) -> tuple[str, ...]:
        """Class keys that may lie beside the used ones without being a mistake."""
        return self.all_classes().keys

    def expected(self, set_name: str) -> Expected:
        """What the protocol counts in a set; nothing by default."""
        del set_name
        return Expected()

    def doubts_of(self, set_name: str, listing: Listing) -> list[Problem]:
        """What can be seen to be wrong with a listed set beyond counts; nothing by default."""
        del set_name, listing
        return []

    def doubts(self) -> list[Problem]:
        """Those of all sets."""
        return [one for source in self.sources() for one in self.doubts_of(source.name, source.read())]

    def sources(self) -> list[Source]:
        """`train`, `test` and the shifted sets."""
        keys, known = self.classes().keys, self.known_classes()
        return [
            Source(name, side, functools.partial(self.listing, name), keys, known, self.expected(name), at_least)
            for name, side, at_least in self._sides()
        ]

    def _sides(self) -> Iterator[tuple[str, Literal["train", "test", "shifted"], int]]:
        yield TRAIN, "train", self.num_shots
        yield TEST, "test", 1
        for name in self.shifted_sets():
            yield name, "shifted", 0


def refuse_empty_classes(images: ImageSet, classes: Classes) -> None:
    """A class without test picture would look like a result.

    Raises:
        DataError: names the classes.
    """
    present = set(images.labels)
    empty = [key for label, key in enumerate(classes.keys) if label not in present]
    if empty:
        shown = ", ".join(empty[:10]) + (", ..." if len(empty) > 10 else "")
        msg = (
            f"{images.name} has no picture of {len(empty)} of {len(classes.keys)} classes: {shown}. Put them back "
            "(negprompt data verify lists what is missing), or leave these classes out (data.keep_classes)."
        )
        raise DataError(msg)
