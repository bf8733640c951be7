"""With the kernel's segmentation offload and without: the same packets come out, each whole and with right checksums.

::

    pc 192.168.99.2 ── client ═ the bond ═ server ── web 198.51.100.2
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ratbond.lab import Host
from ratbond.secret import generate
from tests.net.bond import TUNNEL_IPV6, Bond, until
from tests.net.test_nat import WEB, Neighbours
from tests.net.test_sealed import secret_file

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]

ETH_P_ALL = 3
SERVER = "10.10.10.1"
UDP_SEGMENT = 103
SO_RCVBUFFORCE = 33


@pytest.fixture(params=["offload", "no-offload"])
def switch(request: pytest.FixtureRequest) -> str:
    """With or without."""
    return f"--{request.param}"


@pytest.fixture(params=["plain", "sealed"])
def flags(request: pytest.FixtureRequest, switch: str, tmp_path: Path) -> tuple[str, ...]:
    """What both ends are started with."""
    return (switch, *((secret_file(tmp_path, generate()),) if request.param == "sealed" else ()))


def there_and_back(near: Host, far: Host, address: str, data: bytes) -> tuple[bytes, bytes]:
    """Sends bytes over TCP and has them sent back; gives what came at either end."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener, caller = (host.socket(family, socket.SOCK_STREAM) for host in (far, near))
    with listener, caller:
        listener.bind((address, 7000))
        listener.listen()
        caller.settimeout(30)
        caller.connect((address, 7000))
        callee, _ = listener.accept()
        callee.settimeout(30)
        with callee:
            there = _stream(caller, callee, data)
            return there, _stream(callee, caller, there)


def _stream(sender: socket.socket, receiver: socket.socket, data: bytes) -> bytes:
    writer = threading.Thread(target=sender.sendall, args=(data,))
    writer.start()
    got = bytearray()
    while len(got) < len(data):
        piece = receiver.recv(1 << 20)
        assert piece, "it was cut off"
        got += piece
    writer.join()
    return bytes(got)


def datagrams(bond: Bond, address: str, payloads: list[bytes], segment: int = 0) -> list[bytes]:
    """Sends datagrams, with ``segment`` each cut by the kernel into such lengths, and gives those that came."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    receiver = bond.lab.server.socket(family, socket.SOCK_DGRAM)
    sender = bond.lab.client.socket(family, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind((address, 7001))
        receiver.settimeout(3)
        if segment:
            sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
        for payload in payloads:
            sender.sendto(payload, (address, 7001))
        pieces = sum(-(-len(payload) // (segment or len(payload))) for payload in payloads)
        return [receiver.recv(65536) for _ in range(pieces)]


class Ear:
    """What passes a tun, as its host's programs would see it."""

    def __init__(self, host: Host) -> None:
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.bind(("tun660", ETH_P_ALL))
        self._socket.setblocking(False)

    def longest(self) -> dict[int, int]:
        """The lengths of the longest so far, by kind: `PACKET_HOST` what came in, `PACKET_OUTGOING` what went out."""
        longest = {socket.PACKET_HOST: 0, socket.PACKET_OUTGOING: 0}
        try:
            while True:
                packet, (_, _, kind, *_) = self._socket.recvfrom(70_000)
                longest[kind] = max(longest.get(kind, 0), len(packet))
        except BlockingIOError:
            return longest

    def close(self) -> None:
        self._socket.close()


def checksum_errors(host: Host) -> dict[str, int]:
    """What the kernel's TCP, UDP and IP have refused for a wrong checksum or length."""
    lines = host.run("cat", "/proc/net/snmp").stdout.splitlines()
    found = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        protocol, *titles = names.split()
        for title, value in zip(titles, values.split()[1:], strict=True):
            if title in {"InCsumErrors", "InHdrErrors", "InErrs"}:
                found[protocol + title] = int(value)
    for line in host.run("cat", "/proc/net/snmp6").stdout.splitlines():
        name, value = line.split()
        if name in {"Udp6InCsumErrors", "Ip6InHdrErrors"}:
            found[name] = int(value)
    return found


def test_everything_comes_out_as_it_went_in(bond: Bond, flags: tuple[str, ...]) -> None:
    bond.up(*flags)
    client, server = bond.lab.client, bond.lab.server
    (device,) = json.loads(client.run("ip", "-j", "link", "show", "tun660").stdout)
    with closing(Ear(client)) as ear:
        _everything(bond, device["mtu"])
        longest = ear.longest()
    # The kernel leaves the cutting to whoever says that he does it. What is joined on the way out depends on the time of
    # arrival; crates/ratbond-io/tests/tun_offload.rs has that.
    assert (longest[socket.PACKET_OUTGOING] > device["mtu"]) == ("--offload" in flags)
    if "--offload" not in flags:
        assert longest[socket.PACKET_HOST] <= device["mtu"]
    for host in (client, server):
        assert not any(checksum_errors(host).values()), checksum_errors(host)


def _everything(bond: Bond, mtu: int) -> None:
    client, server = bond.lab.client, bond.lab.server
    for address, headers in ((SERVER, 28), (TUNNEL_IPV6, 48)):
        data = os.urandom(2_000_000)
        assert there_and_back(client, server, address, data) == (data, data)
        whole = [bytes([index]) * 1_000 for index in range(40)]
        assert sorted(datagrams(bond, address, whole)) == sorted(whole)
        batch = b"".join(struct.pack(">I", index) * 100 for index in range(40)) + b"the last is shorter"
        pieces = datagrams(bond, address, [batch], segment=400)
        assert sorted(pieces) == sorted(batch[at : at + 400] for at in range(0, len(batch), 400))
        fragmented = [bytes([index]) * 5_000 for index in range(5)]
        assert sorted(datagrams(bond, address, fragmented)) == sorted(fragmented)
        assert bond.ping(address, "-M", "do", "-s", str(mtu - headers))
        assert bond.ping(address, "-s", "4000")


@pytest.fixture
def around(bond: Bond) -> Iterator[Neighbours]:
    neighbours = Neighbours(bond)
    yield neighbours
    neighbours.remove()


def test_a_pc_behind_nat_uploads_and_downloads(around: Neighbours, switch: str) -> None:
    around.up(switch)
    until(lambda: around.reach(WEB))
    data = os.urandom(3_000_000)
    assert there_and_back(around.pc, around.web, WEB, data) == (data, data)
    for host in (around.pc, around.web):
        assert not any(checksum_errors(host).values()), checksum_errors(host)
