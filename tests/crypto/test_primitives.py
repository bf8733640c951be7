"""The steps below the handshake, one by one: key derivation, MACs, the stretching of a passphrase, and forgetting."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ratbond.secret import generate, is_key, link_key

from .peer import Peer, connect_to_engine, engine, reference_noise
from .reference import AES_256_GCM, Direction, Master, split

KEY = bytes(range(32))


@pytest.fixture
def peer(start: Callable[..., Peer]) -> Peer:
    return engine(start, "server", "shared")


@pytest.mark.parametrize("length", [1, 32, 44, 100])
@pytest.mark.parametrize("label", ["link", "join", "rekey"])
def test_expand_is_hkdf_of_rfc_5869_with_our_labels(peer: Peer, label: str, length: int) -> None:
    info = b"ratbond bond/1 " + label.encode() + b"\0" + b"\1\2\0\3"
    expected = HKDFExpand(algorithm=SHA256(), length=length, info=info).derive(KEY)
    assert peer.get("expand", KEY, label, b"\1\2\0\3", length) == expected


def test_extract_then_expand_is_the_whole_hkdf(peer: Peer) -> None:
    salt, ikm = b"ratbond bond/1 master", os.urandom(96)
    prk = peer.get("extract", salt, ikm)
    whole = HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"ratbond bond/1 join\0x").derive(ikm)
    assert peer.get("expand", prk, "join", b"x", 32) == whole


@pytest.mark.parametrize("length", [1, 64, 65, 1_200])
def test_a_mac_is_the_first_half_of_hmac_sha256(peer: Peer, length: int) -> None:
    text = os.urandom(length)
    reference = HMAC(KEY, SHA256())
    reference.update(text)
    assert peer.get("mac", KEY, text) == reference.finalize()[:16]


@pytest.mark.parametrize("passphrase", ["a", "correct horse battery staple", "mit Umlauten: äöü ß", "0" * 63])
def test_a_passphrase_is_stretched_with_scrypt(passphrase: str) -> None:
    scrypt = Scrypt(salt=b"ratbond bond/1 passphrase", length=32, n=32_768, r=8, p=1)
    assert link_key(passphrase) == scrypt.derive(passphrase.encode()).hex()


def test_a_generated_key_is_used_as_it_is() -> None:
    key = generate()
    assert is_key(key)
    assert link_key(key.upper()) == key


def test_keys_of_an_epoch_that_is_over_are_nowhere_in_memory(start: Callable[..., Peer]) -> None:
    peer = engine(start, "server", "named")
    master, index = connect_to_engine(peer, "named", AES_256_GCM)
    sealed = master.seal("to-server", AES_256_GCM, 0, 5, index, b"old keys")
    assert peer.get("open", "to-server", 0, 5, sealed) == b"old keys"
    assert count_in_memory(peer, [master.secret]) == 1  # or this test would find nothing whatever happens
    noise = reference_noise("named", client=True, prologue=master.rekey_prologue("named"))
    noise.read_message(peer.get("answer", 1, bytes(noise.write_message())))
    assert peer.ask("switch") == "ok"
    newer = master.next(noise)
    sealed = newer.seal("to-server", AES_256_GCM, 0, 6, index, b"new keys")
    assert peer.get("open", "to-server", 0, 6, sealed) == b"new keys"
    assert count_in_memory(peer, [newer.secret]) == 1
    assert count_in_memory(peer, secrets_of(master)) == 0
    assert count_in_memory(peer, [split(noise)[:32], split(noise)[32:64]]) == 0


def secrets_of(master: Master) -> list[bytes]:
    """All that can open what this epoch sealed, or lead to it."""
    directions: tuple[Direction, Direction] = ("to-server", "to-client")
    link_keys = [master.link_material(direction, AES_256_GCM, 0)[:32] for direction in directions]
    return [master.secret, master.join_key(), *link_keys]


def count_in_memory(peer: Peer, secrets: list[bytes]) -> int:
    """How often any of these stands in the writable memory of the peer's process."""
    process = Path("/proc") / str(peer.process.pid)
    found = 0
    with (process / "mem").open("rb", buffering=0) as memory:
        for line in (process / "maps").read_text().splitlines():
            area, access, *_, name = [*line.split(maxsplit=5), ""][:6]
            if "w" not in access or name.startswith("[v"):
                continue
            first, last = (int(end, 16) for end in area.split("-"))
            memory.seek(first)
            content = memory.read(last - first)
            found += sum(content.count(secret) for secret in secrets)
    return found
