//! The crypt header against values computed elsewhere.
//!
//! The expected bytes come from Python's hashlib and zlib and the `cryptography` package: key =
//! `pbkdf2_hmac("sha1", secret, b"ratbond salt", 1024, 32)`; plain = nonce 100..116, `zlib.crc32(body)` little endian, body;
//! sealed = AES-256-CFB (128-bit feedback) of all of it under stock's IV.

#![allow(clippy::unwrap_used, reason = "tests")]

use ratbond_proto::kcp::crypt::{self, Crypt, CryptError, HEADER_LEN};

const KEY_OF_DEFAULT_SECRET: &str = "8a8dd9a078ce574a2face8ba367539ec5481bc1e88bb402e3ea57d1f92435b60";
const KEY_OF_CORRECT_HORSE: &str = "3fb1f45498798b5032b0123ccf34ac0a9db182b55c786d14ed45fdb26ae21694";
const PLAIN: &str = "6465666768696a6b6c6d6e6f707172735f999308000102030405060708090a0b0c0d0e0f10111213141516177477\
                     656e74792d66697665206279746573206f662064617461";
const SEALED: &str = "944fd901a9e07d75afa98df048c9ca3f814919fd2aea2a4f44f5852af0dccaaf919bbb9124a49026c3ba0f320f437f\
                      166c6be4219cb0f1bb8f21298422e0e6952ba589177e";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn body() -> Vec<u8> {
    (0..24).chain(*b"twenty-five bytes of data").collect()
}

fn nonce() -> [u8; 16] {
    std::array::from_fn(|i| 100 + i as u8)
}

fn sealed_by(crypt: &Crypt, body: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    Crypt::begin(&mut datagram);
    datagram.extend_from_slice(body);
    crypt.seal(&mut datagram, nonce());
    datagram
}

#[test]
fn keys_are_derived_as_stock_derives_them() {
    assert_eq!(crypt::derive_key(crypt::DEFAULT_SECRET).to_vec(), bytes(KEY_OF_DEFAULT_SECRET));
    assert_eq!(crypt::derive_key("correct horse").to_vec(), bytes(KEY_OF_CORRECT_HORSE));
}

#[test]
fn a_plain_datagram_is_stocks() {
    assert_eq!(sealed_by(&Crypt::Plain, &body()), bytes(PLAIN));
    assert_eq!(Crypt::Plain.open(&mut bytes(PLAIN)), Ok(&body()[..]));
}

#[test]
fn a_sealed_datagram_is_stocks() {
    let crypt = Crypt::aes(crypt::DEFAULT_SECRET);
    assert_eq!(sealed_by(&crypt, &body()), bytes(SEALED));
    assert_eq!(crypt.open(&mut bytes(SEALED)), Ok(&body()[..]));
}

#[test]
fn every_length_opens_as_it_was_sealed() {
    let crypt = Crypt::aes("correct horse");
    for len in 24..=1_400 {
        let body: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        assert_eq!(crypt.open(&mut sealed_by(&crypt, &body)), Ok(&body[..]), "{len} bytes");
    }
}

#[test]
fn any_changed_byte_is_noticed() {
    for (crypt, sealed) in [(Crypt::Plain, bytes(PLAIN)), (Crypt::aes(crypt::DEFAULT_SECRET), bytes(SEALED))]
    {
        // A plain nonce is covered by nothing; sealed, it decides the next block.
        let first = if matches!(crypt, Crypt::Plain) { 16 } else { 0 };
        for at in first..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 0x10;
            let opened = crypt.open(&mut damaged);
            assert_eq!(opened, Err(CryptError::Checksum), "byte {at}");
        }
    }
}

#[test]
fn another_secret_does_not_open_it() {
    assert_eq!(Crypt::aes("correct horse").open(&mut bytes(SEALED)), Err(CryptError::Checksum));
    assert_eq!(Crypt::Plain.open(&mut bytes(SEALED)), Err(CryptError::Checksum));
}

#[test]
fn what_is_too_short_for_a_segment_is_refused() {
    for len in 0..HEADER_LEN + 24 {
        assert_eq!(Crypt::Plain.open(&mut vec![0; len]), Err(CryptError::TooShort(len)));
    }
}

#[test]
fn the_key_is_not_printed() {
    assert_eq!(format!("{:?}", Crypt::aes("correct horse")), "Aes(AesCfb(key hidden))");
}
