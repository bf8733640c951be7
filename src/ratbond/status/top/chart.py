"""Sparklines and stacked bars out of block characters, an eighth of a row fine; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.style import Style
from rich.text import Text

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_PLAIN: Final = " .:-=+*##"  # where the terminal knows no blocks
_STEPS: Final = len(_BLOCKS) - 1

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Pen:
    """What the terminal can show."""

    blocks: bool = True

    def spark(self, values: Values, width: int, most: float, style: str) -> Text:
        """One row, the newest at the right; anything above nothing is seen."""
        ramp = _BLOCKS if self.blocks else _PLAIN
        cells = [_step(value, most) for value in _last(values, width)]
        return Text("".join(ramp[cell] for cell in cells), style)

    def stack(self, layers: Sequence[tuple[Values, str]], width: int, rows: int, most: float) -> list[Text]:
        """Layers (values, colour) over each other, from the top row down: the top is the sum."""
        moments = [_last(values, width) for values, _ in layers]
        colours = [colour for _, colour in layers]
        lines = [Text() for _ in range(rows)]
        for column in range(width):
            tops = _tops([moment[column] or 0.0 for moment in moments], rows, most)
            for row, line in enumerate(reversed(lines)):
                line.append(*self._cell(tops, colours, row * _STEPS))
        return lines

    def _cell(self, tops: Sequence[int], colours: Sequence[str], floor: int) -> tuple[str, Style]:
        """A cell shows two layers at most: the block is the lower one, what is behind it the upper one."""
        whole = tops[-1] - floor if tops else 0
        if whole <= 0:
            return " ", Style.null()
        ramp = _BLOCKS if self.blocks else _PLAIN
        inside = [i for i, top in enumerate(tops) if top > floor and (i == 0 or top > tops[i - 1])]
        lowest, height = inside[0], min(tops[inside[0]] - floor, _STEPS)
        if whole >= _STEPS > height and self.blocks:
            return ramp[height], Style(color=colours[lowest], bgcolor=colours[inside[1]])
        main = lowest if 2 * height >= min(whole, _STEPS) else inside[1]
        return ramp[min(whole, _STEPS)], Style(color=colours[main])


def _tops(values: Sequence[float], rows: int, most: float) -> list[int]:
    """Where each layer ends, in eighths of a row from the bottom."""
    tops, total = [], 0.0
    for value in values:
        total += value
        tops.append(_step(total, most, rows))
    return tops


def _step(value: float | None, most: float, rows: int = 1) -> int:
    if not value or most <= 0:
        return 0
    return max(1, min(rows * _STEPS, round(rows * _STEPS * value / most)))


def _last(values: Values, width: int) -> list[float | None]:
    taken = list(values)[-width:] if width > 0 else []
    return [None] * (width - len(taken)) + taken
