//! HKDF-SHA-256 (RFC 5869) and the truncated HMAC-SHA-256 that filters handshakes, each with a domain of its own.

use ring::{hkdf, hmac};
use subtle::ConstantTimeEq;

use super::secret::{Erased, Secret32};

/// Bytes of a truncated MAC on the wire.
pub const MAC_LEN: usize = 16;

/// Starts every label of the key schedule, so that no key of this protocol equals one of another.
const LABEL_PREFIX: &[u8] = b"ratbond bond/1 ";

/// HKDF-Extract: a pseudorandom key from a salt and the concatenation of `ikm`.
#[must_use]
pub fn extract(salt: &[u8], ikm: &[&[u8]]) -> Secret32 {
    Secret32(sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), ikm))
}

/// HKDF-Expand of `key` with info = "ratbond bond/1 " ‖ `label` ‖ 0x00 ‖ `info`; fills `out` (at most 255 · 32 bytes).
pub fn expand(key: &Secret32, label: &str, info: &[u8], out: &mut [u8]) {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let prk = Erased::new(hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &key.0));
    let parts = [LABEL_PREFIX, label.as_bytes(), &[0], info];
    let filled = prk.expand(&parts, Len(out.len())).and_then(|okm| okm.fill(out));
    assert!(filled.is_ok(), "no key of this protocol is longer than 255 hashes");
}

/// The same with a 32-byte result.
#[must_use]
pub fn expand_secret(key: &Secret32, label: &str, info: &[u8]) -> Secret32 {
    let mut out = Secret32([0; 32]);
    expand(key, label, info, &mut out.0);
    out
}

/// A key for truncated HMAC-SHA-256.
#[derive(Clone, Debug)]
pub struct MacKey(Erased<hmac::Key>);

impl MacKey {
    /// A MAC key from secret bytes.
    #[must_use]
    pub fn new(secret: &Secret32) -> Self {
        Self(Erased::new(hmac::Key::new(hmac::HMAC_SHA256, &secret.0)))
    }

    /// The first 16 bytes of HMAC-SHA-256 over the concatenation of `parts`.
    #[must_use]
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; MAC_LEN] {
        let full = sign(&self.0, parts);
        let mut tag = [0; MAC_LEN];
        tag.copy_from_slice(&full[..MAC_LEN]);
        tag
    }

    /// Whether `tag` is right; takes the same time wherever it differs.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.tag(parts).ct_eq(tag).into()
    }
}

fn sign(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extract_gives_the_prk_of_rfc_5869_test_case_1() {
        let salt: Vec<u8> = (0..=0x0c).collect();
        let prk = extract(&salt, &[&[0x0b; 11], &[0x0b; 11]]);
        let expected = "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5";
        assert_eq!(prk.0.iter().map(|b| format!("{b:02x}")).collect::<String>(), expected);
    }

    #[test]
    fn a_mac_is_only_right_for_its_key_and_text() {
        let key = MacKey::new(&Secret32([1; 32]));
        let tag = key.tag(&[b"ab", b"c"]);
        assert!(key.verify(&[b"abc"], &tag));
        assert!(!key.verify(&[b"abd"], &tag));
        assert!(!key.verify(&[b"abc"], &tag[..15]));
        assert!(!MacKey::new(&Secret32([2; 32])).verify(&[b"abc"], &tag));
    }
}
