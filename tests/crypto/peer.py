"""The engine's side of the cryptography as a process (the example ``bond_peer``), and sessions with it."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import reference as ref
from .reference import AES_256_GCM, CHACHA20_POLY1305, Master, Mode

SERVER_PRIVATE, CLIENT_PRIVATE = bytes(range(32)), bytes(range(100, 132))
PSK, SECRET = b"\x5a" * 32, b"\xc3" * 32
OWN_INDEX = 0x0A0B0C0D
COOKIE_SEED = b"\x33" * 32  # the peer program's


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
    assert answer[6:22] == ref.cookie(COOKIE_SEED, 0, sender=OWN_INDEX, address="192.0.2.1", port=5000)
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
