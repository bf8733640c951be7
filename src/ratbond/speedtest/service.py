"""The other end of a measurement: sends or counts TCP data, to and from one tunnel, for a short time.

One request a connection, a line: ``ratbond-speedtest/1 down MS`` or ``up MS``. The answer is ``ok`` or ``no REASON``; then data for
that long, or, while data comes, a line ``MS BYTES`` ten times a second with what has come until then.

A socket is bound to its tunnel's device: nobody else, and no other client, reaches it. TCP answers nobody who has not shown that
it is there, and what it sends is no more than the same client could ask of any server behind the tunnel.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from typing import Final

from ratbond.logs import get_logger
from ratbond.speedtest.connections import as_tasks

log = get_logger(__name__)

PORT: Final = 8093
MAX_MS: Final = 40_000
MAX_CONNECTIONS: Final = 16  # of one tunnel
MAX_CONNECTIONS_IN_ALL: Final = 64
REPORT_S: Final = 0.1

_REQUEST: Final = re.compile(rb"ratbond-speedtest/1 (down|up) (\d{1,6})\n")
_REQUEST_WITHIN_S: Final = 20.0
_GRACE_S: Final = 5.0
_CHUNK: Final = bytes(65_536)


class MeasuringService:
    """Serves the tunnels of one server, each by its device's name."""

    def __init__(self, port: int = PORT) -> None:
        self._port = port
        self._tunnels: dict[str, asyncio.Task[None]] = {}
        self._connections = dict[str, int]()

    def open(self, device: str) -> None:
        """Serves a tunnel, if it is not served yet. What is in the way is logged."""
        if device in self._tunnels and not self._tunnels[device].done():
            return
        try:
            listener = _listen(device, self._port)
        except OSError as error:
            log.warning("no speedtest over this tunnel", device=device, why=error.strerror)
            return
        self._tunnels[device] = asyncio.create_task(self._serve(device, listener), name=f"speedtest {device}")

    def close(self, device: str) -> None:
        """Serves a tunnel no more."""
        task = self._tunnels.pop(device, None)
        if task:
            task.cancel()

    def close_all(self) -> None:
        """Serves none."""
        for device in list(self._tunnels):
            self.close(device)

    async def _serve(self, device: str, listener: socket.socket) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._connections[device] = self._connections.get(device, 0) + 1
            try:
                async with asyncio.timeout(_REQUEST_WITHIN_S):
                    request = _REQUEST.fullmatch(await reader.readline())
                await self._answer(device, request, reader, writer)
            except (OSError, ValueError, TimeoutError) as error:
                log.debug("a speedtest ended", device=device, why=str(error) or type(error).__name__)
            finally:
                self._connections[device] -= 1
                writer.transport.abort()

        server = await asyncio.start_server(as_tasks(connected), sock=listener, limit=4 * len(_CHUNK))
        async with server:
            await server.serve_forever()

    async def _answer(
        self,
        device: str,
        request: re.Match[bytes] | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        refusal = self._refusal(device, request)
        writer.write(f"no {refusal}\n".encode() if refusal else b"ok\n")
        await writer.drain()
        if refusal or request is None:
            writer.write_eof()
            await reader.read(1)
            return
        seconds = int(request[2]) / 1000
        async with asyncio.timeout(seconds + _GRACE_S):
            await (_send if request[1] == b"down" else _count)(reader, writer, seconds)

    def _refusal(self, device: str, request: re.Match[bytes] | None) -> str:
        if request is None:
            return "this is ratbond's speedtest, version 1"
        if int(request[2]) > MAX_MS:
            return f"at most {MAX_MS} ms"
        if self._connections[device] > MAX_CONNECTIONS:
            return "too many connections of this client"
        if sum(self._connections.values()) > MAX_CONNECTIONS_IN_ALL:
            return "the server measures others just now; try again"
        return ""


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    del reader
    loop = asyncio.get_running_loop()
    end_s = loop.time() + seconds
    while loop.time() < end_s:
        writer.write(_CHUNK)
        await writer.drain()


async def _count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Says what has come, until the sender ends or the time is over."""
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    next_s, received = begin_s, 0
    while (now_s := loop.time()) < begin_s + seconds + REPORT_S:
        if now_s >= next_s:
            writer.write(f"{1000 * (now_s - begin_s):.1f} {received}\n".encode())
            next_s = now_s + REPORT_S
        try:
            async with asyncio.timeout_at(next_s):
                data = await reader.read(len(_CHUNK))
        except TimeoutError:
            continue
        if not data:
            return
        received += len(data)


def fill_queues(end: socket.socket) -> None:
    """What it sends is paced by CUBIC, as most of what people download is, whatever this machine prefers, if it has it."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")


def _listen(device: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        fill_queues(listener)
        listener.bind(("::", port))
        listener.listen(MAX_CONNECTIONS)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
