"""An attacker on the WAN who sees everything, sends anything, and knows no secret: nothing but counters changes.

Two links of 50 Mbit/s and 20 ms, see conftest.py and attacker.py. While the attack runs, 200 numbered datagrams a second
go through the tunnel; none is lost, none comes twice, and no link comes, goes or moves.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ratbond.secret import generate
from tests.net.attacker import Attacker, Datagram
from tests.net.bond import PORT, Bond, End, UdpStream, until
from tests.net.test_sealed import secret_file

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]

REQUEST, CHALLENGE, INIT, RESPONSE, JOIN, JOINED, VERSION, SEALED = *range(1, 8), 0x80
THIEF = "10.77.1.66"  # another host on the first link's network


@pytest.fixture
def attacker(bond: Bond) -> Iterator[Attacker]:
    made = Attacker(bond.lab)
    yield made
    made.close()


def standing(end: End) -> list[tuple[Any, ...]]:
    """All of an end's status that an attack must not change."""
    ways = ("id", "conv", "state", "source", "remote")
    return [
        (*(session[key] for key in ("id", "up", "peer", "tun", "cipher")),
         sorted(tuple(link[key] for key in ways) for link in session["links"]))
        for session in end.status()["sessions"]
    ]  # fmt: skip


def counted(end: End, counter: str) -> int:
    return sum(int(link[counter]) for session in end.status()["sessions"] for link in session["links"])


class Withstands:
    """A tunnel under load, and the look at it before and after an attack."""

    def __init__(self, bond: Bond, server: End, client: End) -> None:
        self._ends = server, client
        self._before = [standing(end) for end in self._ends]
        self._logs = [len(end.log) for end in self._ends]
        self._stream = UdpStream(bond.lab)

    def let_packets_pass(self, count: int) -> None:
        target = self._stream.sent + count
        until(lambda: self._stream.sent >= target)

    def nothing_has_changed(self, after: str = "") -> None:
        self.let_packets_pass(50)
        until(lambda: [standing(end) for end in self._ends] == self._before)
        for end, length in zip(self._ends, self._logs, strict=True):
            said = end.log[length:]
            assert not any(words in said for words in ("link joined", "link left", "the bond is")), (
                after,
                said,
            )

    def nothing_was_lost(self) -> None:
        self.nothing_has_changed()
        assert self._stream.finish() == set()
        assert self._stream.doubled == 0


@pytest.fixture
def tunnel(bond: Bond, attacker: Attacker, tmp_path: Path) -> Withstands:
    """Both ends up, with a secret that the attacker does not know; it has seen the handshakes."""
    server, client = bond.up(secret_file(tmp_path, generate()), "--stats-interval=0")
    made = Withstands(bond, server, client)
    made.let_packets_pass(100)
    assert {REQUEST, CHALLENGE, INIT, RESPONSE, JOIN, JOINED, SEALED} <= {seen.kind for seen in attacker.seen}
    return made


def flipped(datagram: Datagram, rng: random.Random, within: range) -> Datagram:
    payload = bytearray(datagram.payload)
    payload[rng.choice(within)] ^= 1 << rng.randrange(8)
    return replace(datagram, payload=bytes(payload))


def replays(seen: list[Datagram], rng: random.Random) -> list[Datagram]:
    return rng.sample(seen * 2, len(seen) * 2)


def replays_from_elsewhere(seen: list[Datagram], rng: random.Random) -> list[Datagram]:
    to_server = [datagram for datagram in seen if datagram.towards == "server"]
    return [replace(datagram, source=(THIEF, rng.randrange(1024, 65_535))) for datagram in to_server]


def bit_flips(seen: list[Datagram], rng: random.Random) -> list[Datagram]:
    """In the header, which says which key and number; and anywhere."""
    heads = [flipped(datagram, rng, range(9)) for datagram in seen]
    return heads + [flipped(datagram, rng, range(len(datagram.payload))) for datagram in seen]


def truncations(seen: list[Datagram], rng: random.Random) -> list[Datagram]:
    longest = max(seen, key=lambda datagram: len(datagram.payload))
    every_length = [
        replace(longest, payload=longest.payload[:length]) for length in range(len(longest.payload))
    ]
    return every_length + [
        replace(datagram, payload=datagram.payload[: rng.randrange(len(datagram.payload))])
        for datagram in seen
    ]


