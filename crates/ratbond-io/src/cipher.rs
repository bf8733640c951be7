//! Which AEADs this end offers: both, the one that this CPU is faster at first, unless the user wants only one.

use ratbond_proto::bond::keys::Cipher;

/// The ciphers to offer and to accept, the best first; `forced` allows no other.
pub(crate) fn choose(forced: Option<Cipher>) -> Vec<Cipher> {
    match forced {
        Some(cipher) => vec![cipher],
        None => by_speed(has_aes_instructions()),
    }
}

fn by_speed(aes_in_hardware: bool) -> Vec<Cipher> {
    match aes_in_hardware {
        true => vec![Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305],
        // AES in software is slower by far, and leaks its key through the caches where it uses tables.
        false => vec![Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm],
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes_instructions() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes_instructions() -> bool {
    std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes_instructions() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_chooses_between_the_ciphers_and_both_stay_on_offer() {
        assert_eq!(by_speed(true), [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305]);
        assert_eq!(by_speed(false), [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm]);
        assert_eq!(choose(None).len(), 2);
    }

    #[test]
    fn a_forced_cipher_is_the_only_one() {
        for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            assert_eq!(choose(Some(cipher)), [cipher]);
        }
    }
}
