"""Tells when the network has changed: netlink notifications, gathered for a moment, and a rescan in case one was lost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import socket
from collections.abc import AsyncIterator
from typing import Final

from ratbond.links.model import Snapshot
from ratbond.links.netlink import read_snapshot
from ratbond.logs import get_logger

log = get_logger(__name__)

# RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE of rtnetlink(7).
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_GATHER_S: Final = 0.05  # one event seldom comes alone: an address brings its routes
_RESCAN_S: Final = 15.0
_READ_WITHIN_S: Final = 5.0
_TELL_AFTER: Final = 20  # attempts


class Watcher:
    """The network's state as it changes: ``async for snapshot in watcher.snapshots()``.

    The first snapshot comes at once; then one after each change, and one every 15 s, even when nothing was told.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.setblocking(False)
        self._socket.bind((0, _GROUPS))
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._socket, self._drain)

    def close(self) -> None:
        """Stops listening."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def poke(self) -> None:
        """Asks for a new snapshot now."""
        self._changed.set()

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """See the class."""
        while True:
            self._changed.clear()
            yield await self.read()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    _RESCAN_S
                ):  # not wait_for, which loses a cancellation (Python issue 86296)
                    await self._changed.wait()
                await asyncio.sleep(_GATHER_S)

    async def read(self) -> Snapshot:
        """A snapshot that no change has torn."""
        from pyroute2 import NetlinkError

        for attempt in itertools.count(1):
            try:
                async with asyncio.timeout(_READ_WITHIN_S):
                    return await read_snapshot()
            except (OSError, NetlinkError) as error:
                told = log.warning if attempt % _TELL_AFTER == 0 else log.debug
                told("cannot read the network's state; trying again", why=str(error) or "no answer")
                await asyncio.sleep(_GATHER_S)
        raise AssertionError  # a count does not end

    def _drain(self) -> None:
        """Reads all notifications away: what they say is read from the kernel anew, so that none can mislead."""
        while True:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # that one means: some were lost, look for yourself
                    raise
        self._changed.set()
