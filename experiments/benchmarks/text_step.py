"""One text step: forward and backward pass with respect to the context, on each of the three text paths.

    python experiments/benchmarks/text_step.py [--device cuda --precision bf16]

The tower is open_clip's ViT-B/16 with random weights, the names are its 1,000 of ImageNet. `plain` is the model's own
`encode_text` on 77 tokens. Where 1,000 prompts of 77 tokens do not fit, it runs on a part of the names, and the ratio
for all of them follows from its time per prompt: every prompt costs it the same, which the table checks.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import NamedTuple, get_args

import common
import towers
from towers import NAMES, Pass, TextStep

from negprompt.backbones.openclip import OpenClipBackbone
from negprompt.backbones.text import TextPath

PATHS = ("plain", "cropped", "shared")
ALL = "shared, all names"
WARM_UP_NAMES = 2


class Case(NamedTuple):
    """A context: n tokens, and how many of them there are (1: the positive prompt alone; 2: two negatives)."""

    tokens: int
    contexts: int


CASES = tuple(Case(tokens, contexts) for tokens in (16, 4) for contexts in (1, 2))


def arguments() -> argparse.Namespace:
    parser = common.parser(__doc__)
    parser.add_argument("--names", type=int, default=len(NAMES), help="names of the shared path")
    parser.add_argument("--plain-prompts", type=int, help="prompts of the plain path; 48 on a CPU, 2,000 on a GPU")
    options = common.checked(parser)
    options.plain_prompts = options.plain_prompts or (2000 if options.device == "cuda" else 48)
    return options


def main() -> None:
    """Measure all cases and write the table."""
    options = arguments()
    peaks = {case: memory(case, options) for case in CASES}
    clip = towers.backbone(device=options.device)
    rows = [row for case in CASES for row in compare(case, clip, peaks[case], options)]
    common.write("text_step", "Text side of one training step", rows, notes(clip, options), options)


def compare(
    case: Case, clip: OpenClipBackbone, peak: Mapping[str, int | None], options: argparse.Namespace
) -> list[dict[str, object]]:
    """Rows of one case, one a path."""
    common.progress(f"time, {case}")
    part = subset(case, clip, options)
    steps = {path: step(case, towers.with_path(clip, path), part, options) for path in get_paths()}
    actions = {**steps, ALL: step(case, towers.with_path(clip, "shared"), NAMES[: options.names], options)}
    seconds = common.in_turns(actions, options.rounds, options.device)
    results = {path: one() for path, one in steps.items()}
    scale = options.names / len(part)
    return [
        {
            "path": path,
            "n": case.tokens,
            "contexts": case.contexts,
            "names of the part": len(part),
            "plain / path, time, the part": common.ratio(seconds["plain"], seconds[path]),
            f"plain / path, time, {options.names} names": all_names(path, seconds, scale),
            "plain / path, memory, the part": quotient(peak["plain"], peak[path]),
            f"plain / path, memory, {options.names} names": quotient(
                peak["plain"], peak[ALL] if path == "shared" else peak[path], scale if path == "shared" else 1.0
            ),
            "MiB, the part": common.mib(peak[path]),
            **differences(results["plain"], results[path]),
        }
        for path in steps
    ]


def all_names(path: str, seconds: Mapping[str, Sequence[float]], scale: float) -> common.Spread:
    """Time ratio for all names: plain and cropped cost every prompt the same, shared is measured on all names."""
    if path == "shared":
        return common.ratio(seconds["plain"], seconds[ALL], scale)
    return common.ratio(seconds["plain"], seconds[path])


def quotient(plain: int | None, other: int | None, scale: float = 1.0) -> float | None:
    """`scale` times plain / other, None where one of them did not fit."""
    return None if plain is None or other is None else scale * plain / other


def differences(plain: Pass, other: Pass) -> dict[str, object]:
    """Largest difference of a feature (of unit vectors) and of the gradient, relative to its largest entry."""
    return {
        "feature difference": float((plain.features - other.features).abs().max()),
        "gradient difference": common.difference(plain.gradient, other.gradient),
    }


def memory(case: Case, options: argparse.Namespace) -> dict[str, int | None]:
    """Peak bytes of a step on each path, each in a process of its own."""
    common.progress(f"memory, {case}")
    cells: dict[str, tuple[TextPath, bool]] = {path: (path, False) for path in get_paths()}
    cells[ALL] = ("shared", True)
    return {
        name: common.in_fresh_process(peak, case, path, everything, options)
        for name, (path, everything) in cells.items()
    }


def peak(case: Case, path: TextPath, everything: bool, options: argparse.Namespace) -> int:
    """One cell of `memory`."""
    clip = towers.backbone(path, device=options.device)
    names = NAMES[: options.names] if everything else subset(case, clip, options)
    measured = step(case, clip, names, options)
    return common.peak_bytes(measured, step(case, clip, names[:WARM_UP_NAMES], options), options.device)


def step(case: Case, clip: OpenClipBackbone, names: Sequence[str], options: argparse.Namespace) -> TextStep:
    """The step of one case on the path of a backbone."""
    return TextStep(clip, names, case.tokens, case.contexts, options.precision)


def subset(case: Case, clip: OpenClipBackbone, options: argparse.Namespace) -> tuple[str, ...]:
    """The names that the plain path runs on: at even distances in the list by length."""
    return towers.spaced_by_length(NAMES[: options.names], options.plain_prompts // case.contexts, clip)


def proportionality(clip: OpenClipBackbone, options: argparse.Namespace) -> common.Spread:
    """Time of the plain path on the names of the first case over that on half of them: 2 where it is proportional."""
    common.progress("proportionality of the plain path")
    part = subset(CASES[0], clip, options)
    plain = towers.with_path(clip, "plain")
    actions = {name: step(CASES[0], plain, some, options) for name, some in (("all", part), ("half", part[::2]))}
    seconds = common.in_turns(actions, options.rounds, options.device)
    return common.ratio(seconds["all"], seconds["half"], len(part[::2]) * 2 / len(part))


def notes(clip: OpenClipBackbone, options: argparse.Namespace) -> list[str]:
    """What stands below the table."""
    part, everything = subset(CASES[0], clip, options), NAMES[: options.names]
    means = towers.mean_tokens(part, clip), towers.mean_tokens(everything, clip)
    return [
        f"{towers.MODEL} with random weights, {len(everything)} ImageNet names; n context tokens, one or two contexts",
        f"Ratios of time: median (lowest-highest) of {options.rounds} rounds, all paths in turn in one process",
        "plain: the model's own `encode_text` on 77 tokens, the token table's output exchanged by a hook",
        f"The part: {len(part)} names for one context and {len(subset(CASES[1], clip, options))} for two, at even "
        "distances in the list sorted by length, with the longest name; for one context a name has "
        f"{means[0]:.2f} tokens on average, {means[1]:.2f} in the whole list",
        f"Ratios for all names: shared runs on all {len(everything)}; plain is scaled from the part (its seconds a "
        f"prompt), and so is cropped, since both cost every prompt the same; check: plain takes "
        f"{proportionality(clip, options)} times as long on {len(part)} names as on half of them (2 = proportional)",
        f"{common.memory_method(options.device)}; each cell in a fresh process, after a step of {WARM_UP_NAMES} names; "
        "for all names plain is scaled in the same way",
        "Feature difference: the largest entry of plain - path, of unit vectors; gradient difference: relative to the "
        "largest entry of plain",
    ]


def get_paths() -> tuple[TextPath, ...]:
    """The paths in the order of the table."""
    return tuple(path for path in get_args(TextPath) if path in PATHS)[::-1]


if __name__ == "__main__":
    main()
