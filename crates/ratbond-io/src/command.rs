//! What goes between an engine's handle and its worker.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};

use ratbond_proto::addressing::Assignment;
use ratbond_proto::bond::endpoint::NamedClient;
use ratbond_proto::endpoint::{SessionId, SessionReport};
use ratbond_proto::link::{Route, WanId};
use ratbond_proto::preference::Preference;
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_proto::{Peer, Time};

use crate::error::EngineError;
use crate::poller::Waker;
use crate::tun::Tun;

/// What a client's WAN is to the kernel.
#[derive(Clone, Debug)]
pub(crate) struct WanSpec {
    pub name: String,
    pub device: Option<String>,
    pub source: Option<IpAddr>,
    pub remote: SocketAddr,
}

/// Asked of the worker. Replies are sent before the worker looks at another packet.
pub(crate) enum Command {
    AddWan(WanSpec, SyncSender<Result<WanId, EngineError>>),
    RemoveWan(WanId, String),
    RenameWan(WanId, String),
    Prefer(WanId, Preference),
    AttachTun(SessionId, Arc<Tun>, SyncSender<Result<(), EngineError>>),
    DetachTun(SessionId, SyncSender<()>),
    SetClients(Vec<NamedClient>, SyncSender<()>),
    SetScheduler(SchedulerKind),
    Snapshot(SyncSender<Snapshot>),
    /// From another worker of the same server: a datagram that is this one's to answer.
    HandOver(Route, Vec<u8>),
    Close,
}

/// The way to a worker.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    sender: Sender<Command>,
    waker: Arc<Waker>,
}

impl Mailbox {
    /// A worker's mailbox, and its own end of it.
    pub(crate) fn new() -> Result<(Self, CommandSource), EngineError> {
        let (sender, receiver) = mpsc::channel();
        let waker = Arc::new(Waker::new()?);
        Ok((Self { sender, waker: Arc::clone(&waker) }, CommandSource { receiver, waker }))
    }

    /// # Errors
    /// When the worker has ended.
    pub(crate) fn tell(&self, command: Command) -> Result<(), EngineError> {
        self.sender.send(command).map_err(|_| EngineError::Closed)?;
        self.waker.wake();
        Ok(())
    }

    /// Asks, and returns where the answer will come.
    ///
    /// # Errors
    /// When the worker has ended.
    pub(crate) fn ask<T>(
        &self,
        command: impl FnOnce(SyncSender<T>) -> Command,
    ) -> Result<Receiver<T>, EngineError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.tell(command(reply))?;
        Ok(answer)
    }
}

/// An event for the user of an engine.
#[derive(Clone, Debug)]
pub struct EngineEvent {
    /// What happened.
    pub kind: EngineEventKind,
    /// In which session.
    pub session: SessionId,
    /// To which WAN.
    pub wan: Option<WanId>,
    /// The WAN's name: as it was added, or the peer's address on a server.
    pub name: String,
    /// Why, in words; the text of a refusal or note; or the cipher of a session that is up.
    pub detail: String,
    /// How many WANs carry packets now.
    pub wans_up: usize,
    /// When.
    pub at: Time,
}

/// The kinds of [`EngineEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineEventKind {
    /// A session is up, with this kind of peer.
    SessionUp(Peer),
    /// A session's last link is gone.
    SessionDown,
    /// A WAN carries packets.
    LinkUp,
    /// A WAN does not answer.
    LinkSuspect,
    /// A WAN left.
    LinkDown,
    /// Client: the server says what both ends are called inside the tunnel.
    Assigned(Assignment),
    /// Server: another process with the same client's key has taken over.
    Replaced,
    /// The session's packets are of this length at most from now on; the tun's MTU should be the same.
    InnerMtu(u16),
    /// A peer was refused.
    Refused,
    /// Something for the log.
    Note,
    /// One datagram or packet, when that is asked for.
    Trace,
}

/// All figures of an engine at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When.
    pub at: Time,
    /// Every session, with its tun and its counters of packets and bytes read from and written to it.
    pub sessions: Vec<(SessionReport, TunReport)>,
    /// Names of a client's WANs.
    pub names: Vec<(WanId, String)>,
    /// Local addresses of a client's sockets.
    pub locals: Vec<(ratbond_proto::link::SocketId, SocketAddr)>,
}

/// A tun's name and counters.
#[derive(Clone, Debug, Default)]
pub struct TunReport {
    /// Its name; empty without one.
    pub name: String,
    /// Packets read from it.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets written to it.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Packets that the kernel did not take, or that came while there was no tun.
    pub tx_drops: u64,
}

impl Snapshot {
    /// Takes in what another worker of the same server has told.
    pub(crate) fn merge(&mut self, other: Self) {
        self.sessions.extend(other.sessions);
        self.sessions.sort_by_key(|(report, _)| report.id);
        self.names.extend(other.names);
        // Workers of one server listen at the same address.
        self.locals.extend(other.locals);
        self.locals.dedup();
    }
}

/// Sends events and makes the reader's descriptor readable.
#[derive(Clone, Debug)]
pub(crate) struct EventSink {
    pub sender: Sender<EngineEvent>,
    pub waker: Arc<Waker>,
}

impl EventSink {
    pub(crate) fn send(&self, event: EngineEvent) {
        // Nobody listens any more when the handle is gone: the worker is about to end.
        if self.sender.send(event).is_ok() {
            self.waker.wake();
        }
    }
}

/// The worker's end of the command channel.
pub(crate) struct CommandSource {
    pub receiver: Receiver<Command>,
    pub waker: Arc<Waker>,
}
