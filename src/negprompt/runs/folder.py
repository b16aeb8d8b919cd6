"""Run folders: a name from the request, whole files or none, and `DONE` written last."""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import json
import math
import os
import platform
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from negprompt.errors import ConfigError, RunError

DONE = "DONE"
FAILED = "FAILED.json"
REQUIRED_FILES = ("config.yaml", "metrics.json")

ELSEWHERE = "paths.runs_dir=<folder>, or output=<folder>"
"""Settings that move what a run writes, for messages."""

_CAUSES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a file with the folder's name is in the way",
}


def request_hash(payload: Mapping[str, Any]) -> str:
    """SHA-256 of everything that can change a result, as 64 hex digits: equal requests find the same run folder.

    Args:
        payload: JSON values only. The order of keys does not count, a tuple equals a list; 1 and 1.0 differ.

    Raises:
        ConfigError: a value is not JSON (NaN and infinity are not), with the path of its key.

    Example:
        >>> request_hash({"seed": 1, "lr": 0.1})[:8]
        'bf579a38'
        >>> request_hash({"lr": 0.1, "seed": 1})[:8]
        'bf579a38'
    """
    _check_json(payload, "request", ConfigError)
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def run_name(benchmark: str, method: str, backbone: str, seed: int, hash8: str) -> str:
    """Path of a run below `paths.runs_dir`, the run's id at the same time.

    Args:
        benchmark: name of the ID set.
        method: name of the method.
        backbone: name of the backbone.
        seed: the run's seed, 0 or more.
        hash8: a request's hash; its first 8 digits are used.

    Raises:
        ConfigError: a name cannot be one folder's name.

    Example:
        >>> run_name("icons", "coop", "tiny_rn", 0, "bf579a38c1b8")
        'icons/coop/tiny_rn/seed0-bf579a38'
    """
    for key, name in (("benchmark", benchmark), ("method", method), ("backbone", backbone)):
        if not re.fullmatch(r"\w[\w.+-]*", name):
            msg = f"The {key}'s name {name!r} cannot name a folder: use letters, digits and _ . + - only."
            raise ConfigError(msg)
    if not re.fullmatch(r"[0-9a-f]{8,64}", hash8):
        msg = f"{hash8!r} is not a request hash: at least 8 hex digits, from request_hash()."
        raise ConfigError(msg)
    return f"{benchmark}/{method}/{backbone}/seed{seed}-{hash8[:8]}"


def atomic_write(path: Path, content: bytes | Callable[[BinaryIO], object], elsewhere: str = ELSEWHERE) -> None:
    """Put a whole file at `path` or leave what was there, also when the process is killed or the disk fills up.

    Args:
        path: the file; its folder is made where it is missing.
        content: the bytes, or a function that writes them into the open file it is given.
        elsewhere: settings that move the file, for the message.

    Raises:
        RunError: the file cannot be written; the message names the cause and the setting to change.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with explained(path, elsewhere):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    content(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


@dataclass(frozen=True)
class RunFolder:
    """One run's folder. It counts as finished when `DONE` lies in it, and only then.

    Of several processes that share a run one writes; for the others `writes` is false and nothing happens.
    `before_write` is called each time before something is written and raises where this process must not.
    """

    path: Path
    writes: bool = True
    before_write: Callable[[], None] | None = None

    def create(self) -> Self:
        """Make the folder and try a write, so that a run which could not save anything never starts.

        Raises:
            RunError: the folder cannot be made or written.
        """
        if not self.writes:
            return self
        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path) as probe:
                probe.write(b"something, since an empty file fits on a full disk")
        return self

    @property
    def is_done(self) -> bool:
        """Whether the run finished."""
        return (self.path / DONE).is_file()

    def mark_done(self) -> None:
        """Declare the run finished, to be called after everything else is written.

        Raises:
            RunError: the folder cannot be written.
        """
        self._remove(FAILED)
        self.write_bytes(DONE, b"")

    def mark_failed(self, stage: str, error: BaseException, command: str = "") -> None:
        """Keep the error that ended this attempt, for people and for the table of a sweep.

        Args:
            stage: what was going on, in the words of the log ("stage 2", "evaluation").
            error: the exception; its type and message are kept, not the traceback.
            command: what repeats the run.

        Raises:
            RunError: the folder cannot be written.
        """
        before = read_json(self.path / FAILED).get("attempt")
        self.write_json(
            FAILED,
            {
                "stage": stage,
                "error": type(error).__name__,
                "message": str(error),
                "command": command,
                "attempt": 1 + (before if isinstance(before, int) else 0),
                "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "host": platform.node(),
            },
        )

    def remove_unfinished_files(self) -> None:
        """Remove what killed attempts have half written; only to be called where nobody else writes.

        Raises:
            RunError: the folder cannot be written.
        """
        if not self.writes:
            return
        with explained(self.path):
            for path in self.path.rglob(".*.tmp"):
                path.unlink(missing_ok=True)

    def write_json(self, name: str, obj: Mapping[str, Any]) -> None:
        """Write one JSON file, keys in the order given.

        Raises:
            RunError: a value is not JSON (NaN and infinity are not), or the file cannot be written.
        """
        _check_json(obj, name, RunError)
        text = json.dumps(obj, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write one file with the given content.

        Raises:
            RunError: the file cannot be written.
        """
        if self.writes:
            self._check()
            atomic_write(self.path / name, data)

    def _check(self) -> None:
        if self.before_write is not None:
            self.before_write()

    def _remove(self, name: str) -> None:
        if not self.writes:
            return
        self._check()
        with explained(self.path / name):
            (self.path / name).unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Content of a JSON file that holds a mapping; empty where there is none, or where it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _check_json(value: object, where: str, error: type[ConfigError | RunError]) -> None:
    """Refuse what JSON cannot hold, naming the place: json's own message names the type only."""
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                msg = f"{where}: the key {key!r} ({type(key).__name__}) is not text, as JSON's keys are."
                raise error(msg)
            _check_json(item, f"{where}.{key}", error)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _check_json(item, f"{where}[{position}]", error)
    else:
        msg = f"{where} is {value!r} ({type(value).__name__}): JSON holds text, finite numbers, lists and mappings."
        raise error(msg)


@contextlib.contextmanager
def explained(path: Path, elsewhere: str = ELSEWHERE) -> Iterator[None]:
    """Turn an operating system's error into one that names the path, the cause and the fix.

    Args:
        path: what is written in the body.
        elsewhere: settings that move it.

    Raises:
        RunError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        cause = _CAUSES.get(error.errno or 0, error.strerror or str(error))
        msg = f"Cannot write {path}: {cause}. Mend that or set another {elsewhere}."
        raise RunError(msg) from error


def sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut; some network file systems refuse, and then it is theirs to do."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
