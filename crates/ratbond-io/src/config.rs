//! What an engine is made with.

use std::net::SocketAddr;

use ratbond_proto::Role;
use ratbond_proto::bond::handshake::{Credentials, ServerKeys};
use ratbond_proto::bond::keys::Cipher;
use ratbond_proto::bond::secret::Secret32;
use ratbond_proto::scheduler::SchedulerKind;

/// The link protocol of a port.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// What stock ratbond speaks; with a secret, its AES mode.
    Kcp {
        /// The passphrase of stock's AES mode.
        secret: Option<String>,
    },
    /// Sealed links of a client.
    BondClient(Credentials),
    /// Sealed links of a server.
    BondServer(ServerKeys),
}

/// What an engine is made with.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Which end.
    pub role: Role,
    /// What its links speak.
    pub protocol: Protocol,
    /// The only cipher for sealed links; without one the CPU chooses.
    pub cipher: Option<Cipher>,
    /// Both ends have the same; 1 to 65,525.
    pub tunnel_id: u16,
    /// How packets are spread.
    pub scheduler: SchedulerKind,
    /// Links per WAN.
    pub mux: usize,
    /// Threads that share a server's named clients; 1 for every other end.
    pub workers: u8,
    /// Where a server listens.
    pub listen: Option<SocketAddr>,
    /// Whether its sockets may hand the kernel many datagrams in one piece, and get them so; a tun has its own say.
    pub offload: bool,
    /// Whether every datagram and packet is told, at a bounded rate.
    pub trace: bool,
    /// Fresh entropy: every random number of the protocol comes of it.
    pub seed: Secret32,
}
