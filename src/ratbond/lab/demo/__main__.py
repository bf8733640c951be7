"""``python -m ratbond.lab.demo``."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from ratbond.lab import state
from ratbond.lab.demo import acts, report
from ratbond.lab.demo.errors import DemoError, Interrupted
from ratbond.lab.demo.picture import Picture, Scene
from ratbond.lab.errors import LabError
from ratbond.lab.lab import Lab

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Run the demo; its errors are one line each."""
    options = _options()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        _check_system(options.name)
        _check_writable(options.picture)
        _run(options)
    except (DemoError, LabError) as error:
        _end(str(error), 1)
    except BrokenPipeError:  # nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Interrupted as signalled:
        _end("interrupted; all that it made is gone", 128 + signalled.number)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make demo", description="Bond two emulated WANs on this machine, and pull one. Needs root."
    )
    parser.add_argument("--name", default="demo", help="of the lab; lets several run at once [demo]")
    parser.add_argument("--seconds", type=_seconds, default=5, help="that each download is measured for [5]")
    parser.add_argument("--plain", action="store_true", help="print lines, as when the output is no terminal")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="keep what it shows while a link is pulled, as an SVG"
    )
    return parser.parse_args()


def _seconds(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 1 to 600")
    return int(text)


def _check_system(name: str) -> None:
    if os.geteuid() != 0:
        raise DemoError(f"network namespaces need root; run: sudo {sys.executable} -m ratbond.lab.demo")
    missing = [command for command in ("ip", "ethtool", "iperf3", "ping") if not shutil.which(command)]
    if missing:
        raise DemoError(f"needs {', '.join(missing)}; `make demo` installs all it needs")
    _claim(name)
    former = state.load(name)
    if former is not None and former.is_alive():
        raise DemoError(f"a lab {name!r} is up; take it down with: ratbond lab down --name {name}")


def _check_writable(file: Path | None) -> None:
    """Find out before a minute has gone by."""
    if file is not None and not (file.parent.is_dir() and os.access(file.parent, os.W_OK)):
        raise DemoError(f"cannot write to {file.parent}; give another file with --picture")


def _claim(name: str) -> None:
    """Refuse to run twice under one name. The claim ends with the process, however that ends, and leaves no file."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0ratbond-demo.{name}")
    except OSError:
        raise DemoError(f"a demo {name!r} is running on this machine already; wait for its end") from None
    os.set_inheritable(claim.detach(), False)  # open until the process ends


def _run(options: argparse.Namespace) -> None:
    console = Console(highlight=False, force_terminal=False if options.plain else None)
    picture = Picture(Scene(acts.link_views()), console)
    timing = acts.Timing.of(options.seconds)
    try:
        try:
            with picture:
                found = acts.perform(options.name, picture, timing)
        finally:
            _ignore_signals()
    finally:
        # Where a signal struck in the middle of taking it down. No second one can: see _interrupt.
        Lab.remove(options.name)
    if options.picture is not None and picture.kept_svg is not None:
        options.picture.write_text(picture.kept_svg)
    console.print()
    console.print(report.table(found))
    for line in report.words(found):
        console.print(line, soft_wrap=True)
    console.print(f"\nIt took {found.took_s:.0f} s, and nothing of it is left on this machine.")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """The first signal ends the demo; what comes while it cleans up after itself is ignored."""
    del frame
    _ignore_signals()
    raise Interrupted(number)


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end(text: str, code: int) -> NoReturn:
    sys.stderr.write(f"demo: {' '.join(text.split())}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
