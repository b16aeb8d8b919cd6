"""`data verify` against decoding alone: it also reads, hashes twice (content, looks), counts and compares sets.

    python experiments/benchmarks/verifying.py

Decoding alone goes over the same pictures in memory with as many threads as verify has (one a core). Both in turn in
one process, the first round warms up, the ratio is the median of the others. Writes `results/verifying.md` and `.csv`.
"""

from __future__ import annotations

import concurrent.futures
import os
import tempfile
from pathlib import Path

import common
import loading

from negprompt.data.decoding import decode
from negprompt.data.folder import FolderID, FolderOOD
from negprompt.data.verification.verify import Wanted, verify


def main() -> None:
    arguments = common.parser(__doc__)
    arguments.add_argument("--pictures", type=int, default=1024)
    given = common.checked(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        loading.write_tree(root / "mine" / "train", given.pictures // 2)
        loading.write_tree(root / "mine" / "test", given.pictures // 4, seed=1)
        loading.write_tree(root / "others", given.pictures // 4, seed=2)
        encoded = [path.read_bytes() for path in sorted(root.rglob("*.JPEG"))]
        id_sets = FolderID(name="folder", num_shots=1, root=str(root / "mine"))
        ood_sets = FolderOOD(name="folder", root=str(root / "others"))

        def alone() -> None:
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                for _ in pool.map(lambda one: decode(one, "", ""), encoded):
                    pass

        def whole() -> None:
            report = verify(id_sets, ood_sets, Wanted(pictures="all", counts="any", seed=1))
            read = sum(one.read for one in report.sets)
            if read != len(encoded):
                raise RuntimeError(f"verify read {read} of {len(encoded)} pictures")

        seconds = common.in_turns({"alone": alone, "whole": whole}, given.rounds, given.device)
    rows = [
        {
            "threads": os.cpu_count(),
            "verify / decoding alone, speed": common.ratio(seconds["alone"], seconds["whole"]),
            "verify, pictures/s": round(len(encoded) / common.spread(seconds["whole"]).median),
        }
    ]
    notes = [f"{len(encoded)} JPEGs of 500 x 375, in the page cache; sets are compared with each other too"]
    common.write("verifying", "Looking at every picture against decoding alone", rows, notes, given)


if __name__ == "__main__":
    main()
