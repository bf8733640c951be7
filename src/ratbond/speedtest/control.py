"""How a test and the client that runs on this machine speak: lines of JSON over a socket of the network namespace.

``{"ask": "state"}`` is answered with the status and where the server is in the tunnel. ``{"ask": "pin", "link": "wan1"}`` has
everything go over that link, as long as the connection stays and until another; ``"link": null`` lets go of it. An answer with
``error`` says why not. The socket is an abstract one (unix(7)), which leaves no file behind, and both sides ask the kernel who the
other is: root, the user that the client runs as, and nobody else.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ratbond.errors import RatbondError
from ratbond.logs import get_logger
from ratbond.ownership import service_user
from ratbond.speedtest.connections import as_tasks

log = get_logger(__name__)

_NAME: Final = re.compile(r"@ratbond-control-(client-\d+)$", re.MULTILINE)
_LIMIT: Final = 1 << 20
_ANSWER_WITHIN_S: Final = 5.0
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid

State = Callable[[], dict[str, Any]]
Pin = Callable[[str | None], str]  # the link or none; why it cannot be, or nothing


class Control:
    """The client's side."""

    def __init__(self, end: str, state: State, pin: Pin) -> None:
        self._end = end
        self._state = state
        self._pin = pin
        self._holder: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Answers until it is cancelled."""
        try:
            server = await asyncio.start_unix_server(
                as_tasks(self._connected), _address(self._end), limit=_LIMIT
            )
        except OSError as error:
            log.warning("`ratbond speedtest` will not find this client", why=error.strerror)
            return
        async with server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if _may(_peer(writer)):
                while line := await reader.readline():
                    writer.write(json.dumps(self._answer(line, writer)).encode() + b"\n")
                    await writer.drain()
        except (OSError, ValueError) as error:
            log.debug("a control connection ended", why=str(error))
        finally:
            if self._holder is writer:
                self._holder = None
                self._pin(None)
            writer.close()

    def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> dict[str, Any]:
        request = json.loads(line)
        match request:
            case {"ask": "state"}:
                return self._state()
            case {"ask": "pin", "link": str() | None as link}:
                if self._holder not in (None, writer):
                    return {"error": "another speedtest is running"}
                self._holder = writer
                why_not = self._pin(link)
                return {"error": why_not} if why_not else {}
            case _:
                return {"error": f"there is no such request: {request}"}


class Caller:
    """The test's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, end: str) -> Self:
        """Raises RatbondError when no such client runs, or somebody poses as one."""
        try:
            reader, writer = await asyncio.open_unix_connection(_address(end), limit=_LIMIT)
        except OSError as error:
            raise RatbondError(f"no {end} answers on this machine: {error.strerror}") from None
        if not _may(_peer(writer)):
            writer.close()
            raise RatbondError(
                f"what answers as {end} belongs to another user: run it as root, or as ratbond's user"
            )
        return cls(reader, writer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._writer.close()

    async def state(self) -> dict[str, Any]:
        """What the client says of itself. Raises RatbondError."""
        return await self._ask({"ask": "state"})

    async def pin(self, link: str | None) -> None:
        """Everything goes over this link, or as it is configured. Raises RatbondError."""
        await self._ask({"ask": "pin", "link": link})

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            self._writer.write(json.dumps(request).encode() + b"\n")
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                line = await self._reader.readline()
            answer: dict[str, Any] = json.loads(line)
        except (OSError, TimeoutError, ValueError):
            raise RatbondError(
                "the client does not answer any more: has it ended, or is this not its user?"
            ) from None
        if "error" in answer:
            raise RatbondError(answer["error"])
        return answer


def running() -> list[str]:
    """The ends that answer in this network namespace, such as ``client-660``."""
    return sorted(set(_NAME.findall(Path("/proc/net/unix").read_text())))


def _address(end: str) -> str:
    return f"\0ratbond-control-{end}"


def _peer(writer: asyncio.StreamWriter) -> int:
    """The user at the other side, as the kernel knows it."""
    connection: socket.socket = writer.get_extra_info("socket")
    asked = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(asked)
    return int(user)


def _may(user: int) -> bool:
    service = service_user()
    return user in {0, os.geteuid()} or (service is not None and os.geteuid() == 0 and user == service.pw_uid)
