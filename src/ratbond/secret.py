"""The shared secret of sealed links: a key of 256 bits, or a passphrase stretched to one (docs/wire.md, key schedule)."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final

_KEY: Final = re.compile(r"[0-9a-fA-F]{64}")
_KEY_BYTES: Final = 32
_SALT: Final = b"ratbond bond/1 passphrase"
_N, _R, _P = 32_768, 8, 1
_MEMORY: Final = 2 * 128 * _N * _R  # scrypt takes 128 N r bytes, and OpenSSL a little more


def generate() -> str:
    """A new key: 64 hex digits."""
    return secrets.token_hex(_KEY_BYTES)


def is_key(secret: str) -> bool:
    """Whether it is a whole key; anything else is a passphrase, which can be guessed."""
    return _KEY.fullmatch(secret) is not None


def link_key(secret: str) -> str:
    """The key that a secret stands for, in hex. Takes a tenth of a second for a passphrase."""
    if is_key(secret):
        return secret.lower()
    stretched = hashlib.scrypt(
        secret.encode(), salt=_SALT, n=_N, r=_R, p=_P, maxmem=_MEMORY, dklen=_KEY_BYTES
    )
    return stretched.hex()
