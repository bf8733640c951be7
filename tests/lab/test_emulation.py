"""The emulator keeps to its word, seen from outside with plain UDP.

    client wan1 10.77.1.2 ──── emulator ──── isp1 10.77.1.1, lo 203.0.113.1 server

Times of arrival are the kernel's stamps, so that a busy machine, on which Python runs late, measures the same.
"""

from __future__ import annotations

import itertools
import socket
import statistics
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ratbond.lab import Lab

pytestmark = pytest.mark.netns

MakeLab = Callable[..., Lab]

PORT = 9000
HEADERS_BYTES = 28  # IPv4 and UDP
HELD_BACK = "1kbit"  # to fill the queue at leisure: how fast Python sends must not matter
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python names neither
SO_RCVBUFFORCE = 33


@dataclass(frozen=True)
class Arrival:
    number: int
    at_s: float  # wall clock
    sent_s: float


class UdpPath:
    """From one host of a lab to another, both ends in this process."""

    def __init__(self, lab: Lab, *, down: bool = False) -> None:
        self._receiver = (lab.client if down else lab.server).socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sender = (lab.server if down else lab.client).socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiver.bind((lab.links[0].ipv4 if down else lab.server_ipv4, PORT))
        self._receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)  # Python reads late
        self._receiver.settimeout(1.0)
        self._sender.connect(self._receiver.getsockname())

    def __enter__(self) -> UdpPath:
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.close()
        self._sender.close()

    def send(self, count: int, *, packet_bytes: int = 1_000, interval_s: float = 0.0) -> None:
        """Send numbered packets of this size, IP header included."""
        padding = bytes(packet_bytes - HEADERS_BYTES - 16)
        for number in range(count):
            self._sender.send(struct.pack("!Qd", number, time.time()) + padding)
            if interval_s:
                time.sleep(interval_s)

    def receive(self, expected: int | None = None) -> list[Arrival]:
        """All that arrives until nothing came for a second, or until so many have come."""
        arrivals: list[Arrival] = []
        while len(arrivals) != expected:
            try:
                data, extra, _, _ = self._receiver.recvmsg(2048, 64)
            except TimeoutError:
                return arrivals
            seconds, nanoseconds = struct.unpack("qq", extra[0][2])
            number, sent_s = struct.unpack("!Qd", data[:16])
            arrivals.append(Arrival(number, seconds + nanoseconds * 1e-9, sent_s))
        return arrivals


def rate_bps(arrivals: list[Arrival], packet_bytes: int) -> float:
    return (len(arrivals) - 1) * packet_bytes * 8 / (arrivals[-1].at_s - arrivals[0].at_s)


def delays_ms(arrivals: list[Arrival]) -> list[float]:
    return [(arrival.at_s - arrival.sent_s) * 1e3 for arrival in arrivals]


@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
@pytest.mark.parametrize(("rate_mbps", "packet_bytes"), [(10, 1_500), (10, 200), (100, 1_500)])
def test_a_full_link_carries_its_rate_within_a_percent(
    make_lab: MakeLab, rate_mbps: int, packet_bytes: int, down: bool
) -> None:
    lab = make_lab(f"{HELD_BACK},10ms,queue=10mb")
    count = rate_mbps * 1_000_000 // 8 // packet_bytes // 2  # half a second
    with UdpPath(lab, down=down) as path:
        path.send(count, packet_bytes=packet_bytes)
        lab.links[0].set(f"{rate_mbps}mbit")
        arrivals = path.receive(count)
    assert [arrival.number for arrival in arrivals] == list(range(count))
    assert rate_bps(arrivals[2:], packet_bytes) == pytest.approx(rate_mbps * 1e6, rel=0.01)


@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("rtt_ms", [0, 3, 40, 400])
def test_a_packet_is_delayed_by_half_the_round_trip_time_within_a_millisecond(
    make_lab: MakeLab, rtt_ms: int, down: bool
) -> None:
    lab = make_lab(f"1gbit,{rtt_ms}ms")
    with UdpPath(lab, down=down) as path:
        path.send(100, packet_bytes=100, interval_s=0.002)
        delays = delays_ms(path.receive(100))
    assert len(delays) == 100
    assert min(delays) >= rtt_ms / 2
    # The sender's stamp is taken in Python, which a busy machine may stop before the packet leaves; so not the worst.
    assert statistics.median(delays) == pytest.approx(rtt_ms / 2, abs=1.0)


def test_directions_differ_as_told(make_lab: MakeLab) -> None:
    lab = make_lab("up.delay=30ms,down.delay=5ms,queue=10mb")
    for down, rate_mbps, delay_ms in ((False, 5, 30), (True, 20, 5)):
        with UdpPath(lab, down=down) as path:
            path.send(20, interval_s=0.002)
            assert statistics.median(delays_ms(path.receive(20))) == pytest.approx(delay_ms, abs=1.0)
            lab.links[0].set(HELD_BACK)
            path.send(400)
            lab.links[0].set("up=5mbit,down=20mbit")
            arrivals = path.receive(400)
            lab.links[0].set("rate=unlimited")
        assert rate_bps(arrivals[2:], 1_000) == pytest.approx(rate_mbps * 1e6, rel=0.01)


