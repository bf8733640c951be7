"""What a named client is set up with: one word that holds where the server is and the keys (docs/clients.md).

``rbj1.`` and, in URL-safe base64 without padding: tunnel-id u16 ‖ the client's private key 32 ‖ the server's public key
32 ‖ pre-shared key 32 ‖ the server's address as UTF-8 ‖ the first 4 bytes of SHA-256 over all before. The sum tells a word that
was cut when it was copied; it protects nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import Final

from ratbond.models import HostPort

_PREFIX: Final = "rbj1."
_SUM_BYTES: Final = 4
_KEY_BYTES: Final = 32
_FIXED_BYTES: Final = 2 + 3 * _KEY_BYTES
_MAX_LENGTH: Final = 1024


@dataclass(frozen=True, slots=True)
class Invitation:
    """A named client's whole identity. Keys are 64 hex digits."""

    server: HostPort
    tunnel_id: int
    private_key: str = field(repr=False)
    server_key: str
    psk: str = field(repr=False)

    def encode(self) -> str:
        """The word. Whoever has it is this client."""
        keys = bytes.fromhex(self.private_key + self.server_key + self.psk)
        body = self.tunnel_id.to_bytes(2, "big") + keys + str(self.server).encode()
        return _PREFIX + base64.urlsafe_b64encode(body + _sum(body)).decode().rstrip("=")

    @classmethod
    def decode(cls, word: str) -> Invitation:
        """Reads the word. Raises ValueError with one line for the user, in which nothing of the word stands."""
        word = word.strip()
        if not word.startswith(_PREFIX):
            raise ValueError(f"what `ratbond client add` prints on the server begins with {_PREFIX}")
        if len(word) > _MAX_LENGTH:
            raise ValueError("it is too long: give one word, as `ratbond client add` printed it")
        try:
            raw = base64.b64decode(
                word[len(_PREFIX) :] + "=" * (-(len(word) - len(_PREFIX)) % 4), altchars=b"-_", validate=True
            )
        except (binascii.Error, ValueError):
            raw = b""
        body = raw[:-_SUM_BYTES]
        if len(body) <= _FIXED_BYTES or raw[-_SUM_BYTES:] != _sum(body):
            raise ValueError("it was cut or changed when it was copied; copy the whole word again")
        keys = [body[2 + i * _KEY_BYTES :][:_KEY_BYTES].hex() for i in range(3)]
        server = HostPort.parse(body[_FIXED_BYTES:].decode(errors="replace"))
        return cls(server, int.from_bytes(body[:2], "big"), *keys)


def _sum(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_SUM_BYTES]
