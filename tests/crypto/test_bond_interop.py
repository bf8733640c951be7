"""The engine's handshake, keys, joining and rekeying against the independent reference, in both roles and modes.

reference (Python: noiseprotocol, cryptography)  <- hex lines ->  bond_peer (the engine's own code)
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from . import reference as ref
from .peer import OWN_INDEX, Peer, connect_engine, connect_to_engine, engine, filter_key_of, reference_noise
from .reference import AES_256_GCM, CHACHA20_POLY1305, Mode


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