def forgeries(seen: list[Datagram], rng: random.Random) -> list[Datagram]:
    """The right address, index and next numbers, and garbage where the sealed frames would be."""
    forged = []
    for datagram in (datagram for datagram in seen if datagram.is_sealed):
        for phase in range(4):
            number = struct.unpack_from(">I", datagram.payload, 5)[0] + rng.choice(
                (0, 1, 1000, 2**31 - 1, 2**31)
            )
            header = struct.pack(">BII", SEALED | phase, datagram.index, number & 0xFFFFFFFF)
            forged.append(replace(datagram, payload=header + rng.randbytes(rng.randrange(17, 200))))
    return forged


def nonsense(seen: list[Datagram], rng: random.Random) -> list[Datagram]:
    """Every type byte, known or not, with every length from nothing on."""
    return [
        replace(
            rng.choice(seen), payload=bytes([kind]) + rng.randbytes(rng.choice((0, 3, 24, 28, 42, 60, 1200)))
        )
        for kind in range(256)
        for _ in range(3)
    ]


def joins_with_a_wrong_key(seen: list[Datagram], rng: random.Random) -> list[Datagram]:
    """For the true session, by its true index, with new and old link numbers and proofs under another key."""
    indexes = {d.index for d in seen if d.is_sealed and d.towards == "server"}
    example = next(d for d in seen if d.kind == JOIN)
    made = []
    for number in range(40):
        body = struct.pack(
            ">BIBBHI", JOIN, rng.choice(sorted(indexes)), 1, number % 3, number, rng.getrandbits(32)
        )
        made.append(replace(example, payload=body + rng.randbytes(16), source=(THIEF, 5000 + number)))
    return made


def link_downs_without_a_key(seen: list[Datagram], rng: random.Random) -> list[Datagram]:
    """The stock protocol's, which took links down; and bond/1's frame, unsealed or sealed under another key."""
    made = []
    for datagram in (d for d in seen if d.is_sealed):
        for link in range(4):
            frame = struct.pack(">BHBB", 0x06, link, 1, 0)
            made += [
                replace(datagram, payload=struct.pack(">BH", 0, 660 + link)),
                replace(datagram, payload=datagram.payload[:9] + frame),
                replace(datagram, payload=datagram.payload[:9] + frame + rng.randbytes(16)),
            ]
    return made


def answers_of_a_false_server(seen: list[Datagram], rng: random.Random) -> list[Datagram]:
    """What a server would say, to a client that has just asked, and to one that has not."""
    example = next(d for d in seen if d.towards == "client")
    senders = {struct.unpack_from(">I", d.payload, 7)[0] for d in seen if d.kind in (REQUEST, INIT)}
    return [
        replace(example, payload=struct.pack(">BIB", kind, sender, 1) + rng.randbytes(length))
        for sender in senders
        for kind, length in ((CHALLENGE, 32), (RESPONSE, 90), (JOINED, 22), (VERSION, 18))
    ]


ATTACKS: tuple[Callable[[list[Datagram], random.Random], list[Datagram]], ...] = (
    replays,
    replays_from_elsewhere,
    bit_flips,
    truncations,
    forgeries,
    nonsense,
    joins_with_a_wrong_key,
    link_downs_without_a_key,
    answers_of_a_false_server,
)


def test_attacks_change_nothing_but_counters(attacker: Attacker, tunnel: Withstands) -> None:
    rng = random.Random(4)
    for attack in ATTACKS:
        seen = handshakes(attacker) + rng.sample(attacker.seen, min(len(attacker.seen), 400))
        datagrams = attack(seen, rng)
        assert datagrams
        for start in range(0, len(datagrams), 50):
            attacker.send(*datagrams[start : start + 50])
            tunnel.let_packets_pass(2)
        tunnel.nothing_has_changed(attack.__name__)
    tunnel.nothing_was_lost()


def handshakes(attacker: Attacker) -> list[Datagram]:
    return [datagram for datagram in attacker.seen if not datagram.is_sealed]


def test_forgeries_and_replays_are_counted(bond: Bond, attacker: Attacker, tunnel: Withstands) -> None:
    server = bond.ends[0]
    sealed = attacker.sealed("server")[-50:]
    before = counted(server, "duplicates"), counted(server, "malformed")
    attacker.send(*sealed, *(flipped(datagram, random.Random(1), range(9, 25)) for datagram in fresh(sealed)))
    until(lambda: counted(server, "duplicates") - before[0] >= len(sealed), server)
    until(lambda: counted(server, "malformed") - before[1] >= len(sealed), server)
    tunnel.nothing_was_lost()


