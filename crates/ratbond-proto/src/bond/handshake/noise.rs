//! The Noise patterns, run by `snow` over this crate's own primitives.
//!
//! `snow`'s default resolver draws from the operating system and leaves keys in freed memory. This resolver draws from a
//! generator that the caller seeded, and wipes what it held. SHA-256 and ChaCha20-Poly1305 come from `ring`, X25519 from
//! `x25519-dalek`.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ring::{aead, digest};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use super::{Credentials, HandshakeError, Mode};
use crate::bond::keys::NoiseOutput;
use crate::bond::secret::{Erased, Secret32};

/// A handshake under way; its memory is wiped when it is done.
#[derive(Debug)]
pub struct Noise(Erased<HandshakeState>);

impl Noise {
    /// The client's side. `seed` is 32 bytes of entropy, used for nothing else.
    ///
    /// # Errors
    /// Keys that are no keys.
    pub fn initiator(
        credentials: &Credentials,
        prologue: &[u8],
        seed: &Secret32,
    ) -> Result<Self, HandshakeError> {
        let builder = builder(credentials.mode(), prologue, seed)?;
        let state = match credentials {
            Credentials::Named { own, server, psk } => builder
                .local_private_key(&own.0)?
                .remote_public_key(server)?
                .psk(2, &psk.0)?
                .build_initiator()?,
            Credentials::Shared { psk } => builder.psk(0, &psk.0)?.build_initiator()?,
        };
        Ok(Self(Erased::new(state)))
    }

    /// The server's side. A named client's pre-shared key is given later, once its name is known.
    ///
    /// # Errors
    /// Keys that are no keys.
    pub fn responder(keys: &ServerKeys, prologue: &[u8], seed: &Secret32) -> Result<Self, HandshakeError> {
        let state = match keys {
            ServerKeys::Named { own } => {
                builder(Mode::Named, prologue, seed)?.local_private_key(&own.0)?.build_responder()?
            }
            ServerKeys::Shared { psk } => {
                builder(Mode::Shared, prologue, seed)?.psk(0, &psk.0)?.build_responder()?
            }
        };
        Ok(Self(Erased::new(state)))
    }

    /// Gives the responder the pre-shared key of a named client.
    pub(super) fn set_psk(&mut self, psk: &Secret32) -> Result<(), HandshakeError> {
        Ok(self.0.set_psk(2, &psk.0)?)
    }

    /// The client's static public key, once it is known.
    pub(super) fn remote_static(&self) -> Option<[u8; 32]> {
        self.0.get_remote_static()?.try_into().ok()
    }

    /// Appends the next message with `payload` sealed inside to `out`.
    ///
    /// # Errors
    /// Not this end's turn, or the payload is too long.
    pub fn write(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), HandshakeError> {
        let start = out.len();
        // e, s and two tags are the most that a message of these patterns adds.
        out.resize(start + payload.len() + 32 + 48 + 16, 0);
        let len = self.0.write_message(payload, &mut out[start..])?;
        out.truncate(start + len);
        Ok(())
    }

    /// Reads the peer's message; its payload.
    ///
    /// # Errors
    /// It was not made by somebody who knows the keys, or was changed on the way.
    pub fn read(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, HandshakeError> {
        let mut payload = Zeroizing::new(vec![0; message.len()]);
        let len = self.0.read_message(message, &mut payload)?;
        payload.truncate(len);
        Ok(payload)
    }

    /// What the finished handshake leaves for the key schedule.
    ///
    /// # Errors
    /// It is not finished.
    pub fn finish(mut self) -> Result<NoiseOutput, HandshakeError> {
        if !self.0.is_handshake_finished() {
            return Err(HandshakeError::Unproved);
        }
        let (mut first, mut second) = self.0.dangerously_get_raw_split();
        let mut hash = [0; 32];
        hash.copy_from_slice(self.0.get_handshake_hash());
        let split = (Secret32(first), Secret32(second));
        first.zeroize();
        second.zeroize();
        Ok(NoiseOutput { split, hash })
    }
}

/// The server's long-term secret.
#[derive(Clone, Debug)]
pub enum ServerKeys {
    /// Named clients: the server's X25519 private key.
    Named {
        /// Private key.
        own: Secret32,
    },
    /// One shared secret.
    Shared {
        /// The Noise pre-shared key, from [`super::shared_psk`].
        psk: Secret32,
    },
}

fn builder<'a>(mode: Mode, prologue: &'a [u8], seed: &Secret32) -> Result<Builder<'a>, HandshakeError> {
    let params = mode.noise_name().parse()?;
    let resolver = Resolver { rng: Secret32(seed.0) };
    Ok(Builder::with_resolver(params, Box::new(resolver)).prologue(prologue)?)
}

