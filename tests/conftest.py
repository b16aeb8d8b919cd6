"""What every test may rely on: no network, one thread, and the same environment on every machine."""

from __future__ import annotations

import functools
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import warm

THREADS = 1  # the models here are so small that a second thread only waits, and waits long on a busy machine
LOCAL_HOSTS = ("localhost", "::1", "0.0.0.0", "::", "", None)

# Set on import, so that child processes and the first import of a library see them.
os.environ.pop("HYDRA_FULL_ERROR", None)
os.environ.update(WANDB_MODE="offline", HF_HUB_OFFLINE="1", MPLBACKEND="agg", OMP_NUM_THREADS=str(THREADS))
torch.set_num_threads(THREADS)


def pytest_configure(config: pytest.Config) -> None:
    """Silence what Lightning says of every small fit, which would bury our own warnings; hear Ctrl-C."""
    for module in ("lightning", "torch.utils.data"):
        config.addinivalue_line("filterwarnings", rf"ignore:::{module}")
    # A shell that starts the tests in the background has them ignore it, and every process that they start as well.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, with the reason; slow files first, so that none is left for the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    without_gpu = pytest.mark.skip(reason="needs a CUDA device")
    without_network = pytest.mark.skip(reason="needs the internet: set NEGPROMPT_TEST_NETWORK=1")
    has_gpu, has_network = torch.cuda.is_available(), os.environ.get("NEGPROMPT_TEST_NETWORK") == "1"
    for item in items:
        if item.get_closest_marker("gpu") and not has_gpu:
            item.add_marker(without_gpu)
        if item.get_closest_marker("network") and not has_network:
            item.add_marker(without_network)


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every attempt to reach another machine an error, so that a test which needs one fails everywhere."""
    if request.node.get_closest_marker("network"):
        return

    def guarded(name: str) -> None:
        original = getattr(socket.socket, name)

        def connect(self: socket.socket, address: object) -> object:
            refuse_remote(address[0] if isinstance(address, tuple) else None)
            return original(self, address)

        monkeypatch.setattr(socket.socket, name, connect)

    def resolve(host: object, *args: object, **kwargs: object) -> object:
        refuse_remote(host)
        return original_resolve(host, *args, **kwargs)

    original_resolve = socket.getaddrinfo
    guarded("connect")
    guarded("connect_ex")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture(autouse=True, scope="session")
def _warm_nursery() -> Iterator[None]:
    """Let sweeps and searches of this process share one nursery, whose imports take longer than their runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("negprompt.cli.sweep.nursery.opened", warm.opened)
        yield


def refuse_remote(host: object) -> None:
    """Raise unless `host` is this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name not in LOCAL_HOSTS and not str(name).startswith("127."):
        raise RuntimeError(f"A test tried to reach {name}: tests run without a network.")


@pytest.fixture(scope="session")
def icons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of twenty classes in the format of `icons`."""
    from helpers import write_benchmark  # here, since open_clip is slow to import and most tests need none

    return write_benchmark(tmp_path_factory.mktemp("icons"))


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Miniatures by name, each written when it is first asked for and never changed."""
    import miniatures

    @functools.cache
    def tree(name: str, **options: object) -> Path:
        root: Path = getattr(miniatures, name)(tmp_path_factory.mktemp(name) / "data", **options)
        return root

    return tree


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the histograms, which take longer than a small run."""
    monkeypatch.setattr("negprompt.phases.score_histograms", lambda *_, **__: None)
