"""Somebody on the WAN: sees every frame of a link, and sends frames of any source to either end.

::

    rb-NAME-cli ── wan1 ═ cli1 (emulator) srv1 ═ isp1 ── rb-NAME-srv
                            ▲     sees    ▲
                            └── attacker ─┘   sends out of srv1 to the server, out of cli1 to the client
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from ratbond.lab import Lab
from ratbond.lab.topology import LinkPlan

Towards = Literal["server", "client"]

_ALL_PROTOCOLS: Final = 3  # ETH_P_ALL
_IPV4: Final = b"\x08\x00"
_HEADERS: Final = 14 + 20 + 8
_UDP: Final = 17


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram on the wire of one link, IPv4."""

    link: int
    towards: Towards
    source: tuple[str, int]
    destination: tuple[str, int]
    payload: bytes

    @property
    def kind(self) -> int:
        """The type byte of bond/1."""
        return self.payload[0]

    @property
    def index(self) -> int:
        """The receiver index."""
        return int(struct.unpack_from(">I", self.payload, 1)[0])

    @property
    def is_sealed(self) -> bool:
        """Whether it is a sealed datagram, by its type."""
        return 0x80 <= self.kind <= 0x83


def parse(link: int, towards: Towards, frame: bytes) -> Datagram | None:
    """The datagram in an Ethernet frame, if it is one over IPv4."""
    if len(frame) < _HEADERS or frame[12:14] != _IPV4 or frame[14] != 0x45 or frame[23] != _UDP:
        return None
    source_port, destination_port, length = struct.unpack_from(">HHH", frame, 34)
    return Datagram(
        link,
        towards,
        (socket.inet_ntoa(frame[26:30]), source_port),
        (socket.inet_ntoa(frame[30:34]), destination_port),
        frame[_HEADERS : 34 + length],
    )


def build(datagram: Datagram) -> bytes:
    """The Ethernet frame of a datagram, from the host before the receiver."""
    plan = LinkPlan(datagram.link)
    to_server = datagram.towards == "server"
    destination, source = (
        (plan.server_mac, plan.client_mac) if to_server else (plan.client_mac, plan.server_mac)
    )
    udp = struct.pack(">HHHH", datagram.source[1], datagram.destination[1], 8 + len(datagram.payload), 0)
    addresses = socket.inet_aton(datagram.source[0]) + socket.inet_aton(datagram.destination[0])
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp) + len(datagram.payload), 0, 0, 64, _UDP, 0)
    header = header[:10] + _checksum(header + addresses) + addresses
    return _mac(destination) + _mac(source) + _IPV4 + header + udp + datagram.payload


class Attacker:
    """Sees what both ends send from the moment it is made, and sends what it likes."""

    def __init__(self, lab: Lab) -> None:
        self.seen: list[Datagram] = []
        self._react: Callable[[Datagram], None] = lambda _: None
        self._ports: dict[int, tuple[int, Towards]] = {}
        self._sockets: dict[tuple[int, Towards], socket.socket] = {}
        for link in lab.links:
            plan = LinkPlan(link.number)
            ends: tuple[tuple[str, Towards], ...] = (
                (plan.client_port, "server"),
                (plan.server_port, "client"),
            )
            for port, comes_towards in ends:
                self._open(lab, port, link.number, comes_towards)
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _open(self, lab: Lab, port: str, link: int, comes_towards: Towards) -> None:
        opened = lab.wan.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        opened.bind((port, _ALL_PROTOCOLS))
        self._ports[opened.fileno()] = (link, comes_towards)
        # What leaves by the client's port goes towards the client.
        self._sockets[link, "client" if comes_towards == "server" else "server"] = opened

    def on_datagram(self, react: Callable[[Datagram], None]) -> None:
        """Calls back for each datagram from now on, before the emulated link has delivered it."""
        self._react = react

    def send(self, *datagrams: Datagram) -> None:
        """Sends them, whoever they claim to be from."""
        for datagram in datagrams:
            self._sockets[datagram.link, datagram.towards].send(build(datagram))

    def sealed(self, towards: Towards) -> list[Datagram]:
        """The sealed datagrams that have been seen going one way."""
        return [
            datagram for datagram in list(self.seen) if datagram.towards == towards and datagram.is_sealed
        ]

    def close(self) -> None:
        """Goes away."""
        self._stop.close()
        self._thread.join()
        for opened in (self._stopped, *self._sockets.values()):
            opened.close()

    def _watch(self) -> None:
        poller = select.poll()
        by_number = {opened.fileno(): opened for opened in self._sockets.values()}
        for number in (self._stopped.fileno(), *by_number):
            poller.register(number, select.POLLIN)
        while True:
            for number, _ in poller.poll():
                if number == self._stopped.fileno():
                    return
                frame, address = by_number[number].recvfrom(65_535)
                if address[2] == socket.PACKET_OUTGOING:
                    continue
                datagram = parse(*self._ports[number], frame)
                if datagram and datagram.payload:
                    self.seen.append(datagram)
                    self._react(datagram)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _checksum(header: bytes) -> bytes:
    """RFC 1071."""
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)
