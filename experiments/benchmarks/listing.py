"""Start-up and memory of the data module at ImageNet's 1.28 million training files, before and after the first listing.

    python experiments/benchmarks/listing.py

Makes a tree of that many files of a few bytes (`--files`), 50,000 validation files and an OOD set, with ImageNet's
names, then loads the benchmark (16 shots) and builds the data module in fresh processes: the first one lists and
hashes, the next ones find what was remembered. Files are not decoded. Writes `results/listing.md` and `.csv`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

from negprompt.data.imagenet_lists import NUM_TRAIN, VALIDATION_NAME, imagenet_classes, validation_class

RUNS = 4


def write_tree(root: Path, files: int) -> None:
    """ImageNet's folders and file names; each file holds its own name."""
    keys = imagenet_classes().keys
    train, val, ood = root / "imagenet_1k" / "train", root / "imagenet_1k" / "val", root / "iNaturalist" / "images"
    for place, key in enumerate(keys):
        folder = train / key
        folder.mkdir(parents=True)
        (val / key).mkdir(parents=True)
        for number in range(files // len(keys) + (place < files % len(keys))):
            _write(folder / f"{key}_{number * 7 + 3}.JPEG")
    for number in range(1, 50_001):
        name = f"{VALIDATION_NAME.format(number)}.JPEG"
        _write(val / str(validation_class(name)) / name)
    ood.mkdir(parents=True)
    for number in range(10_000):
        _write(ood / f"{number:032x}.jpg")


def _write(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, path.name.encode())
    os.close(descriptor)


def load(root: str) -> None:
    """What a run does before its first step; prints seconds and memory as JSON. Runs in a process of its own."""
    from negprompt.data.base import load_split
    from negprompt.data.conventional import ConventionalOOD
    from negprompt.data.datamodule import OODDataModule
    from negprompt.data.imagenet import ImageNetID
    from negprompt.types import ImageSpec

    before = _peak()
    cache = f"{root}/cache"
    id_sets = ImageNetID(
        name="imagenet_1k", num_shots=16, data_root=root, cache_dir=cache, manifests_dir=f"{root}/manifests"
    )
    ood_sets = ConventionalOOD(name="conventional", sets=["iNaturalist"], data_root=root, cache_dir=cache)
    start = time.perf_counter()
    split = load_split(id_sets, ood_sets, 1)
    spec = ImageSpec(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    module = OODDataModule(split, spec, None, 1, 64, 0, lambda *_, **__: None)  # type: ignore[arg-type, return-value]
    loaders = len(module.test_dataloader())
    seconds = time.perf_counter() - start
    after = _peak()
    print(json.dumps({"seconds": seconds, "before": before, "after": after, "loaders": loaders, "split": split.sha256}))


def _peak() -> int:
    """Peak resident memory of this process in KiB; ru_maxrss would count the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def main() -> None:
    arguments = common.parser(__doc__, timed=False)
    arguments.add_argument("--files", type=int, default=NUM_TRAIN)
    arguments.add_argument("--load", metavar="FOLDER", help="one measurement, for this script itself")
    given = common.checked(arguments)
    if given.load:
        load(given.load)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        common.progress(f"writing {given.files:,} files")
        write_tree(root, given.files)
        time.sleep(3)  # a folder that changed a moment ago is not trusted
        found = []
        for run in range(RUNS):
            common.progress(f"process {run + 1} of {RUNS}")
            done = subprocess.run(
                [sys.executable, __file__, "--load", folder], check=True, stdout=subprocess.PIPE, text=True
            )
            found.append(json.loads(done.stdout.splitlines()[-1]))
        if len({one["split"] for one in found}) != 1:
            raise RuntimeError("the processes loaded different splits")
    rows = [
        {
            "process": "first: lists and hashes" if run == 0 else f"{run + 1}: remembers",
            "seconds": round(one["seconds"], 2),
            "peak memory, MiB": round(one["after"] / 1024),
            "of that imports, MiB": round(one["before"] / 1024),
        }
        for run, one in enumerate(found)
    ]
    notes = [
        f"{given.files:,} training files in 1,000 folders, 50,000 validation files, 10,000 OOD files; 16 shots",
        "Seconds from settings to loaders, imports apart; seconds of one machine say little about another",
        "Peak memory of the whole process (VmHWM); imports are torch, torchvision, lightning",
        "Files of a few bytes on a local disk: hashing real pictures for the first time reads them all once",
    ]
    common.write("listing", "Start-up at 1.28 million files", rows, notes, given)


if __name__ == "__main__":
    main()
