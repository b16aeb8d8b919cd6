"""Everything a sweep will do, known and checked before its first job: members, their folders, who is done already."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from negprompt.cli.arguments import Arguments
from negprompt.cli.build import build_request
from negprompt.cli.compose import Composed, plain
from negprompt.cli.explain import explain
from negprompt.cli.sweep import slurm
from negprompt.cli.sweep.member import Member, time_of
from negprompt.cli.sweep.settings import Launcher, Slurm
from negprompt.errors import ConfigError
from negprompt.request import Finder, Request
from negprompt.runs.folder import DONE, FAILED
from negprompt.runs.lease import holder

log = logging.getLogger(__name__)

SWEEPS = "_sweeps"
_NOT_OF_A_RUN = re.compile(
    r"[+~]*(sweep|launcher([.].*)?|hydra/(launcher|sweeper)|hydra[.](launcher|sweeper|sweep)([.].*)?)="
)


class Plan(NamedTuple):
    """Members by what is to be done with them, and where the sweep leaves its own files.

    `first`: stage-1 runs that several others start from; some may be members too.
    `rest`: members to run after these.
    `members`: all, each run once, in the order of the command line.
    `reused`, `elsewhere`: folders of members that were finished, or are queued or running already.
    """

    folder: Path
    members: list[Member]
    first: list[Member]
    rest: list[Member]
    reused: set[Path]
    elsewhere: set[Path]


def planned(arguments: Arguments, composed: Sequence[Composed], launcher: Launcher) -> Plan:
    """Check every member and find its folder.

    Raises:
        ConfigError: a member that cannot work, by its name, before anything is done.
    """
    flags = [f"{name}={value}" for name, value in arguments.flags.items() if name == "--config-dir"]
    names = _names([one.overrides for one in composed])
    finder = Finder()
    found: dict[Path, tuple[Member, Request]] = {}
    for name, one in zip(names, composed, strict=True):
        words = (*flags, *(text for text in one.overrides if not _NOT_OF_A_RUN.match(text)))
        try:
            request = _checked(one, launcher)
            member = _member(name, words, request, finder)
        except Exception as error:
            message = explain(error)
            raise ConfigError(message if name in message else f"{name}: {message}") from error
        found.setdefault(member.folder, (member, request))
    if (twice := len(composed) - len(found)) > 0:
        log.warning("%d of %d members are the same run as another one: such a run is made once.", twice, len(composed))
    runs_dir = request.runs_dir
    sweep = runs_dir / SWEEPS / _identity(found, runs_dir)
    return _sorted(sweep, [_grouped(*one, sweep.name) for one in found.values()], launcher)


def _checked(one: Composed, launcher: Launcher) -> Request:
    request = build_request(plain(one.config))
    request.check(here=not isinstance(launcher, Slurm))
    if isinstance(launcher, Slurm):
        launcher.check_devices(request.trainer.devices, request.trainer.accelerator)
    return request


def _member(name: str, words: tuple[str, ...], request: Request, finder: Finder) -> Member:
    folder = finder.find(request).path
    first = request.first_stage()
    return Member(
        name=name or "/".join(folder.parts[-4:]),
        words=words,
        folder=folder,
        first_stage=None if first is None else finder.find(first).path,
        gpus=request.trainer.devices if request.trainer.on_cuda else 0,
        fresh=(fresh := request.resume == "never"),
        old_done=time_of(folder / DONE) if fresh else None,
        old_failure=time_of(folder / FAILED),
    )


def _first_stage(member: Member, folder: Path) -> Member:
    """The run of stage 1 that a member would make on its way; made for several, it is not made anew for each."""
    return member._replace(
        name=f"stage 1 of {member.name}",
        words=(*member.words, "stage=first", *(["resume=auto"] if member.fresh else [])),
        folder=folder,
        first_stage=None,
        fresh=False,
        old_done=None,
        old_failure=time_of(folder / FAILED),
    )


def _sorted(sweep: Path, members: list[Member], launcher: Launcher) -> Plan:
    firsts = {one.first_stage: _first_stage(one, one.first_stage) for one in reversed(members) if one.first_stage}
    everyone = {one.folder: one for one in (*firsts.values(), *members)}
    elsewhere = _elsewhere(everyone.values())
    reused = {one.folder for one in everyone.values() if (one.folder / DONE).is_file() and not one.fresh} - elsewhere
    todo = [member for member in members if member.folder not in reused | elsewhere]
    wanted = Counter(member.first_stage for member in todo if member.first_stage is not None)
    if launcher.name == "local":  # one after the other, so nobody waits, and a process less is started
        return Plan(sweep, members, [], todo, reused, elsewhere)
    shared = [
        one
        for path, one in everyone.items()
        if path not in reused | elsewhere and (wanted[path] > 1 or (wanted[path] and one in members))
    ]
    return Plan(sweep, members, shared, [one for one in todo if one not in shared], reused, elsewhere)


def _elsewhere(members: Iterable[Member]) -> set[Path]:
    """Folders of runs that another process or a queued job takes care of."""
    unfinished = [one for one in members if not (one.folder / DONE).is_file() or one.fresh]
    tickets = {one.folder: job for one in unfinished if (job := slurm.ticket(one.folder))}
    try:
        queued = slurm.states(tickets.values())
    except slurm.SilentError as error:
        msg = f"Slurm does not say whether jobs of an earlier sweep still wait ({error}): try again when it answers."
        raise ConfigError(msg) from error
    return {one.folder for one in unfinished if tickets.get(one.folder) in queued or holder(one.folder) is not None}


def _identity(folders: Iterable[Path], runs_dir: Path) -> str:
    """The same for the same runs, so that the same command finds its sweep again."""
    runs = sorted(folder.relative_to(runs_dir).as_posix() for folder in folders)
    return hashlib.sha256("\n".join(runs).encode()).hexdigest()[:8]


def _names(overrides: Sequence[Sequence[str]]) -> list[str]:
    """What tells each member from the others."""
    common = set(overrides[0]).intersection(*overrides) if overrides else set()
    return [" ".join(word for word in words if word not in common) for words in overrides]


def _grouped(member: Member, request: Request, sweep: str) -> Member:
    """Members stand together in W&B, unless the user has said where."""
    if request.logger.name == "wandb" and request.logger.group is None:
        return member._replace(words=(*member.words, f"logger.group={sweep}"))
    return member
