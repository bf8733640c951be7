"""The HTTP server of the status. It shows nothing to the world: public source addresses get a 403 that says so."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from ratbond.errors import RatbondError
from ratbond.logs import get_logger
from ratbond.models import Family, HostPort
from ratbond.status.model import Status
from ratbond.status.text import render

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

log = get_logger(__name__)

FORBIDDEN = (
    "403: ratbond shows its status to private addresses only, and {source} is a public one. "
    "Ask from the machine itself, from its LAN or through the tunnel.\n"
)


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


async def serve(listener: socket.socket, status: Callable[[], Status]) -> None:
    """Answers until it is cancelled."""
    server = _server(make_app(status))
    try:
        await server.serve(sockets=[listener])
    except asyncio.CancelledError:
        server.should_exit = server.force_exit = True
        raise
    finally:
        listener.close()


def make_app(status: Callable[[], Status]) -> Starlette:
    """The application: ``/status`` and ``/status.txt``."""
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, PlainTextResponse
    from starlette.routing import Route

    def guarded(answer: Callable[[], Response]) -> Callable[[Request], Response]:
        def endpoint(request: Request) -> Response:
            source = request.client.host if request.client else ""
            if is_public(source):
                return PlainTextResponse(FORBIDDEN.format(source=source), status_code=403)
            return answer()

        return endpoint

    async def as_json(request: Request) -> Response:
        return guarded(lambda: JSONResponse(status().to_json()))(request)

    async def as_text(request: Request) -> Response:
        return guarded(lambda: PlainTextResponse(render(status().to_json())))(request)

    return Starlette(routes=[Route("/status", as_json), Route("/status.txt", as_text)])


def is_public(source: str) -> bool:
    """Whether an address belongs to the open Internet; what is no address at all counts as public."""
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return True
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_global


def _server(app: Starlette) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves the process's signals alone: the daemon has its own handlers."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, ws="none", loop="none", timeout_graceful_shutdown=1,
        timeout_keep_alive=5, limit_concurrency=64, server_header=False, proxy_headers=False,
    )  # fmt: skip
    return Server(config)
