"""Model cards with figures measured on the exported files.

Run once, when every choice is made: it reads the test pictures. What a card says in words stands in ``cards.json``.

    python experiments/tiny_clip/cards.py [tiny_rn ...]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from string import Template

from evaluate import OOD, report
from load import RESOURCES, load

HERE = Path(__file__).parent
Report = dict[str, dict[str, float]]


def markdown(validation: Report, test: Report) -> str:
    """Both reports as one table, in percent."""
    rows = [["", "top-1 ID", *OOD, "mean"], ["---"] * (len(OOD) + 3)]
    for part, table, id_set in (("validation", validation, "id_val"), ("test", test, "id_test")):
        for key, values in table.items():
            if key == "top1":
                continue
            label = key.replace("_", "-").replace("auroc", "AUROC").replace("fpr95", "FPR95").replace("mcm", "MCM")
            top1 = f"{table['top1'][id_set]:.1f}" if key == "mcm auroc" else ""
            rows.append([f"{part}, {label}", top1, *(f"{value:.1f}" for value in values.values())])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def others(validation: Report, test: Report) -> str:
    """Top-1 on the sets that have no column."""
    shown = {"id_train": validation["top1"]["id_train"]}
    shown |= {name: value for name, value in test["top1"].items() if name.startswith("emoji")}
    return ", ".join(f"{name} {value:.1f}" for name, value in shown.items())


def write(name: str, words: dict[str, str]) -> None:
    """One card."""
    model, _ = load(name)
    validation, test = report(model, "val"), report(model, "test")
    text = Template((HERE / "card.md.in").read_text()).substitute(
        words,
        name=name,
        rows=f"{int((model.token_embedding.weight.norm(dim=1) > 0).sum()):,}",
        scale=f"{model.logit_scale.exp().item():.1f}",
        parameters=f"{sum(p.numel() for p in model.visual.parameters()) / 1e6:.2f}",
        others=others(validation, test),
        table=markdown(validation, test),
    )
    (RESOURCES / name / "MODEL_CARD.md").write_text(text)
    print(f"{name}\n{markdown(validation, test)}\n{others(validation, test)}\n", flush=True)


def main() -> None:
    words = json.loads((HERE / "cards.json").read_text())
    for name in sys.argv[1:] or words:
        write(name, words[name])


if __name__ == "__main__":
    main()
