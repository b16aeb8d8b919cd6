"""A backbone that writes down what it encodes, and extraction in a process of its own that may be killed."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import socket
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from forks import SERVER
from helpers import QUIET, SPEC, image_set
from torch import nn

from negprompt.backbones.base import FrozenBackbone, TokenizerInfo
from negprompt.data.base import Augmentation
from negprompt.features import extract
from negprompt.features.key import View
from negprompt.features.store import FeatureStore

COUNT, BLOCK, VIEWS = 22, 4, 2
PICTURES = image_set(COUNT, "some/train")
AUGMENTATION = Augmentation(scale_min=0.5)
SIX_A_VIEW = -(-COUNT // BLOCK)


class Logged(FrozenBackbone):
    """Encodes a picture by its means on a grid, and appends the number of pictures of every call to a file.

    The black picture that asks for the shape of the features is not counted. At call number `dies_at` the process
    kills itself.
    """

    name = "logged"
    tag = "logged/1"
    image_spec = SPEC
    tokenizer_info = TokenizerInfo(0, 1, 77)

    def __init__(self, log: Path, dies_at: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, 8, generator=torch.Generator().manual_seed(0)))
        self._log = log
        self._dies_at = dies_at
        self.freeze()

    def encode_image(self, images):
        if images.any():
            if self._dies_at is not None and len(encoded_by(self._log)) + 1 == self._dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            with self._log.open("a") as file:
                file.write(f"{len(images)}\n")
        return F.adaptive_avg_pool2d(images, 2).flatten(1) @ self.weight

    def embed_tokens(self, tokens):
        raise NotImplementedError

    text_tower = tokenize = unknown_tokens = embed_tokens
    logit_scale = 1.0


class Local(Logged):
    """The same with features of four regions."""

    def encode_image_with_local(self, images):
        regions = F.adaptive_avg_pool2d(images, 4)[:, :, :2, :2].flatten(2).transpose(1, 2)
        return self.encode_image(images), regions @ self.weight[:3]


def views(count: int = VIEWS, images=PICTURES, seed: int = 1, augmentation=AUGMENTATION) -> list[View]:
    return [View(images, augmentation, seed, number) for number in range(count)]


def store(root: Path, dies_at: int | None = None, kind: type[Logged] = Logged, **settings) -> FeatureStore:
    """A store whose backbone writes into `calls` beside it."""
    backbone = kind(root.with_name("calls"), dies_at)
    trainer = QUIET.model_copy(update={"eval_batch_size": BLOCK, **settings})
    return FeatureStore(root, backbone, backbone.weights_sha256(), trainer, kind is Local)


def encoded_by(log: Path) -> list[int]:
    """Pictures of every call."""
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def calls(root: Path) -> list[int]:
    return encoded_by(root.with_name("calls"))


def contents(root: Path) -> dict[str, bytes]:
    """Bytes of every stored file, by its place in the store."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("*/*/*") if path.is_file()}


def start(root: Path, dies_at: int | None = None) -> multiprocessing.process.BaseProcess:
    """Fill a store in another process."""
    process = SERVER.Process(target=_fill, args=(root, dies_at))
    process.start()
    return process


def _fill(root: Path, dies_at: int | None) -> None:
    store(root, dies_at).get(views())


def start_ranks(root: Path) -> list[multiprocessing.process.BaseProcess]:
    """Fill a store with two processes that Lightning joins with gloo."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [SERVER.Process(target=_rank, args=(root, rank, port)) for rank in range(2)]
    for process in processes:
        process.start()
    return processes


def _rank(root: Path, rank: int, port: int) -> None:
    import lightning

    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2, "NODE_RANK": 0, "LOCAL_RANK": rank}
    os.environ.update({name: str(value) for name, value in where.items()})
    extract.run_trainer = lambda _: functools.partial(
        lightning.Trainer, accelerator="cpu", devices=2, strategy="ddp", logger=False, use_distributed_sampler=False
    )(enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    filled = store(root).get(views())
    assert [tuple(one.features.shape) for one in filled.stored] == [(COUNT, 8)] * VIEWS
    assert torch.distributed.get_world_size() == 2
