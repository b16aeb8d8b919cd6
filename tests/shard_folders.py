"""Folders of generated pictures, the same pictures in prepared shards, and a server on this machine."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from helpers import encoded, picture

from negprompt.data.classes import Classes
from negprompt.data.listed import ListedID
from negprompt.data.listed_ood import ListedOOD
from negprompt.data.listing import Listing, by_folder, without_class
from negprompt.data.shards.prepare import Summary, prepare
from negprompt.data.tree import list_tree

CLASSES = Classes(("ant", "bee", "cat"), ("ant", "honey bee", "cat"))
SHOTS, TRAIN, TEST, OOD = 2, 7, 4, 5
SHARD_BYTES = 28_000
"""Room for about five of the pictures: shards whose number divides nothing."""


def write_pictures(root: Path) -> Path:
    """`train` and `test` with a folder a class, `ood` with two sets, in several formats."""
    for part, count in {"train": TRAIN, "test": TEST}.items():
        for label, key in enumerate(CLASSES.keys):
            for place in range(count):
                ending = ("png", "JPEG", "webp")[(place + label) % 3]
                image = picture(label / 3, 100 * (part == "test") + place, (20 + place, 24))
                _write(root / part / key / f"{place:02d}.{ending}", encoded(image, ending.lower()))
    for number, name in enumerate(("near", "far")):
        for place in range(OOD + number):
            _write(root / "ood" / name / f"{place}.png", encoded(picture(0.5, 500 + 10 * number + place), "png"))
    return root


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def listings(root: Path) -> dict[str, Listing]:
    """The sets below a folder of `write_pictures`, as `data prepare` names them."""
    id_sets = {name: by_folder(list_tree(root / name)) for name in ("train", "test")}
    return id_sets | {f"ood/{name}": without_class(list_tree(root / "ood" / name)) for name in ("near", "far")}


def prepared(root: Path, output: Path, **changes: Any) -> Summary:
    """Shards of a folder of `write_pictures`."""
    defaults = {"name": "toys", "max_bytes": SHARD_BYTES, "workers": 1}
    return prepare(listings(root), CLASSES, output, **{**defaults, **changes})


def content(folder: Path) -> Mapping[str, bytes]:
    """All files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class ToysID(ListedID):
    """The pictures of `write_pictures` as a data set."""

    root: str

    def all_classes(self) -> Classes:
        return CLASSES

    def list_train(self) -> Listing:
        return by_folder(list_tree(Path(self.root) / "train"))

    def list_test(self) -> Listing:
        return by_folder(list_tree(Path(self.root) / "test"))


class ToysOOD(ListedOOD):
    """Its OOD sets."""

    root: str

    def set_names(self) -> tuple[str, ...]:
        return ("near", "far")

    def list_set(self, name: str) -> Listing:
        return without_class(list_tree(Path(self.root) / "ood" / name))


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder and counts what is asked for; `broken` names are answered with that status, so many times."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.broken: dict[str, list[int]] = {}
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name)
        if statuses := self.server.broken.get(name):
            self.send_error(statuses.pop(0))
            return
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the name in the base class
        pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
