"""What the service manager is told: that the daemon is ready, what it is doing, and that it is alive (sd_notify(3)).

OpenWrt's procd and a shell ask for none of it: without NOTIFY_SOCKET nothing is sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final

from ratbond.logs import get_logger
from ratbond.status.model import SessionStatus, Status
from ratbond.status.text import bits

log = get_logger(__name__)

_TELL_S: Final = 5.0  # a person who types `systemctl status` does not mind
_MICROSECONDS: Final = 1_000_000


class ServiceManager:
    """The other end of NOTIFY_SOCKET, if there is one."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._watchdog_s = _watchdog_s(environment) if self._address else None
        self._told = ""

    def ready(self) -> None:
        """The start is over; what is left is the network's doing."""
        self._send("READY=1")

    def stopping(self) -> None:
        """From here on it is putting things back."""
        self._send("STOPPING=1\nSTATUS=putting everything back")

    async def keep_told(self, status: Callable[[], Status]) -> None:
        """Tells the state in words, and feeds the watchdog, until it is cancelled.

        Asking for the state takes an answer of the packet path's thread: one that hangs feeds no watchdog either.
        """
        if not self._address:
            return
        pause_s = min(_TELL_S, self._watchdog_s / 3) if self._watchdog_s else _TELL_S
        while True:
            words = in_words(status())
            message = [f"STATUS={words}"] if words != self._told else []
            self._told = words
            if self._watchdog_s:
                message.append("WATCHDOG=1")
            if message:
                self._send("\n".join(message))
            await asyncio.sleep(pause_s)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the null byte of the abstract namespace.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
                manager.sendto(message.encode(), address)
        except OSError as error:
            log.debug("the service manager does not listen", why=error.strerror)


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """How long the service manager waits for a sign of life; None when it does not (sd_watchdog_enabled(3))."""
    interval = environment.get("WATCHDOG_USEC", "")
    for_process = environment.get("WATCHDOG_PID") or str(os.getpid())
    if not interval.isdecimal() or int(interval) == 0 or for_process != str(os.getpid()):
        return None
    return int(interval) / _MICROSECONDS


def in_words(status: Status) -> str:
    """The state in one line."""
    up = [session for session in status.sessions if session.up]
    tx, rx = (sum(getattr(s.rates, way) for s in up) for way in ("tx_bps", "rx_bps"))
    traffic = f"tx {bits(tx)}, rx {bits(rx)}"
    if status.role == "server":
        of_all = f" of {len(status.clients)}" if status.clients else ""
        if not up and not of_all:
            return f"listening at {status.address}, no client is connected"
        return f"listening at {status.address}, {len(up)}{of_all} connected, {traffic}"
    links = [_links(session) for session in status.sessions if session.links]
    if not up:
        return f"waiting for {status.address}: {', '.join(links) or 'no WAN link'}"
    return f"the bond is up: {', '.join(links)}, {traffic}"


def _links(session: SessionStatus) -> str:
    """``wan1 up, wan2 connecting``; conversations of one link count once."""
    states = {link.name: link.state for link in session.links if link.state != "up"}
    states |= {link.name: link.state for link in session.links if link.state == "up"}
    return ", ".join(f"{name} {states[name]}" for name in sorted(states))
