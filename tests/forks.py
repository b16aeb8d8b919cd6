"""Functions in processes of their own: forked from one server for all tests of a process, with everything imported."""

from __future__ import annotations

import multiprocessing

SERVER = multiprocessing.get_context("forkserver")
# There is one server for a process, and who starts it decides what it has imported.
SERVER.set_forkserver_preload(
    [
        *("negprompt.cli.run", "negprompt.cli.train", "negprompt.cli.search", "negprompt.search.study"),
        *("negprompt.features.store", "negprompt.metrics.ood", "stopping", "extraction"),
    ]
)
