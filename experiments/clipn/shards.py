"""Caption shards from the pre-training drawings: each picture with its name in one of a few sentences.

python experiments/clipn/shards.py          # experiments/icons/build/pretrain-*.tar -> experiments/clipn/build/
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
DRAWINGS = HERE.parent / "icons" / "build"
SENTENCES = (
    "a photo of a {}", "a photo of the {}", "a picture of a {}", "an image of a {}", "a drawing of a {}",
    "an icon of a {}", "a sketch of the {}", "{}",
)  # fmt: skip


def caption(key: str, name: str) -> str:
    """The sentence about a drawing, the same in every build."""
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
    return SENTENCES[number % len(SENTENCES)].format(name.replace("_", " "))


def convert(source: Path, target: Path) -> int:
    """One shard; returns its number of pictures."""
    pictures = 0
    with tarfile.open(source) as drawings, tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as captions:
        for member in drawings:
            opened = drawings.extractfile(member)
            content = b"" if opened is None else opened.read()
            if member.name.endswith(".json"):
                key = member.name.removesuffix(".json")
                member.name, content = f"{key}.txt", caption(key, json.loads(content)["name"]).encode()
            else:
                pictures += 1
            info = tarfile.TarInfo(member.name)
            info.size = len(content)
            captions.addfile(info, io.BytesIO(content))
    return pictures


def main() -> None:
    if not (DRAWINGS / "PRETRAIN_DONE").is_file():
        raise SystemExit("There are no drawings: run python experiments/icons/build.py check pretrain first.")
    build = HERE / "build"
    build.mkdir(exist_ok=True)
    total = 0
    for source in sorted(DRAWINGS.glob("pretrain-*.tar")):
        total += convert(source, build / source.name.replace("pretrain", "captions"))
    print(f"{total} pictures with captions in {build}")


if __name__ == "__main__":
    main()
