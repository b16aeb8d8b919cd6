"""A folder that this run's processes write and no other run does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from negprompt import ranks
from negprompt.errors import NegPromptError
from negprompt.runs.folder import RunFolder
from negprompt.runs.lease import lease, lease_when_free


@contextmanager
def held(folder: RunFolder, *, waits: bool) -> Iterator[RunFolder]:
    """The folder while no other process may write it. Rank 0 holds it for all, and all hear why it could not.

    Args:
        folder: the folder.
        waits: whether one that somebody else holds is waited for.

    Raises:
        RunBusyError: somebody else holds it, and it is not waited for.
        RunError: the place cannot be written.
    """
    with ExitStack() as stack:
        refusal: NegPromptError | None = None
        if folder.writes:
            try:
                lease_ = stack.enter_context(lease_when_free(folder.path) if waits else lease(folder.path))
                folder = replace(folder, before_write=lease_.check)
            except NegPromptError as error:
                refusal = error
        if (refusal := ranks.of_rank_zero(refusal)) is not None:
            raise refusal
        yield folder
