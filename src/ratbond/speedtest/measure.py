"""One measurement: some TCP connections through the tunnel, in one direction, for a time; what came out of them, in bit/s."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ratbond.errors import RatbondError
from ratbond.models import IPAddress
from ratbond.speedtest.service import PORT, fill_queues

Direction = Literal["down", "up"]
Tick = Callable[[float], None]  # is told how many seconds have passed

WARM_UP_S: Final = 1.5  # in which connections find their pace
_CONNECT_WITHIN_S: Final = 5.0
_LOOK_S: Final = 0.1
_LONGER_S: Final = 2.0  # than is measured: it is this end that ends it
_CHUNK: Final = bytes(65_536)
_LINGER_NOT: Final = struct.pack("ii", 1, 0)  # what is not sent yet is not sent after the end either


@dataclass(frozen=True, slots=True)
class Place:
    """Where to measure: the server inside the tunnel, and the tunnel's device."""

    address: IPAddress
    device: str
    port: int = PORT


async def measure(
    place: Place, direction: Direction, *, seconds: float, connections: int, tick: Tick
) -> float:
    """The rate of all connections together after the warm-up, in bit/s of what TCP carries. Raises RatbondError."""
    streams = [await _connect(place) for _ in range(connections)]
    whole_s = WARM_UP_S + seconds
    try:
        for reader, writer in streams:
            asked_ms = (whole_s + _LONGER_S) * 1000
            writer.write(f"ratbond-speedtest/1 {direction} {asked_ms:.0f}\n".encode())
            await _accepted(place, reader)
        job = _receive if direction == "down" else _send
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(_keep_ticking(tick))
            counts = [group.create_task(job(reader, writer, whole_s)) for reader, writer in streams]
            await asyncio.wait(counts)
            ticking.cancel()
    except* OSError as errors:
        first = errors.exceptions[0]
        raise RatbondError(f"the connection through the tunnel broke: {first}") from None
    finally:
        for _, writer in streams:
            writer.transport.abort()
    return sum(rate_bps(count.result(), WARM_UP_S, whole_s) for count in counts)


Count = Sequence[tuple[float, int]]  # seconds since the begin, bytes until then


def rate_bps(count: Count, begin_s: float, end_s: float) -> float:
    """The mean rate between two moments of a count that goes up. Where it ends before, nothing more has come."""
    return 8 * (_at(count, end_s) - _at(count, begin_s)) / (end_s - begin_s)


def _at(count: Count, moment_s: float) -> float:
    """The bytes at a moment, on the line between the two looks around it."""
    before_s, before = 0.0, 0
    for at_s, octets in count:
        if at_s >= moment_s:
            share = (moment_s - before_s) / (at_s - before_s) if at_s > before_s else 1.0
            return before + (octets - before) * share
        before_s, before = at_s, octets
    return before


async def _connect(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    family = socket.AF_INET if place.address.version == 4 else socket.AF_INET6
    caller = socket.socket(family, socket.SOCK_STREAM)
    try:
        caller.setblocking(False)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, place.device.encode())
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        fill_queues(caller)
        async with asyncio.timeout(_CONNECT_WITHIN_S):
            await asyncio.get_running_loop().sock_connect(caller, (str(place.address), place.port))
        return await asyncio.open_connection(sock=caller, limit=4 * len(_CHUNK))
    except TimeoutError:
        caller.close()
        raise RatbondError(
            f"the server does not answer at {place.address} port {place.port}: does its firewall drop what comes out of the tunnel? "
            f"On it: nft insert rule inet filter input iifname 'tun*' tcp dport {place.port} accept (ufw: ufw allow in on "
            f"{place.device} to any port {place.port} proto tcp)"
        ) from None
    except OSError as error:
        caller.close()
        raise RatbondError(
            f"the server measures nothing at {place.address} port {place.port} ({error.strerror}): is it older, or run with "
            "--no-speedtest?"
        ) from None


async def _accepted(place: Place, reader: asyncio.StreamReader) -> None:
    try:
        async with asyncio.timeout(_CONNECT_WITHIN_S):
            answer = (await reader.readline()).decode(errors="replace").strip()
    except TimeoutError:
        answer = "no answer"
    if answer != "ok":
        raise RatbondError(f"the server at {place.address} refuses: {answer.removeprefix('no ')}")


async def _keep_ticking(tick: Tick) -> None:
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    while True:
        tick(loop.time() - begin_s)
        await asyncio.sleep(_LOOK_S)


async def _receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> Count:
    del writer
    loop = asyncio.get_running_loop()
    begin_s, received = loop.time(), 0
    count = [(0.0, 0)]
    while (at_s := loop.time() - begin_s) < seconds:
        try:
            async with asyncio.timeout(min(_LOOK_S, seconds - at_s)):
                data = await reader.read(len(_CHUNK))
        except TimeoutError:
            continue
        if not data:
            break
        received += len(data)
        count.append((loop.time() - begin_s, received))
    return count


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> Count:
    """By the server's own clock and count."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + seconds

    async def fill() -> None:
        while True:
            writer.write(_CHUNK)
            await writer.drain()

    filling = asyncio.create_task(fill())
    count = [(0.0, 0)]
    try:
        async with asyncio.timeout_at(end_s + _LONGER_S / 2):
            while count[-1][0] < seconds and (line := await reader.readline()):
                at_ms, octets = line.split()
                count.append((float(at_ms) / 1000, int(octets)))
    except TimeoutError:
        pass  # the last report is still under way: what is counted until then is enough
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
    return count
