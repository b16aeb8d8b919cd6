"""The report of `negprompt data verify`: a table of the sets, then problems set by set, each with what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from negprompt.data.base import Problem
from negprompt.data.verification.overlaps import EQUALS
from negprompt.data.verification.verify import Report, SetReport
from negprompt.data.verification.wording import counted

_INDENT, _DEEPER = " " * 2, " " * 6


def show(console: Console, title: str, report: Report) -> None:
    """Print a report that fits the terminal's width; paths are never broken, so that they can be copied."""
    _print(console, Text(title, "bold"))
    if report.sets:
        console.print(_table(report.sets, console))
    cleaned = [_clean(problem, console.encoding) for problem in report.problems]
    for name in dict.fromkeys(one.set_name for one in cleaned):
        _print(console, Text(name, "bold"))
        of_set = sorted((one for one in cleaned if one.set_name == name), key=lambda one: not one.severe)
        fixes = list(dict.fromkeys(one.fix for one in of_set))
        for fix in fixes:
            for line in _lines([one for one in of_set if one.fix == fix], console.width):
                _print(console, line)
        console.print()


def verdict(report: Report) -> str:
    """Numbers of problems, warnings and what was looked at, in one line.

    Example:
        >>> verdict(Report((), ()))
        'no problem: no set could be looked at'
    """
    severe = len(report.severe)
    warnings = len(report.problems) - severe
    problems = counted(severe, "problem") if severe else "no problem"
    problems += f" and {counted(warnings, 'warning')}" if warnings else ""
    if not report.sets:
        return f"{problems}: no set could be looked at"
    pictures = counted(sum(one.pictures for one in report.sets), "picture")
    return f"{problems} in {pictures} of {counted(len(report.sets), 'set')}"


def printable(text: str, encoding: str) -> str:
    """Text that any terminal takes: names of files may hold whatever bytes a disk has, control characters too."""
    plain = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return plain.encode(encoding, "backslashreplace").decode(encoding)


def _print(console: Console, line: Text) -> None:
    console.print(line, soft_wrap=True)


def _clean(problem: Problem, encoding: str) -> Problem:
    return problem._replace(
        set_name=printable(problem.set_name, encoding),
        what=printable(problem.what, encoding),
        fix=printable(problem.fix, encoding),
        examples=tuple(printable(example, encoding) for example in problem.examples),
    )


def _lines(problems: Sequence[Problem], width: int) -> Iterator[Text]:
    """Problems of one set that have one remedy, which is said once."""
    for problem in problems:
        mark, style = ("problem", "red") if problem.severe else ("warning", "yellow")
        colon = ":" if problem.examples else ""
        yield from _wrapped(f"{mark}: ", style, f"{problem.what}{colon}", width)
        for example in problem.examples:
            yield from _example(example, width)
    if problems[0].fix:
        yield from _wrapped("fix: ", "green", problems[0].fix, width)


def _wrapped(mark: str, style: str, text: str, width: int) -> Iterator[Text]:
    first = _INDENT + mark
    lines = textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=_DEEPER, break_long_words=False, break_on_hyphens=False
    )
    for place, line in enumerate(lines):
        shown = Text(line)
        if not place:
            shown.stylize(style, len(_INDENT), len(first))
        yield shown


def _example(text: str, width: int) -> Iterator[Text]:
    """A path, or two that are equal: side by side or one below the other."""
    if len(_DEEPER + text) <= width:
        yield Text(_DEEPER + text)
        return
    one, *other = text.split(EQUALS, 1)
    yield Text(_DEEPER + one)
    yield from (Text(f"{_DEEPER}{EQUALS.lstrip()}{path}") for path in other)


def _table(sets: Sequence[SetReport], console: Console) -> Table:
    with_classes = any(one.used_classes for one in sets)
    partly = any(one.read != one.pictures for one in sets)
    columns: dict[str, list[str]] = {
        "set": [one.name for one in sets],
        "pictures": [f"{one.pictures:,}" for one in sets],
    }
    if with_classes:
        columns["classes"] = [_of_classes(one) for one in sets]
    if partly:
        columns["read"] = [f"{one.read:,}" for one in sets]
    columns["unusable"] = [f"{one.unreadable:,}" if one.unreadable else "" for one in sets]
    columns["not RGB"] = [", ".join(f"{count:,} {mode}" for mode, count in sorted(one.modes.items())) for one in sets]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        number = name not in ("set", "not RGB")
        table.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
    encoding = console.encoding
    for row in zip(*columns.values(), strict=True):
        table.add_row(*(Text(printable(cell, encoding)) for cell in row))
    return table


def _of_classes(one: SetReport) -> str:
    if not one.used_classes:
        return ""
    whole = one.classes == one.used_classes
    return f"{one.classes:,}" if whole else f"{one.classes:,} of {one.used_classes:,}"
