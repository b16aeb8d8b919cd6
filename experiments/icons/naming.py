"""From an icon's file name to the words a person would say."""

from __future__ import annotations

import re

STYLE_WORDS = frozenset(
    [
        "outline",
        "outlined",
        "filled",
        "fill",
        "solid",
        "line",
        "linear",
        "duotone",
        "twotone",
        "duo",
        "tone",
        "bold",
        "thin",
        "broken",
        "rounded",
        "sharp",
        "alt",
        "color",
        "colour",
        "flat",
        "remix",
        "negative",
        "stroke",
        "o",
        "monotone",
        "twoway",
        "px",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
    ]
)
STYLE_PREFIXES = frozenset(["baseline", "outline", "round", "sharp", "twotone"])
SKIN_OR_HAIR = re.compile(r"(skin-tone|medium-light|medium-dark|-(light|medium|dark)$)")
_SIZE = re.compile(r"^\d+(px)?$|^[a-z]?\d+$|^x?\d+x?\d*$")
_TRAILING_DIGITS = re.compile(r"(?<=[a-z]{3})\d+$")
MAX_WORDS = 5
"""Longer names are search keywords glued together (an old habit of one designer), not names."""


def split_style(icon: str, set_suffixes: tuple[str, ...] = (), prefixed: bool = False) -> tuple[str, str]:
    """Split an icon name into the noun phrase and the style that was cut off.

    Args:
        icon: name inside its set, for example ``apple-whole-24-filled``.
        set_suffixes: style suffixes that the set itself declares, longest first.
        prefixed: whether the set puts styles in front (``baseline-home``).

    Returns:
        The phrase with spaces (may be empty) and the style (sizes removed), both lower case.

    Example:
        >>> split_style("apple-24-filled")
        ('apple', 'filled')
        >>> split_style("traffic-light")
        ('traffic light', '')
    """
    cut: list[str] = []
    name = icon.lower()
    for suffix in set_suffixes:
        if name.endswith(f"-{suffix}"):
            name = name[: -len(suffix) - 1]
            cut.append(re.sub(r"\d+(px)?-?", "", suffix))
            break
    words = [word for word in re.split(r"[-_]", name) if word]
    if prefixed and len(words) > 1 and words[0] in STYLE_PREFIXES:
        cut.append(words.pop(0))
    while len(words) > 1 and (words[-1] in STYLE_WORDS or _SIZE.match(words[-1])):
        word = words.pop()
        if word in STYLE_WORDS:
            cut.append(word)
    if words:
        words[-1] = _TRAILING_DIGITS.sub("", words[-1])
    return " ".join(words), " ".join(sorted(word for word in cut if word))
