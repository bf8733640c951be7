//! The handle of one end of a tunnel.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use ratbond_proto::bond::endpoint::{BondClient, BondEndpointConfig, BondServer, NamedClient};
use ratbond_proto::bond::handshake::ServerKeys;
use ratbond_proto::endpoint::{Endpoint, SessionId};
use ratbond_proto::kcp::{Crypt, KcpEndpoint, KcpEndpointConfig};
use ratbond_proto::link::WanId;
use ratbond_proto::preference::Preference;
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_proto::trace::{Traced, Wire};
use ratbond_proto::{Role, Time};

use crate::cipher;
use crate::command::{Command, CommandSource, EngineEvent, EventSink, Snapshot, WanSpec};
use crate::config::{EngineConfig, Protocol};
use crate::error::EngineError;
use crate::poller::Waker;
use crate::tun::Tun;
use crate::udp::Udp;
use crate::worker::Worker;

/// One end of a tunnel: a worker thread and the way to talk to it. Dropping it closes it.
#[derive(Debug)]
pub struct Engine {
    role: Role,
    has_named_clients: bool,
    local_address: Option<SocketAddr>,
    commands: Sender<Command>,
    wake_worker: Arc<Waker>,
    events: Mutex<Receiver<EngineEvent>>,
    events_ready: Arc<Waker>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Opens the sockets and starts the worker.
    ///
    /// # Errors
    /// When a server has no address to listen on, or the kernel refuses something.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let listen = match (config.role, config.listen) {
            (Role::Server, Some(address)) => Some(Udp::listen(address, config.offload)?),
            (Role::Server, None) => return Err(EngineError::Usage("a server needs an address to listen on")),
            (Role::Client, _) => None,
        };
        let local_address = listen.as_ref().and_then(|udp| udp.local_address().ok());
        let (commands, receiver) = mpsc::channel();
        let (sender, events) = mpsc::channel();
        let wake_worker = Arc::new(Waker::new()?);
        let events_ready = Arc::new(Waker::new()?);
        let source = CommandSource { receiver, waker: Arc::clone(&wake_worker) };
        let sink = EventSink { sender, waker: Arc::clone(&events_ready) };
        let role = config.role;
        let offload = config.offload;
        let has_named_clients = matches!(config.protocol, Protocol::BondServer(ServerKeys::Named { .. }));
        let worker = Worker::new(new_endpoint(config), listen, offload, source, sink)?;
        let thread = std::thread::Builder::new()
            .name("ratbond-worker".into())
            .spawn(move || worker.run())
            .map_err(EngineError::system("cannot start a thread"))?;
        Ok(Self {
            role,
            has_named_clients,
            local_address,
            commands,
            wake_worker,
            events: Mutex::new(events),
            events_ready,
            thread: Mutex::new(Some(thread)),
        })
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
        self.ask(|reply| Command::AddWan(spec, reply))?
    }

    /// A WAN leaves at once.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn remove_wan(&self, wan: WanId, reason: String) -> Result<(), EngineError> {
        self.tell(Command::RemoveWan(wan, reason))
    }

    /// The WAN's device is called `name` from now on. Its sockets stay; those that it opens later are bound to that name.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn rename_wan(&self, wan: WanId, name: String) -> Result<(), EngineError> {
        self.tell(Command::RenameWan(wan, name))
    }

    /// Client: a WAN is used so from now on; the peer follows, as far as the protocol can tell it.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn prefer(&self, wan: WanId, preference: Preference) -> Result<(), EngineError> {
        self.tell(Command::Prefer(wan, preference))
    }

    /// Packets of a session go to and come from `tun` from now on.
    ///
    /// # Errors
    /// When the engine is closed or the kernel refuses.
    pub fn attach_tun(&self, session: SessionId, tun: Arc<Tun>) -> Result<(), EngineError> {
        self.ask(|reply| Command::AttachTun(session, tun, reply))?
    }

    /// The session's tun is left alone from now on.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn detach_tun(&self, session: SessionId) -> Result<(), EngineError> {
        self.ask(|reply| Command::DetachTun(session, reply))
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
        self.ask(|reply| Command::SetClients(clients, reply))
    }

    /// Packets are spread by another rule from now on.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn set_scheduler(&self, scheduler: SchedulerKind) -> Result<(), EngineError> {
        self.tell(Command::SetScheduler(scheduler))
    }

    /// All figures as they stand.
    ///
    /// # Errors
    /// When the engine is closed.
    pub fn snapshot(&self) -> Result<Snapshot, EngineError> {
        self.ask(Command::Snapshot)
    }

    /// The engine's clock now: what events and snapshots count from.
    #[must_use]
    pub fn now() -> Time {
        crate::clock::now()
    }

    /// Tells the peer, stops the worker and closes every socket and tun. Idempotent.
    pub fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A worker that ended by itself takes no command; joining it is all that is left.
            let _ = self.tell(Command::Close);
            // A panic of the worker was already printed by its thread.
            let _ = thread.join();
        }
    }

    fn tell(&self, command: Command) -> Result<(), EngineError> {
        self.commands.send(command).map_err(|_| EngineError::Closed)?;
        self.wake_worker.wake();
        Ok(())
    }

    fn ask<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Result<T, EngineError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.tell(command(reply))?;
        answer.recv().map_err(|_| EngineError::Closed)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

fn new_endpoint(config: EngineConfig) -> Box<dyn Endpoint> {
    let wire = match &config.protocol {
        Protocol::Kcp { secret } => Wire::Kcp(secret.as_deref().map_or(Crypt::Plain, Crypt::aes)),
        Protocol::BondClient(_) | Protocol::BondServer(_) => Wire::Bond,
    };
    let trace = config.trace;
    let endpoint = untraced_endpoint(config);
    if trace { Box::new(Traced::new(endpoint, wire)) } else { endpoint }
}

fn untraced_endpoint(config: EngineConfig) -> Box<dyn Endpoint> {
    let bond = BondEndpointConfig {
        tunnel_id: config.tunnel_id,
        scheduler: config.scheduler,
        ciphers: cipher::choose(config.cipher),
        seed: config.seed.clone(),
    };
    match config.protocol {
        Protocol::Kcp { secret } => Box::new(KcpEndpoint::new(KcpEndpointConfig {
            role: config.role,
            tunnel_id: config.tunnel_id,
            scheduler: config.scheduler,
            mux: config.mux,
            secret,
            // Nonces of stock's cipher, which hides no more with better ones.
            seed: u64::from_ne_bytes(std::array::from_fn(|at| config.seed.0[at])),
        })),
        Protocol::BondClient(credentials) => Box::new(BondClient::new(credentials, bond)),
        Protocol::BondServer(keys) => Box::new(BondServer::new(keys, bond)),
    }
}
