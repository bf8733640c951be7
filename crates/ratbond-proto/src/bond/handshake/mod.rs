//! How a session begins, how links join it, and how its keys are renewed.
//!
//! ```text
//! client                                   server
//!   REQUEST  (mac)                ──────►    checks the mac, keeps nothing
//!            ◄──────   CHALLENGE (cookie bound to the client's address)
//!   INIT     (cookie, Noise 1)    ──────►    first state and first public-key work
//!            ◄──────   RESPONSE  (Noise 2)
//!   sealed datagrams              ◄─────►    the first one from the client confirms the session
//! ```
//! A further link of the session needs one round trip and no public-key work (`join`). A rekeying is the same Noise
//! handshake, carried by REKEY frames of the running session (`rekey`).

pub mod client;
pub mod cookie;
pub mod join;
pub mod message;
pub mod noise;
pub mod rekey;
pub mod server;

#[cfg(test)]
mod tests;

use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};

use super::kdf::{self, MacKey};
use super::secret::Secret32;
pub use noise::ServerKeys;

/// Who may connect, and so which Noise pattern runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Each client has a key pair, and the server knows its public key: Noise IKpsk2.
    Named,
    /// Client and server share one secret: Noise NNpsk0.
    Shared,
}

impl Mode {
    /// Its number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Named => 1,
            Self::Shared => 2,
        }
    }

    /// What to do about a peer that does not know what this mode asks for.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Named => "give the client the line that `ratbond client add` printed on this server",
            Self::Shared => "give both ends the same secret",
        }
    }

    const fn from_wire(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Named),
            2 => Some(Self::Shared),
            _ => None,
        }
    }

    const fn noise_name(self) -> &'static str {
        match self {
            Self::Named => "Noise_IKpsk2_25519_ChaChaPoly_SHA256",
            Self::Shared => "Noise_NNpsk0_25519_ChaChaPoly_SHA256",
        }
    }
}

/// What a client proves itself with.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A named client.
    Named {
        /// Its X25519 private key.
        own: Secret32,
        /// The server's X25519 public key.
        server: [u8; 32],
        /// The key that it shares with the server besides: what is recorded today stays sealed even if X25519 falls.
        psk: Secret32,
    },
    /// The holder of the shared secret.
    Shared {
        /// From [`shared_psk`].
        psk: Secret32,
    },
}

impl Credentials {
    /// The mode these are for.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        match self {
            Self::Named { .. } => Mode::Named,
            Self::Shared { .. } => Mode::Shared,
        }
    }

    /// The key of the MAC that filters handshake datagrams.
    #[must_use]
    pub fn filter_key(&self) -> MacKey {
        match self {
            Self::Named { server, .. } => filter_key(server),
            Self::Shared { psk } => filter_key(&psk.0),
        }
    }
}

impl ServerKeys {
    /// The mode these are for.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        match self {
            Self::Named { .. } => Mode::Named,
            Self::Shared { .. } => Mode::Shared,
        }
    }

    /// The key of the MAC that filters handshake datagrams.
    #[must_use]
    pub fn filter_key(&self) -> MacKey {
        match self {
            Self::Named { own } => filter_key(&public_key(own)),
            Self::Shared { psk } => filter_key(&psk.0),
        }
    }
}

/// The X25519 public key of a private key.
#[must_use]
pub fn public_key(private: &Secret32) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(private.0)).to_bytes()
}

/// The Noise pre-shared key of a shared 256-bit secret.
#[must_use]
pub fn shared_psk(secret: &Secret32) -> Secret32 {
    kdf::extract(b"ratbond bond/1 shared", &[&secret.0])
}

/// The label holds no version: every version must be able to refuse every other one in words.
fn filter_key(known_to_clients: &[u8; 32]) -> MacKey {
    MacKey::new(&kdf::extract(b"ratbond bond filter", &[known_to_clients]))
}

/// Why a handshake datagram was dropped or a handshake failed. Only counted; the peer is told nothing, except where a
/// refusal is sent in words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// Cut short, too long, or with values that this version does not allow.
    #[error("handshake datagram is malformed")]
    Malformed,
    /// The keyed MAC is wrong: garbage, or a peer with another secret or another server's key.
    #[error("handshake datagram of somebody who does not know the secret")]
    WrongMac,
    /// The peer speaks another version of this protocol.
    #[error(
        "the peer speaks bond/{theirs}, this end speaks bond/{}: bring both to the same version",
        super::datagram::VERSION
    )]
    WrongVersion {
        /// Theirs.
        theirs: u8,
    },
    /// The peer wants named clients where this end has a shared secret, or the other way round.
    #[error("the peer uses {}, this end does not", match theirs { Mode::Named => "named clients", Mode::Shared => "a shared secret" })]
    WrongMode {
        /// Theirs.
        theirs: Mode,
    },
    /// The cookie is not the address's, or has expired.
    #[error("handshake without a valid cookie")]
    WrongCookie,
    /// Too many handshakes from this address.
    #[error("too many handshakes from one address")]
    TooMany,
    /// Noise could not verify the message: wrong key, or changed on the way.
    #[error("handshake message could not be verified")]
    Unproved,
    /// Nothing that this end waits for.
    #[error("handshake datagram that nobody waits for")]
    Unexpected,
    /// The server said no, and said why.
    #[error("the server refused: {reason}")]
    Refused {
        /// For programs; see docs/wire.md.
        code: u8,
        /// For people.
        reason: String,
    },
}

impl From<snow::Error> for HandshakeError {
    fn from(_: snow::Error) -> Self {
        Self::Unproved
    }
}
