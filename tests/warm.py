"""Commands in processes of their own that start at once: forked from one that has imported everything.

The imports are most of what a short command costs, and drawing a figure is much of the rest: they leave that out.
Whether a command starts the ordinary way as well is tested where that is the question: tests/cli/sweep/test_nursery.py,
tests/test_packaging.py.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Container, Iterator
from typing import IO

from negprompt.cli.sweep.nursery import Forked, Nursery


class _AllBut(frozenset[str], Container[str]):
    def __contains__(self, name: object) -> bool:
        return not super().__contains__(name)


class Warm(Nursery):
    """A nursery whose members draw no figures."""

    program = (__file__,)


@functools.cache
def nursery() -> Nursery | None:
    """The one of this process, which ends with it; its members may have any environment but what imports read."""
    if sys.platform != "linux":
        return None
    one = Warm(os.environ, own_session=True, may_differ=_AllBut({"PYTHONPATH", "OMP_NUM_THREADS"}))
    one.wait(given_up=lambda: False)
    return one


@contextlib.contextmanager
def opened(*_: object, **__: object) -> Iterator[Nursery | None]:
    """In place of `negprompt.cli.sweep.nursery.opened`: sweeps in this process share its nursery."""
    yield nursery()


class Started:
    """`negprompt <words>` that runs, much like `subprocess.Popen`."""

    def __init__(self, *words: object, **variables: str) -> None:
        environment = {**os.environ, **variables}
        self._said: tuple[IO[bytes], IO[bytes]] = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._process = self._begun([str(word) for word in words], environment, *self._said)
        self.pid = self._process.pid

    @staticmethod
    def _begun(
        words: list[str], environment: dict[str, str], out: IO[bytes], err: IO[bytes]
    ) -> Forked | subprocess.Popen[bytes]:
        one = nursery()
        child = None if one is None else one.spawn(words, environment, out, err, own_session=True)
        command = [sys.executable, "-m", "negprompt", *words]
        return child or subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float) -> int:
        """Its exit code; it is killed where it takes longer."""
        deadline = time.monotonic() + timeout
        while (code := self._process.poll()) is None:
            if time.monotonic() > deadline:
                self._process.send_signal(signal.SIGKILL)
                raise subprocess.TimeoutExpired("negprompt", timeout)
            time.sleep(0.02)
        return code

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Standard output and standard error of all its life."""
        self.wait(timeout)
        for file in self._said:
            file.seek(0)
        out, err = (file.read().decode() for file in self._said)
        return out, err


if __name__ == "__main__":
    import negprompt.phases
    from negprompt.cli.main import main
    from negprompt.cli.sweep.nursery import serve

    with socket.socket(fileno=int(sys.argv[1])) as line:
        negprompt.phases.score_histograms = lambda *_, **__: None
        serve(line)
    main()
