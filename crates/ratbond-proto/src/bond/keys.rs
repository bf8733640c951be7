//! The key schedule of a session and the sealing of its datagrams.
//!
//! One **master** secret per key epoch comes out of a Noise handshake. From it every link gets two keys (one a
//! direction), so a link needs no handshake of its own, and the epoch its join key. Rekeying mixes a fresh handshake
//! into the old master; once that is erased, neither older nor newer traffic can be read with what is left.

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::datagram::{HEADER_LEN, Header, ReceiverIndex, SEALED_OVERHEAD, TAG_LEN};
use super::kdf::{self, MacKey};
use super::secret::{Erased, Secret32, off_the_stack};

/// Datagrams sealed with one key after which a rekeying starts: RFC 9001, appendix B.1.1, for packets up to 2^11 bytes.
pub const REKEY_AFTER_SEALED: u64 = 1 << 28;
/// Datagrams that one key seals at most, whatever happens.
pub const MAX_SEALED: u64 = 1 << 32;
/// Failed openings with one key after which it is given up: the integrity limit of ChaCha20-Poly1305 (RFC 9001, 6.6),
/// which is the lower one.
pub const MAX_FORGED: u64 = 1 << 36;

/// An AEAD for sealed datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// AES-256-GCM: twice as fast where the CPU has AES instructions.
    Aes256Gcm,
    /// ChaCha20-Poly1305: several times faster where it has not.
    ChaCha20Poly1305,
    /// Neither hides nor proves: what a link costs without an AEAD. No number of the wire means it.
    #[cfg(feature = "bench-null-cipher")]
    Null,
}

impl Cipher {
    /// Its number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
            #[cfg(feature = "bench-null-cipher")]
            Self::Null => 0,
        }
    }

    /// The cipher of a number on the wire.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Its name, as users write and read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            #[cfg(feature = "bench-null-cipher")]
            Self::Null => "null",
        }
    }

    fn key(self, material: &[u8]) -> Aead {
        let algorithm = match self {
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
            #[cfg(feature = "bench-null-cipher")]
            Self::Null => return Aead::Null,
        };
        #[expect(clippy::unwrap_used, reason = "both ciphers take 32 bytes, and the material has 32")]
        let key = UnboundKey::new(algorithm, material).unwrap();
        Aead::Real(Erased::new(LessSafeKey::new(key)))
    }
}

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Sealed by the client.
    ClientToServer,
    /// Sealed by the server.
    ServerToClient,
}

/// The master secret of one key epoch of a session.
#[derive(Clone, Debug)]
pub struct Master {
    /// On the heap, so that moving a master leaves no copies on the stack.
    secret: Box<Secret32>,
    epoch: u8,
}

/// What a finished Noise handshake leaves: the two keys of its `Split()`, initiator's first, and its hash.
pub struct NoiseOutput {
    /// Keys of `Split()`.
    pub split: (Secret32, Secret32),
    /// The handshake hash `h`.
    pub hash: [u8; 32],
}

impl Master {
    /// Epoch 0, from the handshake that began the session.
    #[must_use]
    pub fn first(noise: &NoiseOutput) -> Self {
        Self::extract(b"ratbond bond/1 master", noise, 0)
    }

    /// The next epoch, from a fresh handshake that ran inside this session.
    #[must_use]
    pub fn next(&self, noise: &NoiseOutput) -> Self {
        let salt = kdf::expand_secret(&self.secret, "rekey", &[]);
        Self::extract(&salt.0, noise, self.epoch.wrapping_add(1))
    }

    fn extract(salt: &[u8], noise: &NoiseOutput, epoch: u8) -> Self {
        let ikm: [&[u8]; 3] = [&noise.split.0.0, &noise.split.1.0, &noise.hash];
        let secret = off_the_stack(|| Box::new(kdf::extract(salt, &ikm)));
        Self { secret, epoch }
    }

    /// The key epoch, modulo 256. Its two low bits are the phase in a datagram's type byte.
    #[must_use]
    pub const fn epoch(&self) -> u8 {
        self.epoch
    }

    /// The key that proves that a JOIN belongs to this session.
    #[must_use]
    pub fn join_key(&self) -> MacKey {
        MacKey::new(&kdf::expand_secret(&self.secret, "join", &[]))
    }

    /// Binds a rekeying to this session and epoch: part of its Noise prologue.
    #[must_use]
    pub fn rekey_binding(&self) -> [u8; 32] {
        kdf::expand_secret(&self.secret, "binding", &[]).0
    }

    /// The key with which one end of `link` seals.
    #[must_use]
    pub fn seal_key(&self, direction: Direction, cipher: Cipher, link: u16) -> SealKey {
        let (key, iv) = self.link_key(direction, cipher, link);
        SealKey { key, iv, epoch: self.epoch, sealed: 0 }
    }

    /// The key with which the other end opens.
    #[must_use]
    pub fn open_key(&self, direction: Direction, cipher: Cipher, link: u16) -> OpenKey {
        let (key, iv) = self.link_key(direction, cipher, link);
        OpenKey { key, iv, epoch: self.epoch, forged: 0 }
    }

