"""Runs ``ratbond top``: a live screen on a terminal, one picture anywhere else."""

from __future__ import annotations

import copy
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from rich.console import Console, Group
from rich.live import Live

from ratbond.models import HostPort
from ratbond.status.top.chart import Pen
from ratbond.status.top.keys import press, split
from ratbond.status.top.picture import Picture
from ratbond.status.top.stream import Follower, messages
from ratbond.status.top.view import Choices, screen

_LOOK_S: Final = 0.25  # for a new size of the window
_PIPE_WIDTH: Final = 120


def run(address: HostPort) -> None:
    """Shows until a key ends it; once where there is no terminal to draw on. Raises RatbondError."""
    console = Console(highlight=False)
    if console.is_terminal and not console.is_dumb_terminal and sys.stdin.isatty():
        _live(address, console)
    else:
        _once(address)


def _once(address: HostPort) -> None:
    width = int(os.environ["COLUMNS"]) if os.environ.get("COLUMNS", "").isdigit() else _PIPE_WIDTH
    console = Console(width=width, highlight=False, no_color=True)
    picture = Picture()
    for name, data in messages(address):
        picture.take(name, data)
        if name == "status":
            break
    lines = screen(picture, Choices(), _pen(console), width)
    sys.stdout.write("".join(line.plain.rstrip() + "\n" for line in lines))
    sys.stdout.flush()


def _live(address: HostPort, console: Console) -> None:
    for name, _ in messages(address):  # or the first error would be drawn, and not told
        if name == "history":
            break
    follower = Follower(address)
    try:
        with _raw_keys(), _signals() as caught, Live(
            console=console, screen=True, auto_refresh=False, vertical_overflow="crop"
        ) as live:  # fmt: skip
            _loop(follower, console, live, caught)
    finally:
        follower.close()


def _loop(follower: Follower, console: Console, live: Live, caught: list[int]) -> None:
    picture, choices, pen = Picture(), Choices(), _pen(console)
    shown = picture
    size, dirty = None, True
    while signal.SIGTERM not in caught:
        if signal.SIGTSTP in caught:
            caught.clear()
            _suspend(live)
            dirty = True
        if dirty or console.size != size:
            size = console.size
            live.update(Group(*screen(shown, choices, pen, size.width, size.height)), refresh=True)
        ready, _, _ = select.select([sys.stdin, follower.wake_fd], [], [], _LOOK_S)
        dirty = bool(ready)
        if sys.stdin in ready:
            typed = os.read(sys.stdin.fileno(), 256).decode(errors="ignore")
            if not typed or not all(press(key, choices, shown) for key in split(typed)):
                return
        for name, data in follower.take():
            picture.take(name, data)
        if not choices.paused:
            shown = picture
        elif shown is picture:
            shown = copy.deepcopy(picture)


def _pen(console: Console) -> Pen:
    # The kernel's own console has no glyphs for eighths.
    blocks = (console.encoding or "").lower().startswith("utf") and os.environ.get("TERM") != "linux"
    return Pen(blocks=blocks)


@contextmanager
def _raw_keys() -> Iterator[None]:
    """Keys come one by one and are not echoed, until the end, however it comes."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects what would end or stop the program in the middle of a line; the terminal is put right first."""
    caught: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        caught.append(signal.SIGTSTP if number == signal.SIGTSTP else signal.SIGTERM)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _suspend(live: Live) -> None:
    """Ctrl-Z: the shell gets its screen and its settings back until the program is continued."""
    fd = sys.stdin.fileno()
    live.stop()
    mode = termios.tcgetattr(fd)
    shell = list(mode)
    shell[3] |= termios.ICANON | termios.ECHO
    termios.tcsetattr(fd, termios.TCSADRAIN, shell)
    os.kill(os.getpid(), signal.SIGSTOP)
    termios.tcsetattr(fd, termios.TCSADRAIN, mode)
    live.start()
