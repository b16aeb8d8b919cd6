"""webdataset shards: read, checked against their listed hash, never half (the only file that imports webdataset)."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import tarfile
import tempfile
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import webdataset
from webdataset.gopen import gopen
from webdataset.shardlists import expand_urls

from negprompt.errors import DataError


class ShardSample(NamedTuple):
    """One picture of a shard: unique key, encoded bytes, the fields of its json."""

    key: str
    encoded: bytes
    fields: dict[str, Any]


def read_shard(path: Path, sha256: str | None = None, image_extension: str = "webp") -> list[ShardSample]:
    """Read all samples of a tar shard into memory (encoded, not decoded).

    Args:
        path: tar file with `key.<image_extension>` and `key.json` for each sample.
        sha256: expected hash of the file, None to skip that check.
        image_extension: ending of the pictures.

    Raises:
        DataError: the shard is missing, truncated, altered, or a sample lacks its picture or json.
    """
    if not path.is_file():
        msg = f"Shard {path} is missing: install the package again, or point data.root at the shards."
        raise DataError(msg)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 is not None and found != sha256:
        msg = (
            f"Shard {path} is damaged or was altered (sha256 {found[:12]}..., expected {sha256[:12]}...): "
            "install the package again, or build the shards again."
        )
        raise DataError(msg)
    dataset = webdataset.WebDataset(  # a list, since braces in a bare path would be expanded
        [str(path)], shardshuffle=False, empty_check=False, nodesplitter=list, handler=webdataset.reraise_exception
    )
    try:
        samples = [_sample(path, raw, image_extension) for raw in dataset]
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        reason = str(error.args[0] if error.args else error).partition(" @ <")[0]  # webdataset adds its objects
        msg = f"Shard {path} cannot be read ({reason}): copy or build it again."
        raise DataError(msg) from error
    keys = Counter(sample.key for sample in samples)
    if twice := [key for key, count in keys.items() if count > 1]:
        msg = f"Shard {path} holds several samples of one key ({', '.join(twice[:5])}): build the shard again."
        raise DataError(msg)
    return samples


def _sample(path: Path, raw: dict[str, Any], image_extension: str) -> ShardSample:
    key = raw["__key__"]
    for extension in (image_extension, "json"):
        if extension not in raw:
            msg = f"Sample {key!r} of shard {path} has no .{extension} member: build the shard again."
            raise DataError(msg)
    return ShardSample(key, raw[image_extension], json.loads(raw["json"]))


class TransferError(DataError):
    """A URL or command that gave nothing, or not all; `status` is the command's exit code, 0 where it has none."""

    status = 0


_COMMANDS = {
    # An error page is no shard (--fail), brackets are no pattern (--globoff), and a stalled server is left in a minute.
    "http": "curl --fail --silent --show-error --location --globoff --connect-timeout 30 --retry 2 --speed-limit 1 "
    "--speed-time 60",
    "s3": "aws s3 cp --only-show-errors",
    "gs": "gsutil cat",
}
_FIXES = {
    6: "check the host's name and the network",
    7: "check that the host answers",
    22: "check the address and your right to read it",
    126: "check the command's permissions",
    127: "install that command",
}


def expand(spec: str) -> list[str]:
    """Names that a specification in webdataset's words stands for: braces, `::` between several.

    Raises:
        DataError: braces that do not close.

    Example:
        >>> expand("https://host/train-{000..002}.tar")[1]
        'https://host/train-001.tar'
    """
    try:
        names: list[str] = expand_urls(spec)
    except ValueError as error:
        msg = f"The shards {spec!r} cannot be read as a pattern ({error}): write train-{{000000..000146}}.tar."
        raise DataError(msg) from error
    return names


def chunks(url: str, size: int = 1 << 20) -> Generator[bytes, None, None]:
    """What a URL or `pipe:` command gives, piece by piece; closing the iterator ends the command.

    Raises:
        TransferError: the command fails; names it, its exit code, what it said and the fix.
    """
    command = _command(url)
    with tempfile.NamedTemporaryFile() as said:
        # What a command says goes into our message: the terminal has a progress bar.
        opened = url if command is None else f"pipe:( {command}\n) 2>{shlex.quote(said.name)}"
        try:
            stream = gopen(opened, "rb")
        except (OSError, ValueError, ImportError) as error:
            msg = f"{url} cannot be opened ({error}): use a folder, http(s)://, s3://, gs:// or pipe:<command>."
            raise TransferError(msg) from error
        try:
            while chunk := stream.read(size):
                yield chunk
            stream.close()
        except OSError as error:
            raise _failed(url, command, stream.proc.returncode, Path(said.name)) from error
        finally:
            stream.ignore_errors = True  # a command whose reader stops early fails, as it should
            stream.close()


def _command(url: str) -> str | None:
    """The shell command that writes a URL's content, None for what webdataset opens by itself."""
    scheme = url.partition(":")[0].lower()
    if scheme == "pipe":
        return url.partition(":")[2]
    command = _COMMANDS.get("http" if scheme == "https" else scheme)
    if command is None:
        return None
    return f"{command} {shlex.quote(url)}" + (" -" if scheme == "s3" else "")


def _failed(url: str, command: str | None, status: int | None, said: Path) -> TransferError:
    lines = [line.strip() for line in said.read_text(errors="replace").splitlines() if line.strip()]
    program = re.split(r"\s", (command or "").strip(), maxsplit=1)[0]
    fix = _FIXES.get(status or 0, "run the command in a shell to see why")
    reason = f" ({lines[-1][:200]})" if lines else ""
    error = TransferError(f"{url} cannot be fetched: {program} ended with exit code {status}{reason}; {fix}.")
    error.status = status or 0
    return error
