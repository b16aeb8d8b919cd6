"""Rebuild the embedded benchmark from the pinned npm package: ``python experiments/icons/build.py [step ...]``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

from benchmark import build_benchmark
from check import check_names
from freeze import freeze_hashes
from pretrain import build_pretrain
from sheets import build_sheets

STEPS: dict[str, Callable[[], None]] = {
    "check": check_names,
    "pretrain": build_pretrain,
    "benchmark": build_benchmark,
    "sheets": build_sheets,
    "freeze": freeze_hashes,
}


def main() -> None:
    """Run the named steps in their order; all of them without arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="step", help=f"any of {', '.join(STEPS)} (default: all)")
    wanted = parser.parse_args().steps or list(STEPS)
    if unknown := set(wanted) - set(STEPS):
        parser.error(f"no step named {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name, step in STEPS.items():
        if name in wanted:
            logging.info("== %s", name)
            step()


if __name__ == "__main__":
    main()
