"""Members that start at once: a process that has imported everything, and does nothing but fork them.

The imports of torch, Lightning and open_clip are most of what a short run costs, and the same for every member. The
process that pays for them never runs a parallel region and never asks for a GPU, so that its forks can do both.

    sweep -> nursery -> guardian -> member

A guardian waits for its member and tells the sweep how it ended. Each of them dies with the one that started it, and
the member then gets SIGTERM and saves. Only Linux can, elsewhere members are started the ordinary way.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

from negprompt import stopping
from negprompt.cli import parent

_HEAVY = (
    "negprompt.cli.run", "negprompt.cli.train", "negprompt.backbones.openclip", "negprompt.backbones.embedded",
    "negprompt.methods.negprompt", "negprompt.data.datamodule",
)  # fmt: skip
OF_ITS_OWN = frozenset({parent.VARIABLE, "CUDA_VISIBLE_DEVICES"})
"""Variables that may differ between members: nothing reads them before a member works."""

_ANSWER = struct.Struct("i")
_READY = b"ready"
_POLL = 0.1
_ROOM = 4096
"""Bytes for the command line of a member, which is written over that of the nursery."""


class Forked:
    """A member: what is used of `subprocess.Popen`, for a child of somebody else."""

    def __init__(self, guardian: socket.socket, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._guardian = guardian
        self._one_asks = threading.RLock()  # a job's thread and a signal handler, which may interrupt it
        guardian.setblocking(False)

    def poll(self) -> int | None:
        """Its exit code once it has ended, negative for death by a signal."""
        with self._one_asks:
            if self.returncode is None:
                try:
                    said = self._guardian.recv(_ANSWER.size)
                except BlockingIOError:
                    return None
                # Nothing: the guardian was killed, and the member with it.
                self.returncode = _ANSWER.unpack(said)[0] if said else -signal.SIGKILL
                self._guardian.close()
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it has not ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended just now, and its guardian has not said so
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that forks members, as this one sees it.

    Args:
        environment: of the members, whole; those that need another one are refused.
        own_session: keep a terminal's signals from it.
        may_differ: variables that a member may have otherwise.
    """

    program: ClassVar = ("-m", __name__)

    def __init__(
        self, environment: Mapping[str, str], *, own_session: bool, may_differ: Container[str] = OF_ITS_OWN
    ) -> None:
        self._environment = dict(environment)
        self._may_differ = may_differ
        self._ready = False
        self._one_listens = threading.Lock()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *self.program, str(theirs.fileno()), " " * _ROOM],
                env={**environment, parent.VARIABLE: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=own_session,
            )

    def wait(self, given_up: Callable[[], bool]) -> None:
        """Wait until it has imported everything, or nobody wants to know any more."""
        while not self._ready and not given_up():
            if select.select([self._line], [], [], _POLL)[0]:
                with self._one_listens:  # it says so once, and several jobs may wait
                    if not self._ready:
                        self._line.recv(len(_READY))  # nothing where it has died, which `spawn` will see too
                        self._ready = True

    def spawn(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        output: IO[bytes] | None,
        errors: IO[bytes] | None = None,
        *,
        own_session: bool,
    ) -> Forked | None:
        """Start `negprompt <words>`; None where that has to be done the ordinary way.

        Args:
            words: command and overrides.
            environment: whole.
            output: file for what it says; None leaves it this process's own streams.
            errors: file for its standard error, where that is another one.
            own_session: whether it leaves the process group.
        """
        ours = self._environment
        names = [name for name in environment.keys() | ours.keys() if environment.get(name) != ours.get(name)]
        if not self._ready or any(name not in self._may_differ for name in names):
            return None
        mine, theirs = socket.socketpair()
        variables = {name: environment.get(name) for name in names}
        request = {"words": list(words), "variables": variables, "folder": str(Path.cwd()), "own_session": own_session}
        streams = [1, 2] if output is None else [output.fileno(), (errors or output).fileno()]
        with theirs:
            try:
                socket.send_fds(self._line, [json.dumps(request).encode()], [theirs.fileno(), *streams])
            except OSError:  # it could not start, or the request is too long for one packet
                mine.close()
                return None
        said = mine.recv(_ANSWER.size)
        if not said:
            mine.close()
            return None
        return Forked(mine, _ANSWER.unpack(said)[0])

    def close(self) -> None:
        """End it, and with it the members that still run: they save first."""
        self._line.close()
        if not self._ready:  # nobody waits for its imports
            self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def opened(environment: Mapping[str, str], *, own_session: bool = True) -> Iterator[Nursery | None]:
    """A nursery while the body runs; None where there can be none. To be called by the main thread: it dies with it."""
    if sys.platform != "linux":
        yield None
        return
    nursery = Nursery(environment, own_session=own_session)
    try:
        yield nursery
    finally:
        nursery.close()


def serve(line: socket.socket) -> None:
    """Import, then fork a guardian for every request, until there are no more; returns in members alone."""
    _die_with(int(os.environ.pop(parent.VARIABLE)))
    for number in stopping.SIGNALS:  # a job's processes are told all at once; the sweep tells its members
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guardians are not waited for
    for name in _HEAVY:
        importlib.import_module(name)
    warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)  # of threads that wait in numpy, which knows forks
    try:
        line.send(_READY)
    except OSError:  # nobody waits any more
        os._exit(0)
    while True:
        packet, descriptors, _, _ = socket.recv_fds(line, 1 << 20, 3)
        if not packet:
            os._exit(0)
        if os.fork() == 0:
            line.close()
            _guard(json.loads(packet), *descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _guard(request: Mapping[str, Any], line: int, *streams: int) -> None:
    """Fork the member and wait for its end; returns in the member alone."""
    _die_with(os.getppid())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    guardian = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, stopping.SIGNALS)  # none is lost before the member can hear
    member = os.fork()
    if member:
        os.write(line, _ANSWER.pack(member))
        _, status = os.waitpid(member, 0)
        os.write(line, _ANSWER.pack(os.waitstatus_to_exitcode(status)))
        os._exit(0)
    os.close(line)
    for number in stopping.SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stopping.SIGNALS)
    if request["own_session"]:
        os.setsid()
    for stream, descriptor in enumerate(streams, start=1):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    os.chdir(request["folder"])
    for name, value in request["variables"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    os.environ[parent.VARIABLE] = str(guardian)
    _show([sys.executable, "-m", "negprompt", *request["words"]])
    sys.argv = [str(Path(__file__).parents[2] / "__main__.py"), *request["words"]]


def _show(command: Sequence[str]) -> None:
    """Let `ps` show a member's own command line."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, man proc_pid_stat
    except (OSError, ValueError, IndexError):
        return
    line = "\0".join(command).encode()[: end - start - 1]
    ctypes.memmove(start, line.ljust(end - start, b"\0"), end - start)


def _die_with(parent_id: int) -> None:
    """Let the kernel kill this process at the end of its parent."""
    parent.die_with(signal.SIGKILL)
    if os.getppid() != parent_id:
        os._exit(0)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as control:
        serve(control)
    importlib.import_module("negprompt.cli.main").main()
