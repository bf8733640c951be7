"""A stream of numbered datagrams, both ways through a tunnel at once: a call, or many small flows.

It is a process of its own with real-time priority where that is allowed, so that nobody else's work delays its clock::

    python -m scenarios.stream CLIENT-NAMESPACE CLIENT-ADDRESS SERVER-NAMESPACE SERVER-ADDRESS PACKETS/S FLOWS BYTES

Each direction sends that many packets a second, spread evenly over the flows, until standard input ends. What is late
by less than 3 s is waited for. Then it says one line of JSON: a :class:`Direction` for ``up`` and ``down``.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass, field

from ratbond.lab import Host

from .figures import longest_gap_s, out_of_order, percentile

_FIRST_PORT = 7100
_STRAGGLERS_S = 3.0
_HEADER = struct.Struct("!Id")  # number within the flow, CLOCK_MONOTONIC when sent


@dataclass(frozen=True)
class Direction:
    """What came of one direction. Delays are None when nothing arrived."""

    sent: int
    lost: int
    twice: int
    out_of_order: int  # within a flow
    delay_p50_ms: float | None
    delay_p99_ms: float | None
    delay_max_ms: float | None
    silence_ms: float  # the longest time without any arrival
    flow_silence_ms: float  # the same of the flow that had the longest


@dataclass
class Flow:
    """One flow in one direction."""

    sender: socket.socket
    receiver: socket.socket
    to: tuple[str, int]
    sent: int = 0
    numbers: list[int] = field(default_factory=list)  # as they came
    delays_ms: list[float] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)

    def send(self, size_bytes: int) -> None:
        """Send the next; what the kernel refuses, because there is no way just now, is lost like any other."""
        packet = _HEADER.pack(self.sent, time.monotonic())
        with contextlib.suppress(OSError):
            self.sender.sendto(packet + bytes(size_bytes - len(packet)), self.to)
        self.sent += 1

    def take(self) -> None:
        """Take all that has arrived."""
        while True:
            try:
                data = self.receiver.recv(2048)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of a packet sent before
            now_s = time.monotonic()
            number, sent_s = _HEADER.unpack_from(data)
            self.numbers.append(number)
            self.delays_ms.append((now_s - sent_s) * 1e3)
            self.arrivals_s.append(now_s)


def summary(flows: list[Flow], began_s: float, ended_s: float) -> Direction:
    """Put the flows of one direction together."""
    sent = sum(flow.sent for flow in flows)
    arrived = sum(len(set(flow.numbers)) for flow in flows)
    delays_ms = [delay for flow in flows for delay in flow.delays_ms]
    arrivals_s = [at_s for flow in flows for at_s in flow.arrivals_s]
    return Direction(
        sent=sent,
        lost=sent - arrived,
        twice=sum(len(flow.numbers) for flow in flows) - arrived,
        out_of_order=sum(out_of_order(flow.numbers) for flow in flows),
        delay_p50_ms=percentile(delays_ms, 0.5) if delays_ms else None,
        delay_p99_ms=percentile(delays_ms, 0.99) if delays_ms else None,
        delay_max_ms=max(delays_ms, default=None),
        silence_ms=longest_gap_s(arrivals_s, began_s, ended_s) * 1e3,
        flow_silence_ms=max(longest_gap_s(flow.arrivals_s, began_s, ended_s) for flow in flows) * 1e3,
    )


def run(up: list[Flow], down: list[Flow], packets_per_s: float, size_bytes: int) -> dict[str, Direction]:
    """Send and listen until standard input ends."""
    by_socket = {flow.receiver: flow for flow in (*up, *down)}
    began_s = time.monotonic()
    sent, ended_s = 0, 0.0
    while not ended_s or (
        time.monotonic() < ended_s + _STRAGGLERS_S
        and any(len(flow.numbers) < flow.sent for flow in (*up, *down))
    ):
        while not ended_s and time.monotonic() >= began_s + sent / packets_per_s:
            for flows in (up, down):
                flows[sent % len(flows)].send(size_bytes)
            sent += 1
        wait_s = began_s + sent / packets_per_s - time.monotonic() if not ended_s else 0.1
        listened = [*by_socket, sys.stdin] if not ended_s else [*by_socket]
        ready, _, _ = select.select(listened, [], [], max(0.0, wait_s))
        for source in ready:
            if isinstance(source, socket.socket):
                by_socket[source].take()
            else:
                ended_s = time.monotonic()
    return {"up": summary(up, began_s, ended_s), "down": summary(down, began_s, ended_s)}


def open_flows(client: Host, client_ip: str, server: Host, server_ip: str, count: int) -> list[list[Flow]]:
    """Open both directions of each flow, up and down, over the same two sockets."""
    up, down = [], []
    for port in range(_FIRST_PORT, _FIRST_PORT + count):
        ends = []
        for host, address in ((client, client_ip), (server, server_ip)):
            end = host.socket(socket.AF_INET, socket.SOCK_DGRAM)
            end.bind((address, port))
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            ends.append(end)
        up.append(Flow(ends[0], ends[1], (server_ip, port)))
        down.append(Flow(ends[1], ends[0], (client_ip, port)))
    return [up, down]


def main() -> None:
    """Run the process; see the module's text."""
    client, client_ip, server, server_ip, packets_per_s, flows, size_bytes = sys.argv[1:]
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    up, down = open_flows(Host(client), client_ip, Host(server), server_ip, int(flows))
    outcome = run(up, down, float(packets_per_s), int(size_bytes))
    print(json.dumps({way: asdict(direction) for way, direction in outcome.items()}), flush=True)


if __name__ == "__main__":
    main()
