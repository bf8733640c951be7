//! The header around every stock datagram: a random nonce, and a CRC-32 over what follows it; with `--aes` all of it
//! is AES-256-CFB.
//!
//! ```text
//! 0        16      20
//! | nonce  | CRC   | KCP segments ...
//! ```
//!
//! This is stock's protection, kept for stock's peers: the secret has a public default, the IV is fixed, and a CRC is no
//! authentication. Between two of ours `bond/1` is the protocol that protects.

use std::fmt;

use aes::Aes256Enc;
use aes::cipher::{InnerIvInit, KeyInit};
use cfb_mode::{Decryptor, Encryptor};
use sha1::Sha1;

use super::segment;

/// Bytes of the nonce.
pub const NONCE_LEN: usize = 16;
/// Bytes of the header: nonce and CRC-32.
pub const HEADER_LEN: usize = NONCE_LEN + 4;
/// The secret of a stock ratbond that was given none.
pub const DEFAULT_SECRET: &str = "ratbond";

/// kcp-go's fixed initialisation vector; the nonce inside the first block takes over its role.
const IV: [u8; 16] =
    [0xa7, 0x73, 0x4f, 0x9c, 0x12, 0xac, 0x1b, 0x01, 0xa4, 0x15, 0xf2, 0xc1, 0xfc, 0x78, 0xe6, 0x6b];
const SALT: &[u8] = b"ratbond salt";
const ROUNDS: u32 = 1024;

/// Why a datagram was not opened. Whoever sent it does not know the secret, or it was damaged on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptError {
    /// Too short for the header and one segment.
    #[error("{0} bytes are too short for a datagram")]
    TooShort(usize),
    /// The CRC-32 does not fit the content.
    #[error("the checksum does not fit")]
    Checksum,
}

/// How datagrams are protected.
#[derive(Debug)]
pub enum Crypt {
    /// Nonce and CRC-32 in the clear: stock's default.
    Plain,
    /// Stock's `--aes`.
    Aes(Box<AesCfb>),
}

impl Crypt {
    /// Stock's `--aes` with this secret. Costs 1,024 rounds of PBKDF2: once per tunnel, not per packet.
    #[must_use]
    pub fn aes(secret: &str) -> Self {
        Self::Aes(Box::new(AesCfb::new(&derive_key(secret))))
    }

    /// Starts a datagram: clears `datagram` and reserves the header.
    pub fn begin(datagram: &mut Vec<u8>) {
        datagram.clear();
        datagram.resize(HEADER_LEN, 0);
    }

    /// Seals a datagram whose first [`HEADER_LEN`] bytes are reserved (see [`Crypt::begin`]) in place.
    ///
    /// The nonce must not repeat under one secret, nor be guessable.
    pub fn seal(&self, datagram: &mut [u8], nonce: [u8; NONCE_LEN]) {
        let Some((header, body)) = datagram.split_first_chunk_mut::<HEADER_LEN>() else {
            debug_assert!(false, "no room was reserved for the header");
            return;
        };
        header[..NONCE_LEN].copy_from_slice(&nonce);
        header[NONCE_LEN..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        if let Self::Aes(aes) = self {
            aes.encrypt(datagram);
        }
    }

    /// Opens a datagram in place and returns its segments.
    ///
    /// # Errors
    /// When it is shorter than header and one segment, or the CRC-32 does not fit. Its bytes are then worthless.
    pub fn open<'a>(&self, datagram: &'a mut [u8]) -> Result<&'a [u8], CryptError> {
        if datagram.len() < HEADER_LEN + segment::HEADER_LEN {
            return Err(CryptError::TooShort(datagram.len()));
        }
        if let Self::Aes(aes) = self {
            aes.decrypt(datagram);
        }
        let (header, body) = datagram.split_at(HEADER_LEN);
        if crc32fast::hash(body).to_le_bytes() == header[NONCE_LEN..] {
            Ok(body)
        } else {
            Err(CryptError::Checksum)
        }
    }
}

/// AES-256 in CFB-128 with kcp-go's fixed IV; the last block may be partial.
pub struct AesCfb {
    cipher: Aes256Enc,
}

impl AesCfb {
    /// With this key (see [`derive_key`]).
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { cipher: Aes256Enc::new(key.into()) }
    }

    fn encrypt(&self, datagram: &mut [u8]) {
        Encryptor::<&Aes256Enc>::inner_iv_init(&self.cipher, (&IV).into()).encrypt(datagram);
    }

    fn decrypt(&self, datagram: &mut [u8]) {
        Decryptor::<&Aes256Enc>::inner_iv_init(&self.cipher, (&IV).into()).decrypt(datagram);
    }
}

impl fmt::Debug for AesCfb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesCfb(key hidden)")
    }
}

/// Stock's key: PBKDF2-HMAC-SHA1 of the secret with a fixed salt, 1,024 rounds.
#[must_use]
pub fn derive_key(secret: &str) -> [u8; 32] {
    pbkdf2::pbkdf2_hmac_array::<Sha1, 32>(secret.as_bytes(), SALT, ROUNDS)
}
