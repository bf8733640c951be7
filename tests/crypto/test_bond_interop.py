"""The engine's handshake, keys, joining and rekeying against the independent reference, in both roles and modes.

reference (Python: noiseprotocol, cryptography)  <- hex lines ->  bond_peer (the engine's own code)
"""

import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import reference as ref
from .reference import AES_256_GCM, CHACHA20_POLY1305, Master, Mode

ROOT = Path(__file__).resolve().parents[2]
SERVER_PRIVATE, CLIENT_PRIVATE = bytes(range(32)), bytes(range(100, 132))
PSK, SECRET = b"\x5a" * 32, b"\xc3" * 32
OWN_INDEX = 0x0A0B0C0D


class Peer:
    """The engine's side, one command a line."""

    def __init__(self, program: Path, *args: str) -> None:
        self.process = subprocess.Popen(
            [program, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, *words: object) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = " ".join(w.hex() if isinstance(w, bytes) else str(w) for w in words)
        self.process.stdin.write(line + "\n")
        return self.process.stdout.readline().strip()

    def get(self, *words: object) -> bytes:
        status, _, value = self.ask(*words).partition(" ")
        assert status == "ok", value
        return bytes.fromhex(value)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


@pytest.fixture(scope="session")
def program() -> Path:
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "-p", "ratbond-proto", "--example", "bond_peer"],
        cwd=ROOT,
        check=True,
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug" / "examples" / "bond_peer"


@pytest.fixture
def start(program: Path) -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def start(*args: str) -> Peer:
        peers.append(Peer(program, *args))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()


def psk_of(mode: Mode) -> bytes:
    return PSK if mode == "named" else ref.shared_psk(SECRET)


def filter_key_of(mode: Mode) -> bytes:
    return ref.filter_key(ref.public_key(SERVER_PRIVATE) if mode == "named" else ref.shared_psk(SECRET))


def engine(start: Callable[..., Peer], role: str, mode: Mode) -> Peer:
    if mode == "shared":
        return start(role, mode, SECRET.hex())
    if role == "server":
        return start(role, mode, SERVER_PRIVATE.hex(), PSK.hex())
    return start(role, mode, CLIENT_PRIVATE.hex(), ref.public_key(SERVER_PRIVATE).hex(), PSK.hex())


def reference_noise(mode: Mode, *, client: bool, prologue: bytes) -> Any:
    return ref.noise_for(
        mode,
        initiator=client,
        prologue=prologue,
        psk=psk_of(mode),
        own=CLIENT_PRIVATE if client else SERVER_PRIVATE,
        remote=ref.public_key(SERVER_PRIVATE),
    )


def connect_to_engine(peer: Peer, mode: Mode, cipher: int) -> tuple[Master, int]:
    """The reference is the client; the session's master, and the engine's index."""
    key = filter_key_of(mode)
    request = ref.request(mode, key, steer=0x99, sender=OWN_INDEX)
    assert len(request) == 43
    answer = peer.get("in", request)
    assert answer[:6] == struct.pack(">BIB", 2, OWN_INDEX, 1)
    assert len(answer) == 38
    assert answer[-16:] == ref.mac(key, answer[:-16] + request[-16:])
    header = ref.opening(3, mode, steer=0x99, sender=OWN_INDEX)
    noise = reference_noise(mode, client=True, prologue=ref.prologue_of(header))
    body = header + answer[6:22] + noise.write_message(ref.fields((2, bytes([cipher])), (3, b"\x02\x94")))
    response = peer.get("in", body + ref.mac(key, body))
    assert response[:6] == struct.pack(">BIB", 4, OWN_INDEX, 1)
    said = ref.parse_fields(bytes(noise.read_message(response[6:])))
    assert said[2] == bytes([cipher])
    assert said[5] == struct.pack(">H", 1442)
    return Master.first(noise), struct.unpack(">I", said[4])[0]


def connect_engine(peer: Peer, mode: Mode, cipher: int) -> Master:
    """The reference is the server."""
    key = filter_key_of(mode)
    request = peer.get("start")
    assert request[:1] + request[5:7] == bytes([1, 1, ref.MODE_NUMBER[mode]])
    assert request[-16:] == ref.mac(key, request[:-16])
    cookie = os.urandom(16)
    init = peer.get("in", ref.challenge(request, cookie, key))
    assert init[0] == 3
    assert init[1:11] == request[1:11]
    assert init[11:27] == cookie
    assert init[-16:] == ref.mac(key, init[:-16])
    noise = reference_noise(mode, client=False, prologue=ref.prologue_of(init))
    offered = ref.parse_fields(bytes(noise.read_message(init[27:-16])))
    assert offered[2] == bytes([AES_256_GCM, CHACHA20_POLY1305])
    if mode == "named":
        assert noise.noise_protocol.handshake_state.rs.public_bytes == ref.public_key(CLIENT_PRIVATE)
    payload = ref.fields((4, struct.pack(">I", OWN_INDEX)), (2, bytes([cipher])))
    response = b"\x04" + init[7:11] + b"\x01" + noise.write_message(payload)
    assert peer.get("in", response) == payload
    return Master.first(noise)


