"""The paper's names for what a run and a score are together, in the groups and the order of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from negprompt.reports.collect import SummaryRow

HAND_WRITTEN = "hand-written prompts"
LEARNED = "learned prompts"
OPEN_VOCABULARY = "learned on a part of the classes"
OTHERS = "other scores and methods"


class System(NamedTuple):
    """A row of the paper's tables: `method` and `score` make it, `paper` is its name there ("" where it has none)."""

    name: str
    method: str
    score: str
    group: str
    paper: str = ""


SYSTEMS = (
    System("MCM", "zero_shot", "mcm", HAND_WRITTEN, "MCM"),
    System("GL-MCM", "zero_shot", "gl_mcm", HAND_WRITTEN),
    System("CLIPN (CTW)", "clipn", "ctw", HAND_WRITTEN),
    System("CLIPN (ATD)", "clipn", "atd", HAND_WRITTEN, "CLIPN"),
    System("ZOC", "zoc", "zoc", HAND_WRITTEN),
    System("MSP", "zero_shot", "msp", HAND_WRITTEN, "MSP"),
    System("MaxLogit", "zero_shot", "max_logit", HAND_WRITTEN, "MaxLogit"),
    System("Energy", "zero_shot", "energy", HAND_WRITTEN, "Energy"),
    System("ReAct", "zero_shot", "react", HAND_WRITTEN, "ReAct"),
    System("ODIN", "zero_shot", "odin", HAND_WRITTEN, "ODIN"),
    System("CoOp", "coop", "mcm", LEARNED, "CoOp"),
    System("LoCoOp", "locoop", "gl_mcm", LEARNED, "LoCoOp"),
    System("NegPrompt, one stage", "one_stage", "negprompt", LEARNED),
    System("NegPrompt, equations as printed", "negprompt_paper", "negprompt", LEARNED, "NegPrompt"),
    System("NegPrompt, released code", "negprompt_official_code", "negprompt", LEARNED, "NegPrompt"),
    System("NegPrompt", "negprompt", "negprompt", LEARNED, "NegPrompt"),
)
"""Order of Tables 2 and 3; what they lack stands beside what it is most like."""


class Place(NamedTuple):
    """Where a row stands: its system's name, group and place in the order, and its name in the paper."""

    name: str
    group: str
    order: int
    paper: str


def place_of(row: SummaryRow) -> Place:
    """The system that a method and score are; what the paper does not know comes last under its own names."""
    part = "" if row.class_fraction == 1 else f" ({100 * row.class_fraction:g}%)"
    for order, system in enumerate(SYSTEMS):
        if (row.method, row.score) == (system.method, system.score):
            group = OPEN_VOCABULARY if part else system.group
            return Place(system.name + part, group, order, system.paper + part if system.paper else "")
    return Place(f"{row.method}: {row.score}{part}", OTHERS, len(SYSTEMS), "")


def in_order(rows: Sequence[SummaryRow]) -> list[SummaryRow]:
    """Rows in the paper's order of groups and systems; equal ones as they came."""
    groups = (HAND_WRITTEN, LEARNED, OPEN_VOCABULARY, OTHERS)

    def key(row: SummaryRow) -> tuple[int, int]:
        place = place_of(row)
        return groups.index(place.group), place.order

    return sorted(rows, key=key)


def is_known(row: SummaryRow) -> bool:
    """Whether a method and score are one of the systems that are compared."""
    return place_of(row).group != OTHERS
