"""Where the server is: its addresses, asked of the name service as often as it takes."""

from __future__ import annotations

import asyncio
import socket
import threading

from ratbond.models import Family, HostPort

Remote = tuple[str, int]


class ResolutionError(Exception):
    """The name service has no answer; the text says why."""


async def resolve(server: HostPort) -> dict[Family, Remote]:
    """The server's first address of each family, the preferred family first. Raises ResolutionError."""
    literal = server.literal
    if literal:
        return {Family.of(literal): (str(literal), server.port)}
    found: dict[Family, Remote] = {}
    for family, _, _, _, address in await _getaddrinfo(server):
        number = Family.V4 if family == socket.AF_INET else Family.V6
        found.setdefault(number, (str(address[0]), server.port))
    return found


Answer = list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str | int, ...]]]


async def _getaddrinfo(server: HostPort) -> Answer:
    """getaddrinfo(3) in a thread that nobody waits for at exit: a dead name server holds it for half a minute."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Answer] = loop.create_future()

    def settle(result: Answer | OSError) -> None:
        if answer.done():
            return
        if isinstance(result, OSError):
            answer.set_exception(ResolutionError(f"cannot find {server.host}: {result.strerror}"))
        else:
            answer.set_result(result)

    def ask() -> None:
        result: Answer | OSError
        try:
            result = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)  # type: ignore[assignment]
        except OSError as error:
            result = error
        except UnicodeError:
            result = OSError(0, "not a valid host name")
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    return await answer