    fn link_key(&self, direction: Direction, cipher: Cipher, link: u16) -> (Aead, Iv) {
        let direction = match direction {
            Direction::ClientToServer => 0,
            Direction::ServerToClient => 1,
        };
        off_the_stack(|| self.derive_link_key(direction, cipher, link))
    }

    fn derive_link_key(&self, direction: u8, cipher: Cipher, link: u16) -> (Aead, Iv) {
        let [link_high, link_low] = link.to_be_bytes();
        let mut material = Zeroizing::new([0; 44]);
        kdf::expand(
            &self.secret,
            "link",
            &[direction, cipher.to_wire(), link_high, link_low],
            material.as_mut_slice(),
        );
        let mut iv = Iv([0; 12]);
        iv.0.copy_from_slice(&material[32..]);
        (cipher.key(&material[..32]), iv)
    }
}

/// A key for one cipher.
#[derive(Debug)]
enum Aead {
    Real(Erased<LessSafeKey>),
    #[cfg(feature = "bench-null-cipher")]
    Null,
}

impl Aead {
    /// Seals in place; the tag. None for a plaintext of 2^36 bytes and more.
    fn seal(&self, nonce: Nonce, header: [u8; HEADER_LEN], frames: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        match self {
            Self::Real(key) => {
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(header), frames).ok()?;
                tag.as_ref().try_into().ok()
            }
            #[cfg(feature = "bench-null-cipher")]
            Self::Null => Some([0; TAG_LEN]),
        }
    }

    /// Opens in place what ends in its tag; what was sealed.
    fn open<'a>(&self, nonce: Nonce, header: &[u8], sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        match self {
            Self::Real(key) => key.open_in_place(nonce, Aad::from(header), sealed).ok(),
            #[cfg(feature = "bench-null-cipher")]
            Self::Null => sealed.split_last_chunk_mut::<TAG_LEN>().map(|(frames, _)| frames),
        }
    }
}

struct Iv([u8; 12]);

impl Iv {
    /// As in RFC 9001, section 5.3: the packet number, left-padded with zeros, xored onto the IV.
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.0;
        for (byte, count) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= count;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Drop for Iv {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Iv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Iv(..)")
    }
}

/// Why a datagram was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// The buffer is smaller than header, frames and tag.
    #[error("no room for header and tag")]
    NoRoom,
    /// The key has sealed all that it may.
    #[error("key is used up")]
    UsedUp,
}

/// Seals one direction of one link in one key epoch. Not `Clone`: two copies would use a nonce twice.
#[derive(Debug)]
pub struct SealKey {
    key: Aead,
    iv: Iv,
    epoch: u8,
    sealed: u64,
}

impl SealKey {
    /// Key epoch modulo 256.
    #[must_use]
    pub const fn epoch(&self) -> u8 {
        self.epoch
    }

    /// Datagrams sealed so far.
    #[must_use]
    pub const fn sealed(&self) -> u64 {
        self.sealed
    }

    /// Seals packet `number` in place. `datagram` has [`HEADER_LEN`] bytes of room, then `frames_len` bytes of frames,
    /// then at least [`TAG_LEN`] bytes of room. Returns the datagram's length.
    ///
    /// The caller never passes a number twice: the sender's counter is the only source of numbers.
    ///
    /// # Errors
    /// Too little room, or the key is used up.
    pub fn seal(
        &mut self,
        receiver: ReceiverIndex,
        number: u64,
        datagram: &mut [u8],
        frames_len: usize,
    ) -> Result<usize, SealError> {
        if self.sealed >= MAX_SEALED {
            return Err(SealError::UsedUp);
        }
        let len = frames_len + SEALED_OVERHEAD;
        let datagram = datagram.get_mut(..len).ok_or(SealError::NoRoom)?;
        let header = Header::of_packet(self.epoch & 3, receiver, number).encode();
        let (head, body) = datagram.split_at_mut(HEADER_LEN);
        let (frames, tag_room) = body.split_at_mut(frames_len);
        head.copy_from_slice(&header);
        let tag = self.key.seal(self.iv.nonce(number), header, frames).ok_or(SealError::NoRoom)?;
        tag_room.copy_from_slice(&tag);
        self.sealed += 1;
        Ok(len)
    }
}

/// Opens one direction of one link in one key epoch.
#[derive(Debug)]
pub struct OpenKey {
    key: Aead,
    iv: Iv,
    epoch: u8,
    forged: u64,
}

impl OpenKey {
    /// Key epoch modulo 256.
    #[must_use]
    pub const fn epoch(&self) -> u8 {
        self.epoch
    }

    /// Datagrams that did not open.
    #[must_use]
    pub const fn forged(&self) -> u64 {
        self.forged
    }

    /// Opens packet `number` in place; its frames, or `None` when it was not sealed with this key. The datagram's
    /// content is then garbage.
    pub fn open<'a>(&mut self, number: u64, datagram: &'a mut [u8]) -> Option<&'a mut [u8]> {
        if datagram.len() <= HEADER_LEN + TAG_LEN || self.forged >= MAX_FORGED {
            return None;
        }
        let (head, sealed) = datagram.split_at_mut(HEADER_LEN);
        let opened = self.key.open(self.iv.nonce(number), head, sealed);
        if opened.is_none() {
            self.forged += 1;
        }
        opened
    }
}

#[cfg(test)]
mod tests;