def test_loss_is_as_frequent_as_told(make_lab: MakeLab) -> None:
    lab = make_lab("up.loss=5%")
    with UdpPath(lab) as path:
        path.send(10_000, packet_bytes=100)
        arrived = len(path.receive())
    stats = lab.links[0].stats()["up"]
    assert stats["emulator_dropped_packets"] == 0
    assert 0 <= stats["lost_packets"] - (10_000 - arrived) <= 10  # neighbour discovery is lost as well
    assert arrived == pytest.approx(9_500, abs=130)  # 6 standard deviations


def test_losses_come_in_bursts_when_told(make_lab: MakeLab) -> None:
    lab = make_lab("up.burst=5%/10")
    with UdpPath(lab) as path:
        path.send(20_000, packet_bytes=100)
        numbers = [arrival.number for arrival in path.receive()]
    gaps = [later - earlier - 1 for earlier, later in itertools.pairwise(numbers) if later > earlier + 1]
    assert statistics.mean(gaps) == pytest.approx(10, abs=4)
    assert sum(gaps) == pytest.approx(1_000, abs=500)


def test_what_does_not_fit_into_the_queue_is_dropped(make_lab: MakeLab) -> None:
    lab = make_lab(f"{HELD_BACK},queue=20kb")
    with UdpPath(lab) as path:
        path.send(200)
        lab.links[0].set("10mbit")
        arrived = len(path.receive())
    assert arrived in (19, 20)  # one may be neighbour discovery's
    assert lab.links[0].stats()["up"]["queue_dropped_packets"] >= 180


def test_packets_are_duplicated_when_told(make_lab: MakeLab) -> None:
    lab = make_lab("up.duplicate=100%")
    with UdpPath(lab) as path:
        path.send(50)
        assert [arrival.number for arrival in path.receive()] == [n for n in range(50) for _ in range(2)]


def test_packets_keep_their_order_despite_jitter(make_lab: MakeLab) -> None:
    lab = make_lab("40ms,jitter=10ms")
    with UdpPath(lab) as path:
        path.send(500, interval_s=0.001)
        arrivals = path.receive(500)
    delays = delays_ms(arrivals)
    assert [arrival.number for arrival in arrivals] == list(range(500))
    assert min(delays) >= 10
    assert statistics.pstdev(delays) > 2


def test_packets_overtake_when_told(make_lab: MakeLab) -> None:
    lab = make_lab("40ms,reorder=10%/10ms")
    with UdpPath(lab) as path:
        path.send(500, interval_s=0.001)
        numbers = [arrival.number for arrival in path.receive(500)]
    assert numbers != sorted(numbers)
    assert sorted(numbers) == list(range(500))


def test_a_packet_larger_than_the_mtu_of_a_hop_vanishes(make_lab: MakeLab) -> None:
    lab = make_lab("10ms,mtu=1400")
    with UdpPath(lab) as path:
        path.send(3, packet_bytes=1_401)
        path.send(5, packet_bytes=1_400)
        assert len(path.receive()) == 5
    assert lab.links[0].stats()["up"]["oversize_packets"] == 3


def test_a_rate_changed_on_the_way_holds_for_what_is_queued(make_lab: MakeLab) -> None:
    lab = make_lab(f"{HELD_BACK},10ms,queue=10mb")
    with UdpPath(lab) as path:
        path.send(1_000)
        lab.links[0].set("2mbit")
        slow = path.receive(50)
        lab.links[0].set("50mbit")
        fast = path.receive(950)
    assert [arrival.number for arrival in slow + fast] == list(range(1_000))
    assert rate_bps(slow[2:], 1_000) == pytest.approx(2e6, rel=0.01)
    assert rate_bps(fast[-500:], 1_000) == pytest.approx(50e6, rel=0.01)


def test_a_delay_changed_on_the_way_holds_for_what_follows(make_lab: MakeLab) -> None:
    lab = make_lab("10ms")
    with UdpPath(lab) as path:
        path.send(20, interval_s=0.001)
        assert statistics.median(delays_ms(path.receive(20))) == pytest.approx(5, abs=1)
        lab.links[0].set("100ms")
        path.send(20, interval_s=0.001)
        assert statistics.median(delays_ms(path.receive(20))) == pytest.approx(50, abs=1)


def test_tcp_crosses_in_packets_with_good_checksums(make_lab: MakeLab) -> None:
    lab = make_lab("200mbit,2ms")
    data = bytes(range(256)) * 20_000
    with (
        lab.server.socket(socket.AF_INET6, socket.SOCK_STREAM) as listener,
        lab.client.socket(socket.AF_INET6, socket.SOCK_STREAM) as client,
    ):
        listener.bind((lab.server_ipv6, PORT))
        listener.listen()
        client.connect((lab.server_ipv6, PORT))
        server, _ = listener.accept()
        server.setblocking(False)
        received = exchange(client, server, data)
        server.close()
    assert received == data
    stats = lab.links[0].stats()["up"]
    assert stats["oversize_packets"] == 0
    assert stats["sent_packets"] >= len(data) // 1_440


def exchange(client: socket.socket, server: socket.socket, data: bytes) -> bytes:
    """Send data from one end and take it at the other, both in this thread."""
    client.setblocking(False)
    received, sent = bytearray(), 0
    while len(received) < len(data):
        try:
            if sent < len(data):
                sent += client.send(data[sent : sent + 65_536])
        except BlockingIOError:
            pass
        try:
            received += server.recv(1 << 20)
        except BlockingIOError:
            time.sleep(0.001)
    return bytes(received)
