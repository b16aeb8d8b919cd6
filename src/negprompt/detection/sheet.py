"""A contact sheet of the images that belong least."""

from __future__ import annotations

import heapq
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from negprompt.data.decoding import decode
from negprompt.detection.stream import Answer
from negprompt.errors import DataError
from negprompt.runs.folder import atomic_write

_COLUMNS, _SIDE, _TEXT, _GAP = 8, 144, 42, 8
_LETTERS = 23  # of the built-in font in a column
_ELSEWHERE = "sheet=<file>"


class Least:
    """The `count` answers with the lowest scores of a stream."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._heap: list[tuple[float, int, Answer]] = []
        self._seen = 0

    def add(self, answers: Sequence[Answer]) -> None:
        """Look at one batch."""
        for answer in answers:
            self._seen += 1
            if answer.score is not None:
                entry = (-answer.score, -self._seen, answer)  # of equal scores the first
                if len(self._heap) < self._count:
                    heapq.heappush(self._heap, entry)
                else:
                    heapq.heappushpop(self._heap, entry)

    def ordered(self) -> list[Answer]:
        """Lowest score first."""
        return [answer for _, _, answer in sorted(self._heap, key=lambda entry: (-entry[0], -entry[1]))]


def draw_sheet(answers: Sequence[Answer], path: Path) -> None:
    """Draw images in rows, each with its name, score and nearest class; a file that is there is replaced.

    Raises:
        RunError: it cannot be written.
    """
    columns = max(1, min(_COLUMNS, len(answers)))
    rows = max(1, -(-len(answers) // columns))
    width, height = columns * (_SIDE + _GAP) + _GAP, rows * (_SIDE + _TEXT + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for place, answer in enumerate(answers):
        left = _GAP + place % columns * (_SIDE + _GAP)
        top = _GAP + place // columns * (_SIDE + _TEXT + _GAP)
        draw.rectangle((left, top, left + _SIDE - 1, top + _SIDE - 1), outline="#cccccc")
        if (image := _thumbnail(answer.path)) is not None:
            sheet.paste(image, (left + (_SIDE - image.width) // 2, top + (_SIDE - image.height) // 2))
        p_value = "" if answer.p_value is None else f"  p {answer.p_value:.3g}"
        texts = (Path(answer.path).name, f"{answer.score:.5g}{p_value}", f"{answer.class_name}?")
        for line, text in enumerate(texts):
            printable = text.encode("ascii", "replace").decode()
            short = printable if len(printable) <= _LETTERS else f"{printable[: _LETTERS - 2]}.."
            draw.text((left, top + _SIDE + 2 + 13 * line), short, fill="black")
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    atomic_write(path, buffer.getvalue(), _ELSEWHERE)


def _thumbnail(path: str) -> Image.Image | None:
    """The picture at its size on the sheet; None where it is gone by now."""
    try:
        image = decode(Path(path).read_bytes(), path, "the sheet")
    except (OSError, DataError):
        return None
    image.thumbnail((_SIDE - 2, _SIDE - 2))
    return image
