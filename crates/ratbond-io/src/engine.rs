//! The handle of one end of a tunnel.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use ratbond_proto::bond::datagram::ReceiverIndex;
use ratbond_proto::bond::endpoint::{BondClient, BondEndpointConfig, BondServer, NamedClient, worker_of};
use ratbond_proto::bond::handshake::ServerKeys;
use ratbond_proto::endpoint::{Endpoint, SessionId};
use ratbond_proto::kcp::{Crypt, KcpEndpoint, KcpEndpointConfig};
use ratbond_proto::link::WanId;
use ratbond_proto::preference::Preference;
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_proto::trace::{Traced, Wire};
use ratbond_proto::{Role, Time};

use crate::cipher;
use crate::command::{Command, EngineEvent, EventSink, Mailbox, Snapshot, WanSpec};
use crate::config::{EngineConfig, Protocol};
use crate::error::EngineError;
use crate::poller::Waker;
use crate::tun::Tun;
use crate::udp::Udp;
use crate::worker::Worker;

/// One end of a tunnel: a worker thread and the way to talk to it; or several, which share a server's clients. Dropping it
/// closes it.
#[derive(Debug)]
pub struct Engine {
    role: Role,
    has_named_clients: bool,
    local_address: Option<SocketAddr>,
    /// At least one. A client's session is at [`worker_of`] it; any other end has one worker.
    workers: Vec<Mailbox>,
    events: Mutex<Receiver<EngineEvent>>,
    events_ready: Arc<Waker>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// Opens the sockets and starts the workers.
    ///
    /// # Errors
    /// When a server has no address to listen on, when there are to be several workers and no named clients to share, or the
    /// kernel refuses something.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let has_named_clients = matches!(config.protocol, Protocol::BondServer(ServerKeys::Named { .. }));
        if !(1..=if has_named_clients { ReceiverIndex::MAX_WORKERS } else { 1 }).contains(&config.workers) {
            return Err(EngineError::Usage("1 to 64 workers share named clients, and any other end has one"));
        }
        let listen = match (config.role, config.listen) {
            (Role::Server, Some(address)) => Udp::listen(address, config.offload, config.workers)?,
            (Role::Server, None) => return Err(EngineError::Usage("a server needs an address to listen on")),
            (Role::Client, _) => Vec::new(),
        };
        let local_address = listen.first().and_then(|udp| udp.local_address().ok());
        let (sender, events) = mpsc::channel();
        let events_ready = Arc::new(Waker::new()?);
        let sink = EventSink { sender, waker: Arc::clone(&events_ready) };
        let (role, offload) = (config.role, config.offload);
        let (workers, sources): (Vec<_>, Vec<_>) =
            (0..config.workers).map(|_| Mailbox::new()).collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let mut engine = Self {
            role,
            has_named_clients,
            local_address,
            workers,
            events: Mutex::new(events),
            events_ready,
            threads: Mutex::default(),
        };
        let mut sockets = listen.into_iter();
        for (endpoint, source) in new_endpoints(config).into_iter().zip(sources) {
            let peers = engine.workers.clone();
            let worker = Worker::new(endpoint, sockets.next(), offload, (source, peers), sink.clone())?;
            // Should one not start, dropping the engine ends those that did.
            let thread = std::thread::Builder::new()
                .name("ratbond-worker".into())
                .spawn(move || worker.run())
                .map_err(EngineError::system("cannot start a thread"))?;
            engine.threads.get_mut().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(engine)
    }

