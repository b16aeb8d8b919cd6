"""A run's log.txt: the messages of this project, with times, and tracebacks; appended by every attempt."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class _Handler(logging.FileHandler):
    """A log that cannot be written, for example on a full disk, is no reason to stop or to print a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's name
        """Drop the message."""


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Send the messages of all our modules to a file as well, while the body runs."""
    logger = logging.getLogger("negprompt")
    handler = _Handler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    except Exception as error:  # the terminal shows the message alone
        trace = (type(error), error, error.__traceback__)
        handler.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, "failed", (), trace))
        raise
    finally:
        logger.removeHandler(handler)
        with suppress(OSError):
            handler.close()
