"""The first two datagrams of bond/1 (docs/wire.md, handshake): a REQUEST, and the CHALLENGE to it. Pure.

A server keeps nothing of a REQUEST, so asking disturbs nobody, not even a session that runs. Only who knows the secret, or
the server's public key, gets an answer.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import secrets
from dataclasses import dataclass, field
from typing import Final

_REQUEST, _CHALLENGE, _VERSION = 0x01, 0x02, 0x07
_OUR_VERSION: Final = 1
_NAMED, _SHARED = 1, 2
_TOKEN_BYTES: Final = 16
_MAC_BYTES: Final = 16
_CHALLENGE_BYTES: Final = 38
_VERSION_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server is there. The cookie is one of sender, address and port as the server sees them, and of the minute."""

    cookie: bytes


@dataclass(frozen=True, slots=True)
class OtherVersion:
    """The server is there, and speaks versions ``oldest`` to ``newest`` of the protocol."""

    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class Knock:
    """Who asks: the same for all its requests, so that the cookies can be compared."""

    mode: int
    filter_key: bytes = field(repr=False)
    index: int = field(default_factory=lambda: secrets.randbits(32))
    sender: int = field(default_factory=lambda: secrets.randbits(32))

    @classmethod
    def shared(cls, key: str) -> Knock:
        """With the secret that both ends share, as 64 hex digits."""
        return cls(_SHARED, _filter_key(_extract(b"ratbond bond/1 shared", bytes.fromhex(key))))

    @classmethod
    def named(cls, server_key: str) -> Knock:
        """As a client with a key of its own."""
        return cls(_NAMED, _filter_key(bytes.fromhex(server_key)))

    def request(self) -> bytes:
        """A new REQUEST."""
        opening = (
            bytes([_REQUEST])
            + self.index.to_bytes(4, "big")
            + bytes([_OUR_VERSION, self.mode])
            + self.sender.to_bytes(4, "big")
        )
        body = opening + secrets.token_bytes(_TOKEN_BYTES)
        return body + self._mac(body)

    def read(self, answer: bytes, request: bytes) -> Challenge | OtherVersion | None:
        """What an answer to the request says; None when it is none."""
        body, mac = answer[:-_MAC_BYTES], answer[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body + request[-_MAC_BYTES:])):
            return None
        if len(answer) == _CHALLENGE_BYTES and answer[0] == _CHALLENGE:
            return Challenge(body[6:])
        if len(answer) == _VERSION_BYTES and answer[0] == _VERSION:
            return OtherVersion(body[6], body[7])
        return None

    def _mac(self, text: bytes) -> bytes:
        return hmac.digest(self.filter_key, text, "sha256")[:_MAC_BYTES]


def mapping_changes(cookies: list[bytes]) -> int:
    """How often the server saw another address or port. One change is the turn of its minute, so it does not count."""
    changes = sum(before != after for before, after in itertools.pairwise(cookies))
    return changes if changes > 1 else 0


def _filter_key(known: bytes) -> bytes:
    return _extract(b"ratbond bond filter", known)


def _extract(salt: bytes, key: bytes) -> bytes:
    return hmac.digest(salt, key, hashlib.sha256)