    /// Where a server listens.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.local_address
    }

    /// Readable when [`Engine::events`] has something.
    #[must_use]
    pub fn events_ready(&self) -> BorrowedFd<'_> {
        self.events_ready.as_fd()
    }

    /// Takes all events that wait.
    #[must_use]
    pub fn events(&self) -> Vec<EngineEvent> {
        self.events_ready.clear();
        self.events.lock().unwrap_or_else(PoisonError::into_inner).try_iter().collect()
    }

    /// Client: a WAN joins.
    ///
    /// # Errors
    /// When the kernel refuses its socket.
    pub fn add_wan(
        &self,
        name: String,
        device: Option<String>,
        source: Option<IpAddr>,
        remote: SocketAddr,
    ) -> Result<WanId, EngineError> {
        if self.role == Role::Server {
            return Err(EngineError::Usage("links join a server by themselves"));
        }
        let spec = WanSpec { name, device, source, remote };
        self.ask(SessionId(0), |reply| Command::AddWan(spec, reply))?
    }

    /// A WAN leaves at once.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn remove_wan(&self, wan: WanId, reason: String) -> Result<(), EngineError> {
        self.tell(|| Command::RemoveWan(wan, reason.clone()))
    }

    /// The WAN's device is called `name` from now on. Its sockets stay; those that it opens later are bound to that name.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn rename_wan(&self, wan: WanId, name: String) -> Result<(), EngineError> {
        self.tell(|| Command::RenameWan(wan, name.clone()))
    }

    /// Client: a WAN is used so from now on; the peer follows, as far as the protocol can tell it.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn prefer(&self, wan: WanId, preference: Preference) -> Result<(), EngineError> {
        self.tell(|| Command::Prefer(wan, preference))
    }

    /// Packets of a session go to and come from `tun` from now on.
    ///
    /// # Errors
    /// When the engine is closed or the kernel refuses.
    pub fn attach_tun(&self, session: SessionId, tun: Arc<Tun>) -> Result<(), EngineError> {
        self.ask(session, |reply| Command::AttachTun(session, tun, reply))?
    }

    /// The session's tun is left alone from now on.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn detach_tun(&self, session: SessionId) -> Result<(), EngineError> {
        self.ask(session, |reply| Command::DetachTun(session, reply))
    }

    /// Server of named clients: who may connect from now on; see [`Endpoint::set_clients`]. When this returns, who was
    /// revoked is cut off, and the event that says so is there.
    ///
    /// # Errors
    /// When this engine has no named clients, or is closed.
    pub fn set_clients(&self, clients: Vec<NamedClient>) -> Result<(), EngineError> {
        if !self.has_named_clients {
            return Err(EngineError::Usage("only a server with a key of its own has a table of clients"));
        }
        self.ask_all(|reply| Command::SetClients(clients.clone(), reply)).map(|_| ())
    }

    /// Packets are spread by another rule from now on.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn set_scheduler(&self, scheduler: SchedulerKind) -> Result<(), EngineError> {
        self.tell(|| Command::SetScheduler(scheduler))
    }

    /// All figures as they stand, of each worker at its own moment.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn snapshot(&self) -> Result<Snapshot, EngineError> {
        let all = self.ask_all(Command::Snapshot)?;
        let merge = |mut whole: Snapshot, part| {
            whole.merge(part);
            whole
        };
        all.into_iter().reduce(merge).ok_or(EngineError::Closed)
    }

    /// The engine's clock now: what events and snapshots count from.
    #[must_use]
    pub fn now() -> Time {
        crate::clock::now()
    }

    /// Tells the peers, stops the workers and closes every socket and tun. Idempotent.
    pub fn close(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            return;
        }
        for worker in &self.workers {
            // A worker that ended by itself takes no command; joining it is all that is left.
            let _ = worker.tell(Command::Close);
        }
        for thread in threads {
            // A panic of the worker was already printed by its thread.
            let _ = thread.join();
        }
    }

    /// Tells every worker.
    fn tell(&self, command: impl Fn() -> Command) -> Result<(), EngineError> {
        self.workers.iter().try_for_each(|worker| worker.tell(command()))
    }

    /// Asks the worker that has a session.
    fn ask<T>(
        &self,
        session: SessionId,
        command: impl FnOnce(SyncSender<T>) -> Command,
    ) -> Result<T, EngineError> {
        let worker = worker_of(session, u8::try_from(self.workers.len()).unwrap_or(u8::MAX));
        self.workers[usize::from(worker)].ask(command)?.recv().map_err(|_| EngineError::Closed)
    }

    /// Asks all workers at once.
    fn ask_all<T>(&self, command: impl Fn(SyncSender<T>) -> Command) -> Result<Vec<T>, EngineError> {
        let answers: Vec<_> =
            self.workers.iter().map(|worker| worker.ask(&command)).collect::<Result<_, _>>()?;
        answers.into_iter().map(|answer| answer.recv().map_err(|_| EngineError::Closed)).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// One for each worker.
fn new_endpoints(config: EngineConfig) -> Vec<Box<dyn Endpoint>> {
    let (trace, workers, secret) = (config.trace, config.workers, kcp_secret(&config.protocol));
    let traced = |endpoint: Box<dyn Endpoint>| -> Box<dyn Endpoint> {
        if !trace {
            return endpoint;
        }
        let wire = match &secret {
            Some(secret) => Wire::Kcp(secret.as_deref().map_or(Crypt::Plain, Crypt::aes)),
            None => Wire::Bond,
        };
        Box::new(Traced::new(endpoint, wire, workers))
    };
    untraced_endpoints(config).into_iter().map(traced).collect()
}

/// KCP's secret, if it has one; none of another protocol.
fn kcp_secret(protocol: &Protocol) -> Option<Option<String>> {
    match protocol {
        Protocol::Kcp { secret } => Some(secret.clone()),
        Protocol::BondClient(_) | Protocol::BondServer(_) => None,
    }
}

fn untraced_endpoints(config: EngineConfig) -> Vec<Box<dyn Endpoint>> {
    let bond = BondEndpointConfig {
        tunnel_id: config.tunnel_id,
        scheduler: config.scheduler,
        ciphers: cipher::choose(config.cipher),
        seed: config.seed.clone(),
    };
    match config.protocol {
        Protocol::Kcp { secret } => vec![Box::new(KcpEndpoint::new(KcpEndpointConfig {
            role: config.role,
            tunnel_id: config.tunnel_id,
            scheduler: config.scheduler,
            mux: config.mux,
            secret,
            // Nonces of stock's cipher, which hides no more with better ones.
            seed: u64::from_ne_bytes(std::array::from_fn(|at| config.seed.0[at])),
        }))],
        Protocol::BondClient(credentials) => vec![Box::new(BondClient::new(credentials, bond))],
        Protocol::BondServer(keys) => BondServer::of_workers(&keys, bond, config.workers)
            .into_iter()
            .map(|server| Box::new(server) as Box<dyn Endpoint>)
            .collect(),
    }
}
