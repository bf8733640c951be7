"""``ratbond status``."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import Final

from ratbond.models import HostPort
from ratbond.status.client import fetch
from ratbond.status.text import render

_CLEAR: Final = "\x1b[H\x1b[2J"
_INTERVAL_S: Final = 1.0


def show(address: HostPort, *, as_json: bool, watch: bool) -> None:
    """Prints the status, once or until interrupted, which ends a watch well. Raises RatbondError."""
    if not watch:
        _print(address, as_json=as_json, indent=2)
        return
    clear = "" if as_json or not sys.stdout.isatty() else _CLEAR
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            _print(address, as_json=as_json, before=clear)
            time.sleep(_INTERVAL_S)


def _print(address: HostPort, *, as_json: bool, indent: int | None = None, before: str = "") -> None:
    status = fetch(address)
    text = json.dumps(status, indent=indent) + "\n" if as_json else render(status)
    sys.stdout.write(before + text)
    sys.stdout.flush()
