"""The demo as a terminal shows it while it runs: live where that is possible, line by line where not."""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ratbond.lab.demo.meter import EVERY_S, Meter
from ratbond.lab.demo.probe import Progress

if TYPE_CHECKING:
    from types import TracebackType

_BARS = " ▁▂▃▄▅▆▇█"
_HISTORY = 60  # bars: 15 s
_KEPT_LINES = 8
_COLOURS = ("cyan", "magenta")
_PLAIN_EVERY_S = 2.0
_KEPT_WIDTH = 100  # columns of a picture that is kept
# Rich's own template names fonts on the web; a file in a repository shows itself alone.
_SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
  <style>
    .{unique_id}-matrix {{ font: {char_height}px monospace; line-height: {line_height}px; white-space: pre }}
    .{unique_id}-title {{ font: bold 18px sans-serif }}
    {styles}
  </style>
  <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
  </defs>
  {chrome}
  <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">{matrix}</g>
  </g>
</svg>
"""


@dataclass
class LinkView:
    """A link as it is shown."""

    name: str
    what: str  # what it is like, in the lab's words
    full_mbps: float  # a bar of full height
    state: str = "not bonded"


@dataclass
class Scene:
    """What is to be seen now. The demo writes it, the picture reads it; each field is replaced whole."""

    links: list[LinkView]
    began_s: float = field(default_factory=time.monotonic)
    meter: Meter | None = None
    call: Progress | None = None
    now: str = ""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))


def bar(rate_mbps: float, full_mbps: float) -> str:
    """One character whose height is a rate; whatever flows at all is seen."""
    height = rate_mbps / full_mbps * (len(_BARS) - 1)
    return _BARS[0] if rate_mbps <= 0 else _BARS[min(max(round(height), 1), len(_BARS) - 1)]


class Picture:
    """Shows a scene as long as its ``with`` block lasts."""

    def __init__(self, scene: Scene, console: Console) -> None:
        self.scene = scene
        self.kept_svg: str | None = None
        self._console = console
        alive = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(
            get_renderable=lambda: _draw(scene), console=console, refresh_per_second=4, transient=True
        ) if alive else None  # fmt: skip
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def act(self, text: str) -> None:
        """Say what happens now."""
        self.scene.now = text
        self._print(f"-- {text}")

    def note(self, text: str) -> None:
        """Say what has come of it."""
        self.scene.lines.append(text)
        self._print(f"   {text}")

    def keep(self) -> None:
        """Keep what a terminal shows at this moment, as an SVG."""
        paper = Console(
            record=True, file=io.StringIO(), width=_KEPT_WIDTH, force_terminal=True, highlight=False
        )
        paper.print(_draw(self.scene))
        self.kept_svg = paper.export_svg(title="make demo", code_format=_SVG, unique_id="demo")

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        else:
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        else:
            self._stop.set()
            self._ticker.join()

    def _print(self, text: str) -> None:
        if self._live is None:
            self._console.print(Text(text), soft_wrap=True)

    def _tick(self) -> None:
        while not self._stop.wait(_PLAIN_EVERY_S):
            if self.scene.meter is not None:
                self._print(f"   {_rates_line(self.scene, self.scene.meter)}")


def _mean(rates: list[float], seconds: float) -> float:
    last = rates[-max(1, round(seconds / EVERY_S)) :]
    return sum(last) / len(last) if last else 0.0


def _rates_line(scene: Scene, meter: Meter) -> str:
    parts = [f"{time.monotonic() - scene.began_s:3.0f} s"]
    for number, link in enumerate(scene.links):
        down, up = (
            _mean(rates, _PLAIN_EVERY_S) for rates in (meter.down_mbps(number), meter.up_mbps(number))
        )
        parts.append(f"{link.name} down {down:5.1f} up {up:4.1f} Mbit/s ({link.state})")
    if scene.call is not None:
        parts.append(_call_text(scene.call))
    return "  ".join(parts)


def _call_text(call: Progress) -> str:
    return f"call: {call.sent:,} sent, {call.returned:,} back"


def _draw(scene: Scene) -> RenderableType:
    parts: list[RenderableType] = [
        Text.assemble(("ratbond demo", "bold"), f"   {time.monotonic() - scene.began_s:3.0f} s   ", scene.now)
    ]
    parts += [_draw_link(scene, number) for number in range(len(scene.links))]
    if scene.meter is not None:
        together = sum(_mean(scene.meter.down_mbps(number), 1.0) for number in range(len(scene.links)))
        parts.append(Text(f"\ntogether {together:6.1f} Mbit/s down   ", style="bold"))
    if scene.call is not None:
        parts.append(Text(_call_text(scene.call)))
    parts.append(Text())
    parts += [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in list(scene.lines)]
    return Group(*parts)


def _draw_link(scene: Scene, number: int) -> RenderableType:
    link = scene.links[number]
    colour = _COLOURS[number % len(_COLOURS)]
    state_style = {"in the bond": "green", "not bonded": "dim"}.get(link.state, "bold red")
    grid = Table.grid(padding=(0, 1))
    heading = Text.assemble(
        "\n", (link.name, f"bold {colour}"), f"  {link.what}  ", (link.state, state_style)
    )
    if scene.meter is not None:
        for name, rates in (
            ("down", scene.meter.down_mbps(number)),
            ("up", scene.meter.up_mbps(number)),
        ):
            bars = "".join(bar(rate, link.full_mbps) for rate in rates[-_HISTORY:])
            grid.add_row(
                f"  {name:4}",
                f"{_mean(rates, 1.0):6.1f} Mbit/s",
                Text(bars.rjust(_HISTORY), colour, no_wrap=True),
            )
    return Group(heading, grid)
