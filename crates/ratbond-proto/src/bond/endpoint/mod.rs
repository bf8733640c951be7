//! One end of a sealed tunnel: handshakes, joins, and the sessions that come of them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`client`] | one session: handshakes over every WAN until one is answered, then joins |
//! | [`server`] | a session for each client, told apart by receiver index |
//! | [`roster`] | the server's table of clients: who may connect |
//! | [`gate`] | what a named client may send: its own addresses, its caps |
//! | `agenda` | which of the server's sessions wants a turn |
//! | `assignment` | inner addresses as handshake fields |
//! | `sealed` | what both have: a session with its keys, its links by index, and the peer's addresses |
//! | `refusal` | what is said of datagrams that are refused, at a bounded rate |

pub mod client;
pub mod gate;
pub mod roster;
pub mod server;

mod agenda;
mod assignment;
mod refusal;
mod sealed;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::bond::entropy::Entropy;
use crate::bond::keys::Cipher;
use crate::bond::secret::Secret32;
use crate::scheduler::SchedulerKind;

pub use client::BondClient;
pub use gate::RateCaps;
pub use roster::NamedClient;
pub use server::{BondServer, worker_of};

/// What both ends are made with.
#[derive(Clone, Debug)]
pub struct BondEndpointConfig {
    /// Both ends have the same; 1 to 65,525.
    pub tunnel_id: u16,
    /// How packets are spread.
    pub scheduler: SchedulerKind,
    /// AEADs that this end uses, the best first.
    pub ciphers: Vec<Cipher>,
    /// Fresh entropy: all random numbers come of it.
    pub seed: Secret32,
}

impl BondEndpointConfig {
    /// Takes the seed out, so that it does not outlive the keys that are drawn from it; and a generator for numbers that
    /// are no secrets.
    fn take_entropy(&mut self) -> (Entropy, ChaCha20Rng) {
        let seed = std::mem::replace(&mut self.seed, Secret32([0; 32]));
        let mut entropy = Entropy::new(seed);
        let rng = ChaCha20Rng::from_seed(entropy.draw().0);
        (entropy, rng)
    }
}