struct Resolver {
    rng: Secret32,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SeededRandom(Erased::new(ChaCha20Rng::from_seed(self.rng.0)))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::<X25519>::default() as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256)
            .then(|| Box::new(Sha256(Erased::new(digest::Context::new(&digest::SHA256)))) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly)
            .then(|| Box::new(ChaChaPoly(Zeroizing::new([0; 32]))) as Box<dyn Cipher>)
    }
}

struct SeededRandom(Erased<ChaCha20Rng>);

impl Random for SeededRandom {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

/// Wiped on drop: `StaticSecret` and `Zeroizing` see to it.
#[derive(Default)]
struct X25519 {
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        self.private.copy_from_slice(&privkey[..32]);
        self.public = PublicKey::from(&StaticSecret::from(*self.private)).to_bytes();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        let mut private = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(private.as_mut_slice())?;
        self.set(private.as_slice());
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.private.as_slice()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let mut public = [0; 32];
        public.copy_from_slice(pubkey.get(..32).ok_or(snow::Error::Dh)?);
        let shared = StaticSecret::from(*self.private).diffie_hellman(&PublicKey::from(public));
        // A point of low order would give a secret that everybody knows; Noise permits refusing it (section 12.1).
        if !shared.was_contributory() {
            return Err(snow::Error::Dh);
        }
        out[..32].copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

/// Noise keys HMACs with it, so its state is as secret as a key.
struct Sha256(Erased<digest::Context>);

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        *self.0 = digest::Context::new(&digest::SHA256);
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(digest::Context::clone(&self.0).finish().as_ref());
    }
}

struct ChaChaPoly(Zeroizing<[u8; 32]>);

impl ChaChaPoly {
    fn key(&self) -> Erased<aead::LessSafeKey> {
        #[expect(clippy::unwrap_used, reason = "the algorithm takes 32 bytes, and the array has 32")]
        let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, self.0.as_slice()).unwrap();
        Erased::new(aead::LessSafeKey::new(key))
    }

    /// Noise, section 12.3: 32 bits of zeros, then the counter in little endian.
    fn nonce(counter: u64) -> aead::Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        aead::Nonce::assume_unique_for_key(nonce)
    }
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0.copy_from_slice(key);
    }

    #[expect(clippy::unwrap_used, reason = "ring refuses only plaintexts of 2^38 bytes and more")]
    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (body, tag_room) = out.split_at_mut(plaintext.len());
        body.copy_from_slice(plaintext);
        let aad = aead::Aad::from(authtext);
        let tag = self.key().seal_in_place_separate_tag(Self::nonce(nonce), aad, body).unwrap();
        tag_room[..16].copy_from_slice(tag.as_ref());
        plaintext.len() + 16
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        let mut copy = Zeroizing::new(ciphertext.to_vec());
        let aad = aead::Aad::from(authtext);
        let plain =
            self.key().open_in_place(Self::nonce(nonce), aad, &mut copy).map_err(|_| snow::Error::Decrypt)?;
        out.get_mut(..plain.len()).ok_or(snow::Error::Decrypt)?.copy_from_slice(plain);
        Ok(plain.len())
    }
}
