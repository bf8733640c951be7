"""What sealed links choose, tell and keep to themselves; two links of 50 Mbit/s and 20 ms, see conftest.py."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
from pathlib import Path

import pytest

from ratbond.secret import generate, link_key
from tests.net.bond import PORT, RATBOND, Bond, End, until
from tests.net.test_sealed import secret_file

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]


def cipher_of(end: End) -> str:
    (session,) = end.status()["sessions"]
    return str(session["cipher"])


def test_the_cipher_that_one_end_insists_on_is_used_by_both_and_shown(bond: Bond, tmp_path: Path) -> None:
    secret = secret_file(tmp_path, generate())
    server, client = bond.server(secret), bond.client(secret, "--cipher=chacha20-poly1305")
    until(lambda: bond.ping() and cipher_of(server) != "", client)
    for end, encryption in ((server, "sealed, cipher auto"), (client, "sealed, cipher chacha20-poly1305")):
        assert cipher_of(end) == "chacha20-poly1305"
        assert end.status()["encryption"] == encryption
        assert "the bond is up peer=ratbond cipher=chacha20-poly1305" in end.log
    assert "sealed with chacha20-poly1305" in client.host.run(*RATBOND, "status").stdout


def test_ends_that_insist_on_different_ciphers_say_so_and_do_not_connect(bond: Bond, tmp_path: Path) -> None:
    secret = secret_file(tmp_path, generate())
    server, client = (
        bond.server(secret, "--cipher=aes-256-gcm"),
        bond.client(secret, "--cipher=chacha20-poly1305"),
    )
    words = "no cipher in common: give both ends the same --cipher, or none"
    until(lambda: words in server.log and words in client.log, client)
    assert client.links_up() == []


@pytest.mark.parametrize("flags", [(), ("--aes",)], ids=["a key that seals", "a passphrase of stock AES"])
def test_the_secret_is_in_no_log_and_no_status(bond: Bond, tmp_path: Path, flags: tuple[str, ...]) -> None:
    secret = "a passphrase of 2026, long enough" if flags else generate()
    file = secret_file(tmp_path, secret)
    ends = bond.up(file, "--trace", "--stats-interval=0.2", *flags)
    stranger = bond.lab.client.run(*RATBOND, "server", file, "--listen-addr=203.0.113.9:1", check=False)
    assert stranger.returncode == 1  # an error while the secret is known: that address is not ours
    told = stranger.stdout + stranger.stderr
    for end in ends:
        told += json.dumps(end.status()) + end.host.run(*RATBOND, "status").stdout
        assert end.stop() == 0
        told += end.log
    assert len(told) > 2000
    for encoded in encodings(secret):
        assert encoded not in told


def encodings(secret: str) -> set[str]:
    """A secret and what is made of it, as text, hex, base64 and lists of numbers."""
    texts = {secret, secret.encode().hex(), *_of_bytes(secret.encode())}
    key = bytes.fromhex(link_key(secret))
    psk = hmac.new(b"ratbond bond/1 shared", key, hashlib.sha256).digest()
    stock = hashlib.pbkdf2_hmac("sha1", secret.encode(), b"ratbond salt", 1024, 32)
    for derived in (key, psk, stock):
        texts |= {derived.hex(), derived.hex().upper(), derived.hex(":"), *_of_bytes(derived)}
    return texts


def _of_bytes(data: bytes) -> set[str]:
    without_padding = (base64.b64encode(data), base64.urlsafe_b64encode(data), base64.b32encode(data))
    numbers = ", ".join(map(str, data[:8])), " ".join(map(str, data[:8])), ",".join(map(str, data[:8]))
    return {encoded.decode().rstrip("=") for encoded in without_padding} | set(numbers)


# A REQUEST and an INIT as the version before the first one would have made them, recorded once: secret c3 repeated,
# mode 2, sender 01020304; only the version byte and with it the MAC differ from version 1.
RECORDED = (
    "0111223344000201020304000102030405060708090a0b0c0d0e0f7e87eed285dc0670af49af90e748c4d7",
    (
        "0311223344000201020304000102030405060708090a0b0c0d0e0f00070e151c232a31383f464d545b62697077"
        "7e858c939aa1a8afb6bdc4cbd2d9e0e7eef5fc030a11181f262d343b424950575e656c737a81888f969d6be592"
        "9c2f38045ca9f6344f04147853"
    ),
)


@pytest.mark.parametrize("recorded", RECORDED, ids=["REQUEST", "INIT"])
def test_datagrams_of_an_older_version_are_refused_in_words(
    bond: Bond, tmp_path: Path, recorded: str
) -> None:
    server = bond.server(secret_file(tmp_path, "c3" * 32))
    until(lambda: "listening" in server.log, server)
    with bond.lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as older:
        older.settimeout(5)
        older.sendto(bytes.fromhex(recorded), (bond.lab.server_ipv4, PORT))
        answer = older.recv(2048)
    # VERSION, to the sender's index: I speak 1, from 1 to 1.
    assert answer[:8] == bytes.fromhex("07 01020304 01 01 01")
    assert len(answer) == 24 <= len(recorded) // 2
    until(
        lambda: "the peer speaks bond/0, this end speaks bond/1: bring both to the same version" in server.log
    )


def test_a_sealed_datagram_of_an_older_version_is_nothing_to_the_server(bond: Bond, tmp_path: Path) -> None:
    server = bond.server(secret_file(tmp_path, "c3" * 32))
    until(lambda: "listening" in server.log, server)
    with bond.lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as older:
        older.settimeout(0.5)
        older.sendto(
            bytes([0x80]) + bytes(8) + b"sealed by a key that nobody has", (bond.lab.server_ipv4, PORT)
        )
        with pytest.raises(TimeoutError):
            older.recv(2048)
    assert server.status()["sessions"] == []
