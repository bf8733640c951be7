"""The status server's socket, and the server behind it once somebody asks. What it serves is :mod:`ratbond.status.app`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ratbond.errors import RatbondError
from ratbond.logs import get_logger
from ratbond.models import Family, HostPort
from ratbond.status.access import Access
from ratbond.status.feed import Feed
from ratbond.status.model import Status

if TYPE_CHECKING:
    import uvicorn

log = get_logger(__name__)


def open_socket(address: HostPort, *, is_default: bool) -> socket.socket | None:
    """A listening socket; None when the default port is taken, which is no reason not to bond. Raises RatbondError."""
    literal = address.literal
    if literal is None:
        raise RatbondError(
            f"--http-listen-addr: {address.host!r} is a name; write an address, such as 127.0.0.1:8091"
        )
    family = socket.AF_INET if Family.of(literal) is Family.V4 else socket.AF_INET6
    try:
        listener = socket.create_server((str(literal), address.port), family=family, backlog=16)
    except OSError as error:
        if is_default and error.errno == errno.EADDRINUSE:
            log.warning(
                "no status server: its default address is taken (--http-listen-addr gives another)",
                address=str(address),
            )
            return None
        raise RatbondError(
            f"--http-listen-addr {address}: {os.strerror(error.errno or 0)}; give another address, or `disable`"
        ) from None
    listener.setblocking(False)
    return listener


async def serve(listener: socket.socket, status: Callable[[], Status], feed: Feed, access: Access) -> None:
    """Answers until it is cancelled. What answers is loaded when the first connection waits: it takes 15 MB."""
    try:
        await _somebody_asks(listener)
        server = await asyncio.to_thread(_server, status, feed, access)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            feed.close()  # or those who follow would be cut off in the middle, with a traceback each
            server.should_exit = True
            await serving
            raise
    finally:
        listener.close()


async def _somebody_asks(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    waiting = asyncio.Event()
    loop.add_reader(listener, waiting.set)
    try:
        await waiting.wait()
    finally:
        loop.remove_reader(listener)


def _server(status: Callable[[], Status], feed: Feed, access: Access) -> uvicorn.Server:
    import uvicorn

    from ratbond.status.app import make_app

    class Server(uvicorn.Server):
        """Leaves the process's signals alone: the daemon has its own handlers."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(
        make_app(status, feed, access), lifespan="off", log_config=None, access_log=False, http="h11", ws="none",
        loop="none", timeout_graceful_shutdown=1, timeout_keep_alive=5, limit_concurrency=64, server_header=False,
        proxy_headers=False,
    )  # fmt: skip
    config.load()
    return Server(config)