@pytest.mark.parametrize("cipher", [AES_256_GCM, CHACHA20_POLY1305])
@pytest.mark.parametrize("mode", ["named", "shared"])
@pytest.mark.parametrize("number", [0, 7, 2**32 - 1, 2**32 + 5, 2**40])
def test_the_engine_as_server_agrees_with_the_reference(
    start: Callable[..., Peer], mode: Mode, cipher: int, number: int
) -> None:
    peer = engine(start, "server", mode)
    master, index = connect_to_engine(peer, mode, cipher)
    sealed = master.seal("to-server", cipher, 3, number, index, b"from the reference")
    assert peer.get("open", "to-server", 3, number, sealed) == b"from the reference"
    sealed = peer.get("seal", "to-client", 3, number, b"from the engine")
    assert sealed == master.seal("to-client", cipher, 3, number, OWN_INDEX, b"from the engine")
    assert master.open("to-client", cipher, 3, number, sealed) == b"from the engine"


@pytest.mark.parametrize("cipher", [AES_256_GCM, CHACHA20_POLY1305])
@pytest.mark.parametrize("mode", ["named", "shared"])
def test_the_engine_as_client_agrees_with_the_reference(
    start: Callable[..., Peer], mode: Mode, cipher: int
) -> None:
    peer = engine(start, "client", mode)
    master = connect_engine(peer, mode, cipher)
    sealed = peer.get("seal", "to-server", 0, 1, b"hello")
    assert sealed == master.seal("to-server", cipher, 0, 1, OWN_INDEX, b"hello")
    assert b"hello" not in sealed
    sealed = master.seal("to-client", cipher, 0, 9, 1, b"answer")
    assert peer.get("open", "to-client", 0, 0, sealed) == b"answer"


@pytest.mark.parametrize("mode", ["named", "shared"])
def test_a_link_joins_with_the_references_proof(start: Callable[..., Peer], mode: Mode) -> None:
    peer = engine(start, "server", mode)
    master, index = connect_to_engine(peer, mode, AES_256_GCM)
    body = struct.pack(">BIBBHI", 5, index, 1, 0, 4, 0x0E0F)
    join = body + ref.mac(master.join_key(), body)
    assert len(join) == 29
    answer = peer.get("in", join)
    assert answer[:8] == struct.pack(">BIBBB", 6, 0x0E0F, 1, 0, 0)
    assert answer[-16:] == ref.mac(master.join_key(), answer[:-16] + join)
    forged = join[:-1] + bytes([join[-1] ^ 1])
    assert peer.ask("in", forged) == "error wrong proof"


@pytest.mark.parametrize("mode", ["named", "shared"])
def test_the_engine_joins_with_a_proof_that_the_reference_accepts(
    start: Callable[..., Peer], mode: Mode
) -> None:
    peer = engine(start, "client", mode)
    master = connect_engine(peer, mode, AES_256_GCM)
    join = peer.get("join", 258)
    assert join[:-16] == struct.pack(">BIBBHI", 5, OWN_INDEX, 1, 0, 258, 0x77)
    assert join[-16:] == ref.mac(master.join_key(), join[:-16])
    body = struct.pack(">BIBBBI", 6, 0x77, 1, 0, 0, 0xABCD)
    assert peer.ask("joined", join, body + ref.mac(master.join_key(), body + join)) == "ok 0000abcd"


@pytest.mark.parametrize("mode", ["named", "shared"])
def test_rekeying_leads_both_to_the_same_next_epoch(start: Callable[..., Peer], mode: Mode) -> None:
    peer = engine(start, "server", mode)
    master, index = connect_to_engine(peer, mode, AES_256_GCM)
    for epoch in (1, 2):
        noise = reference_noise(mode, client=True, prologue=master.rekey_prologue(mode))
        noise.read_message(peer.get("answer", epoch, bytes(noise.write_message())))
        master = master.next(noise)
        assert peer.ask("switch") == "ok"
        sealed = master.seal("to-server", AES_256_GCM, 0, 5, index, b"new keys")
        assert sealed[0] == 0x80 | epoch
        assert peer.get("open", "to-server", 0, 5, sealed) == b"new keys"


@pytest.mark.parametrize("mode", ["named", "shared"])
def test_the_engine_rekeys_as_the_reference_does(start: Callable[..., Peer], mode: Mode) -> None:
    peer = engine(start, "client", mode)
    master = connect_engine(peer, mode, CHACHA20_POLY1305)
    _, epoch, offer = peer.ask("offer").split()
    noise = reference_noise(mode, client=False, prologue=master.rekey_prologue(mode))
    assert bytes(noise.read_message(bytes.fromhex(offer))) == b""
    answer = bytes(noise.write_message())
    assert peer.ask("finish", epoch, answer) == "ok"
    assert peer.ask("switch") == "ok"
    sealed = peer.get("seal", "to-server", 0, 6, b"new keys")
    assert sealed == master.next(noise).seal("to-server", CHACHA20_POLY1305, 0, 6, OWN_INDEX, b"new keys")


def test_a_stranger_is_not_answered(start: Callable[..., Peer]) -> None:
    peer = engine(start, "server", "shared")
    wrong = ref.filter_key(ref.shared_psk(b"\x01" * 32))
    answer = peer.ask("in", ref.request("shared", wrong, steer=1, sender=2))
    assert answer == "error handshake datagram of somebody who does not know the secret"


def test_an_older_version_is_refused_in_words(start: Callable[..., Peer]) -> None:
    peer = engine(start, "server", "shared")
    key = filter_key_of("shared")
    body = bytearray(ref.request("shared", key, steer=1, sender=0x0102)[:-16])
    body[5] = 0
    old = bytes(body) + ref.mac(key, bytes(body))
    answer = peer.get("in", old)
    assert answer[:8] == struct.pack(">BIBBB", 7, 0x0102, 1, 1, 1)
    assert answer[8:] == ref.mac(key, answer[:8] + old[-16:])
