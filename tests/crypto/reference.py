"""The cryptography of bond/1 once more, written from docs/wire.md alone, over other libraries than the engine's."""

import hashlib
import hmac
import os
import struct
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers import aead
from noise import connection as noise_connection

Mode = Literal["named", "shared"]
Direction = Literal["to-server", "to-client"]

MODE_NUMBER: dict[Mode, int] = {"named": 1, "shared": 2}
PATTERN: dict[Mode, bytes] = {
    "named": b"Noise_IKpsk2_25519_ChaChaPoly_SHA256",
    "shared": b"Noise_NNpsk0_25519_ChaChaPoly_SHA256",
}
AES_256_GCM, CHACHA20_POLY1305 = 1, 2


def mac(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()[:16]


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.new(salt, ikm, hashlib.sha256).digest()


def expand(prk: bytes, label: str, info: bytes, length: int = 32) -> bytes:
    whole_info = b"ratbond bond/1 " + label.encode() + b"\0" + info
    out, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.new(prk, block + whole_info + bytes([counter]), hashlib.sha256).digest()
        out += block
    return out[:length]


def public_key(private: bytes) -> bytes:
    return x25519.X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def shared_psk(secret: bytes) -> bytes:
    return extract(b"ratbond bond/1 shared", secret)


def cookie(seed: bytes, minute: int, *, sender: int, address: str, port: int) -> bytes:
    key = expand(seed, "cookie", struct.pack(">Q", minute))
    return mac(key, struct.pack(">IH", sender, port) + ip_address(address).packed)


def filter_key(known: bytes) -> bytes:
    return extract(b"ratbond bond filter", known)


def fields(*pairs: tuple[int, bytes]) -> bytes:
    return b"".join(bytes([kind, len(value)]) + value for kind, value in pairs)


def parse_fields(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        kind, length = data[0], data[1]
        found[kind], data = data[2 : 2 + length], data[2 + length :]
    return found


@dataclass(frozen=True)
class Master:
    """The secret of one key epoch."""

    secret: bytes
    epoch: int = 0

    @classmethod
    def first(cls, noise: Any) -> "Master":
        return cls(extract(b"ratbond bond/1 master", split(noise)))

    def next(self, noise: Any) -> "Master":
        return Master(extract(expand(self.secret, "rekey", b""), split(noise)), self.epoch + 1)

    def link_material(self, direction: Direction, cipher: int, link: int) -> bytes:
        info = bytes([direction == "to-client", cipher]) + struct.pack(">H", link)
        return expand(self.secret, "link", info, 44)

    def nonce_and_key(self, direction: Direction, cipher: int, link: int, number: int) -> tuple[bytes, Any]:
        material = self.link_material(direction, cipher, link)
        key, iv = material[:32], material[32:]
        nonce = bytes(a ^ b for a, b in zip(iv, struct.pack(">IQ", 0, number), strict=True))
        return nonce, aead.AESGCM(key) if cipher == AES_256_GCM else aead.ChaCha20Poly1305(key)

    def seal(
        self, direction: Direction, cipher: int, link: int, number: int, receiver: int, frames: bytes
    ) -> bytes:
        header = struct.pack(">BII", 0x80 | self.epoch & 3, receiver, number & 0xFFFFFFFF)
        nonce, key = self.nonce_and_key(direction, cipher, link, number)
        sealed: bytes = key.encrypt(nonce, frames, header)
        return header + sealed

    def open(self, direction: Direction, cipher: int, link: int, number: int, datagram: bytes) -> bytes:
        nonce, key = self.nonce_and_key(direction, cipher, link, number)
        frames: bytes = key.decrypt(nonce, datagram[9:], datagram[:9])
        return frames

    def join_key(self) -> bytes:
        return expand(self.secret, "join", b"")

    def rekey_prologue(self, mode: Mode) -> bytes:
        binding = expand(self.secret, "binding", b"")
        return b"ratbond bond/1 rekey" + bytes([MODE_NUMBER[mode], self.epoch + 1]) + binding


def split(noise: Any) -> bytes:
    """Both keys of Split(), the initiator's first, then the handshake hash."""
    protocol = noise.noise_protocol
    ours, theirs = protocol.cipher_state_encrypt.k, protocol.cipher_state_decrypt.k
    first, second = (ours, theirs) if noise.initiated else (theirs, ours)
    whole: bytes = first + second + noise.get_handshake_hash()
    return whole


def noise_for(
    mode: Mode, *, initiator: bool, prologue: bytes, psk: bytes, own: bytes = b"", remote: bytes = b""
) -> Any:
    noise = noise_connection.NoiseConnection.from_name(PATTERN[mode])
    (noise.set_as_initiator if initiator else noise.set_as_responder)()
    noise.set_prologue(prologue)
    noise.set_psks(psk)
    if mode == "named":
        noise.set_keypair_from_private_bytes(noise_connection.Keypair.STATIC, own)
        if initiator:
            noise.set_keypair_from_public_bytes(noise_connection.Keypair.REMOTE_STATIC, remote)
    noise.start_handshake()
    noise.initiated = initiator  # the library forgets it when the handshake is done
    return noise


def opening(kind: int, mode: Mode, *, steer: int, sender: int) -> bytes:
    return struct.pack(">BIBBI", kind, steer, 1, MODE_NUMBER[mode], sender)


def prologue_of(init: bytes) -> bytes:
    return b"ratbond bond/1 client initiates" + init[:11]


def request(mode: Mode, key: bytes, *, steer: int, sender: int) -> bytes:
    body = opening(1, mode, steer=steer, sender=sender) + os.urandom(16)
    return body + mac(key, body)


def challenge(request_datagram: bytes, cookie: bytes, key: bytes) -> bytes:
    body = b"\x02" + request_datagram[7:11] + b"\x01" + cookie
    return body + mac(key, body + request_datagram[-16:])
