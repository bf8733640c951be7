//! Which clients are which worker's, where a server has several.
//!
//! Each worker has a socket of its own on the server's port, and a filter in the kernel gives it what its receiver indexes name.
//! A client's first datagrams carry a number of its own choice there, which is the same in all handshakes of a process, so any
//! worker may get them. Once they prove who the client is, they are handed over to the worker that has all of its sessions, and
//! whatever comes after the answer comes to that one by itself. So no two workers ever have to agree about a client.

use super::BondServer;
use crate::bond::datagram::ReceiverIndex;
use crate::bond::endpoint::BondEndpointConfig;
use crate::bond::handshake::ServerKeys;
use crate::endpoint::SessionId;

/// The worker, of `workers`, that has all sessions of a client.
#[must_use]
pub fn worker_of(session: SessionId, workers: u8) -> u8 {
    (session.0 % u32::from(workers.max(1))) as u8
}

/// One worker's share of a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub worker: u8,
    pub workers: u8,
}

impl Share {
    pub const WHOLE: Self = Self { worker: 0, workers: 1 };

    pub fn owner(self, session: SessionId) -> u8 {
        worker_of(session, self.workers)
    }

    pub fn has(self, session: SessionId) -> bool {
        self.owner(session) == self.worker
    }
}

impl BondServer {
    /// The ends of a server with so many workers, 1 to [`ReceiverIndex::MAX_WORKERS`]: each has all clients in its table, and
    /// the sessions of its share. They take each other's cookies.
    #[must_use]
    pub fn of_workers(keys: &ServerKeys, mut config: BondEndpointConfig, workers: u8) -> Vec<Self> {
        let workers = workers.clamp(1, ReceiverIndex::MAX_WORKERS);
        let (mut entropy, _) = config.take_entropy();
        let cookies = entropy.draw();
        let one = |worker| {
            let config = BondEndpointConfig { seed: entropy.draw(), ..config.clone() };
            Self::with_share(keys.clone(), config, Share { worker, workers }, Some(cookies.clone()))
        };
        (0..workers).map(one).collect()
    }
}
