"""How idle threads wait between small operations: the text step of the demo, cropped and shared, under three settings.

    python experiments/benchmarks/waiting.py

90 names of `icons`, `tiny_rn`, n = 4, one and two contexts. OpenMP reads its setting when torch is imported, so each
setting has a process of its own; the paths run in turn within it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

SETTINGS = {
    "sleep at once": {"OMP_WAIT_POLICY": "PASSIVE"},
    "library's default": {},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
}


def measured() -> dict[str, float]:
    """Median milliseconds of each path and number of contexts, in this process."""
    import statistics

    import common
    from towers import TextStep, with_path

    from negprompt.backbones.embedded import EmbeddedSettings
    from negprompt.data.icons import IconsID

    clip = EmbeddedSettings(name="tiny_rn").build()
    names, *_ = IconsID(name="icons", num_shots=8).load(1)
    paths = ("cropped", "shared")
    actions = {
        f"{path}, {contexts}": TextStep(with_path(clip, path), names, 4, contexts, "fp32")
        for contexts in (1, 2)
        for path in paths
    }
    common.quiet()
    seconds = common.in_turns(actions, 20, "cpu")
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Print milliseconds, one row a setting: the question is the setting, on one machine within a minute."""
    clean = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    for name, setting in SETTINGS.items():
        done = subprocess.run(
            [sys.executable, __file__, "--one"], env={**clean, **setting}, capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"| {name} | {' | '.join(f'{case}: {value:.0f} ms' for case, value in found.items())} |", flush=True)


if __name__ == "__main__":
    print(json.dumps(measured())) if "--one" in sys.argv else main()
