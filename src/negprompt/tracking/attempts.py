"""Files that attempts of a W&B run left in its run folder: which there are, and what was sent by them."""

from __future__ import annotations

from pathlib import Path

from negprompt.tracking.journal import whole_records


def attempts(folder: Path, run_id: str, kind: str = "*") -> list[Path]:
    """Files of all attempts, oldest first; two that start in the same second differ in what follows the id."""
    return sorted(folder.glob(f"wandb/{kind}run-*-{run_id}*/*.wandb"))


def sent_steps(folder: Path, run_id: str) -> list[int]:
    """Steps of the curve that attempts of a W&B run left on the disk, in the order they were sent."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made at run time

    steps = []
    for file in attempts(folder, run_id):
        for content in whole_records(file)[0]:
            record = Record.FromString(content)
            if record.HasField("history"):
                names = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                if "_step" in names:
                    steps.append(int(names["_step"]))
    return steps


def mark_synced(folder: Path, run_id: str) -> None:
    """Tell `wandb sync` that offline attempts are sent: the online run has all their rows."""
    for file in attempts(folder, run_id, "offline-"):
        file.with_name(f"{file.name}.synced").touch()
