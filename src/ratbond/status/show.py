"""``ratbond status``."""

from __future__ import annotations

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
    """Prints the status, once or until interrupted. Raises RatbondError."""
    while True:
        status = fetch(address)
        text = json.dumps(status, indent=None if watch else 2) + "\n" if as_json else render(status)
        if watch and not as_json and sys.stdout.isatty():
            text = _CLEAR + text
        sys.stdout.write(text)
        sys.stdout.flush()
        if not watch:
            return
        try:
            time.sleep(_INTERVAL_S)
        except KeyboardInterrupt:
            return
