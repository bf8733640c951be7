//! The two ends of a pair, made from a seed.

use ratbond_proto::bond::endpoint::{BondClient, BondEndpointConfig, BondServer};
use ratbond_proto::bond::handshake::{Credentials, ServerKeys, shared_psk};
use ratbond_proto::bond::keys::Cipher;
use ratbond_proto::bond::secret::Secret32;
use ratbond_proto::endpoint::{Endpoint, EndpointEvent};
use ratbond_proto::kcp::{KcpEndpoint, KcpEndpointConfig};
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_proto::{Event, Role, Time};

/// One end and what came out of it.
pub struct End {
    /// The end itself.
    pub endpoint: Box<dyn Endpoint>,
    /// Packets that it gave to its tun, with when. The traffic's models take away what is theirs.
    pub delivered: Vec<(Time, Vec<u8>)>,
    /// What it told its driver, with when.
    pub events: Vec<(Time, EndpointEvent)>,
}

impl End {
    pub(super) fn new(endpoint: Box<dyn Endpoint>) -> Self {
        Self { endpoint, delivered: Vec::new(), events: Vec::new() }
    }

    pub(super) fn collect(&mut self, now: Time) -> Vec<Event> {
        while let Some((session, packet)) = self.endpoint.poll_delivery() {
            self.delivered.push((now, packet.as_slice().to_vec()));
            self.endpoint.recycle(session, packet);
        }
        let mut fresh = Vec::new();
        while let Some(event) = self.endpoint.poll_event() {
            fresh.push(event.event.clone());
            self.events.push((now, event));
        }
        fresh
    }

    /// Whether it ever told its driver such a thing.
    pub fn saw(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(|(_, event)| wanted(&event.event))
    }

    /// How many of its links are up.
    #[must_use]
    pub fn links_up(&self) -> usize {
        let sessions = self.endpoint.reports();
        sessions.iter().flat_map(|session| &session.links).filter(|link| link.up_since.is_some()).count()
    }
}

/// Makes an end anew, from a seed.
pub type NewEnd = Box<dyn Fn(u64) -> Box<dyn Endpoint> + Send>;

/// An end that speaks KCP, with so many conversations a WAN.
#[must_use]
pub fn kcp(role: Role, scheduler: SchedulerKind, mux: usize, seed: u64) -> Box<dyn Endpoint> {
    let config = KcpEndpointConfig { role, tunnel_id: 660, scheduler, mux, secret: None, seed };
    Box::new(KcpEndpoint::new(config))
}

/// An end that speaks bond/1 with a secret of 32 times the same byte.
#[must_use]
pub fn bond(role: Role, scheduler: SchedulerKind, secret: u8, seed: u64) -> Box<dyn Endpoint> {
    let (psk, config) = (shared_psk(&Secret32([secret; 32])), bond_config(scheduler, seed));
    match role {
        Role::Client => Box::new(BondClient::new(Credentials::Shared { psk }, config)),
        Role::Server => Box::new(BondServer::new(ServerKeys::Shared { psk }, config)),
    }
}

/// What an end that speaks bond/1 is told beside its keys.
#[must_use]
pub fn bond_config(scheduler: SchedulerKind, seed: u64) -> BondEndpointConfig {
    let mut entropy = Secret32([0; 32]);
    entropy.0[..8].copy_from_slice(&seed.to_be_bytes());
    let ciphers = vec![Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];
    BondEndpointConfig { tunnel_id: 660, scheduler, ciphers, seed: entropy }
}