def fresh(sealed: list[Datagram]) -> list[Datagram]:
    """The same with numbers that have not been used, so that it is the seal that fails."""
    moved = []
    for ahead, datagram in enumerate(sealed, start=10_000):
        number = struct.unpack_from(">I", datagram.payload, 5)[0] + ahead
        payload = datagram.payload[:5] + struct.pack(">I", number) + datagram.payload[9:]
        moved.append(replace(datagram, payload=payload))
    return moved


def test_a_fresh_datagram_that_comes_first_from_elsewhere_moves_no_link(
    bond: Bond, attacker: Attacker, tunnel: Withstands
) -> None:
    """The thief is nearer to the server than the client is: each datagram comes first from its address.

    It gets a challenge, and never more than three times what it sent; it cannot seal the answer.
    """
    bond.lab.server.ip(f"neigh replace {THIEF} lladdr 02:00:00:66:66:66 dev isp1 nud permanent")
    stolen: list[int] = []

    def steal(datagram: Datagram) -> None:
        if datagram.towards == "server" and datagram.is_sealed and datagram.link == 1:
            stolen.append(len(datagram.payload))
            attacker.send(replace(datagram, source=(THIEF, 4444)))

    attacker.on_datagram(steal)
    tunnel.let_packets_pass(300)
    attacker.on_datagram(lambda _: None)
    got = [datagram for datagram in attacker.seen if datagram.destination[0] == THIEF]
    assert stolen
    assert got, "the server asks who is there"
    assert sum(len(datagram.payload) for datagram in got) <= 3 * sum(stolen)
    assert sum(len(datagram.payload) for datagram in got) < 100 * len(stolen), "challenges only, no traffic"
    tunnel.nothing_was_lost()


def test_a_recorded_session_played_to_a_restarted_server_is_nothing_to_it(
    bond: Bond, attacker: Attacker, tmp_path: Path
) -> None:
    secret = secret_file(tmp_path, generate())
    server, client = bond.up(secret)
    recorded = [datagram for datagram in attacker.seen if datagram.towards == "server"]
    assert (client.stop(), server.stop()) == (0, 0)
    server = bond.server(secret)
    until(lambda: "listening" in server.log, server)
    mark = len(attacker.seen)
    attacker.send(*recorded)
    until(lambda: any(seen.kind == CHALLENGE for seen in attacker.seen[mark:]), server)
    answers = [seen for seen in attacker.seen[mark:] if seen.towards == "client"]
    assert {seen.kind for seen in answers} == {CHALLENGE}, (
        "a REQUEST proves nothing but that its maker knew the secret"
    )
    assert server.status()["sessions"] == []


def test_an_eavesdropper_finds_no_nonce_twice_and_no_plaintext(
    bond: Bond, attacker: Attacker, tmp_path: Path
) -> None:
    secret = generate()
    bond.up(secret_file(tmp_path, secret))
    plain = os.urandom(32)
    sender = bond.lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver = bond.lab.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.bind(("10.10.10.1", 7000))
        receiver.settimeout(20)
        for number in range(300):
            sender.sendto(number.to_bytes(4, "big") + plain * 30, ("10.10.10.1", 7000))
            assert plain in receiver.recv(2048)
    ours = [seen for seen in attacker.seen if PORT in (seen.source[1], seen.destination[1])]
    assert len(ours) > 300
    assert {seen.kind for seen in ours} <= {*range(REQUEST, VERSION), *range(SEALED, SEALED + 4)}
    nonces = [(seen.towards, *struct.unpack_from(">BII", seen.payload)) for seen in ours if seen.is_sealed]
    assert len(nonces) == len(set(nonces))
    assert {nonce[0] for nonce in nonces} == {"server", "client"}
    inner_addresses = socket.inet_aton("10.10.10.2") + socket.inet_aton("10.10.10.1")
    wire = b"\0".join(seen.payload for seen in ours)
    for hidden in (plain, plain[:16], bytes.fromhex(secret), secret.encode(), inner_addresses):
        assert hidden not in wire
