"""Answers as lines of a csv or JSON lines file, whole up to the last batch whatever ends the command."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self, TextIO

import numpy as np

from negprompt.detection.calibration import discovery_cut
from negprompt.detection.stream import Answer
from negprompt.errors import ConfigError, RunError
from negprompt.runs.folder import atomic_write, explained

Format = Literal[".csv", ".jsonl"]
FORMATS: tuple[Format, ...] = (".csv", ".jsonl")
ELSEWHERE = "output=<file>"


def format_of(output: Path) -> Format:
    """What a file's name asks for.

    Raises:
        ConfigError: neither csv nor JSON lines.
    """
    for known in FORMATS:
        if output.suffix.lower() == known:
            return known
    msg = f"output={output}: the name ends with .csv or .jsonl."
    raise ConfigError(msg)


def line_of(answer: Answer, form: Format) -> str:
    """One line, with its end; what is not known is empty in csv and null in JSON."""
    if form == ".jsonl":
        return json.dumps(answer._asdict(), ensure_ascii=True) + "\n"
    return _csv_line(["" if value is None else _text(value) for value in answer])


class AnswerFile:
    """A new file that answers are added to, flushed batch by batch.

    Raises:
        RunError: it exists already, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._form = format_of(path)
        if path.exists():
            msg = f"output={path} exists already and is left as it is: name another file, or remove this one."
            raise RunError(msg)
        with explained(path, ELSEWHERE):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO = path.open("x", encoding="utf-8", errors="surrogateescape", newline="")
            self._file.write(_csv_line(Answer._fields) if self._form == ".csv" else "")
            self._file.flush()

    def __enter__(self) -> Self:
        """The open file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._file.close()

    def add(self, answers: Sequence[Answer]) -> None:
        """Write one batch.

        Raises:
            RunError: the disk is full, or gone.
        """
        with explained(self.path, ELSEWHERE):
            self._file.write("".join(line_of(answer, self._form) for answer in answers))
            self._file.flush()


class Discoveries:
    """Benjamini-Hochberg over a stream: conformal p-values have few values, so that counts of them say it all."""

    def __init__(self) -> None:
        self._counts: Counter[float] = Counter()

    def add(self, answers: Sequence[Answer]) -> None:
        """Count one batch."""
        self._counts.update(answer.p_value for answer in answers if answer.p_value is not None)

    def up_to(self, cut: float) -> int:
        """How many images have a p-value of at most `cut`."""
        return sum(count for p_value, count in self._counts.items() if p_value <= cut)

    def cut(self, rate: float) -> float:
        """Largest p-value that is rejected, 0 for none."""
        distinct = sorted(self._counts)
        return discovery_cut(np.array(distinct), np.array([self._counts[p] for p in distinct], np.int64), rate)


def decided(path: Path, cut: float) -> None:
    """Fill in `is_ood` of a finished file: p-values up to `cut`. The file is replaced as a whole.

    Raises:
        RunError: it cannot be written.
    """
    form = format_of(path)

    def write(file: BinaryIO) -> None:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as before:
            for line in _filled(before, form, cut):
                file.write(line.encode("utf-8", "surrogateescape"))

    atomic_write(path, write, ELSEWHERE)


def _filled(file: TextIO, form: Format, cut: float) -> Iterator[str]:
    if form == ".jsonl":
        for line in file:
            row: dict[str, Any] = json.loads(line)
            if row["p_value"] is not None:
                row["is_ood"] = row["p_value"] <= cut
            yield json.dumps(row, ensure_ascii=True) + "\n"
        return
    rows = csv.reader(file)
    yield _csv_line(next(rows))
    p_value, is_ood = Answer._fields.index("p_value"), Answer._fields.index("is_ood")
    for values in rows:
        if values[p_value]:
            values[is_ood] = _text(float(values[p_value]) <= cut)
        yield _csv_line(values)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)


def _csv_line(values: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()
