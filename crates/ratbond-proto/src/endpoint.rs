//! One end of a tunnel as the driver sees it: datagrams and packets in, datagrams and packets out.
//!
//! Each link protocol has its endpoint, which tells datagrams apart and owns the sessions; the driver knows only this
//! trait.

use std::net::SocketAddr;

use crate::bond::endpoint::NamedClient;
use crate::bond::keys::Cipher;
use crate::event::{Event, Peer};
use crate::link::{Route, SocketId, WanId};
use crate::packet::Packet;
use crate::preference::Preference;
use crate::scheduler::SchedulerKind;
use crate::session::{LinkReport, SessionStats};
use crate::time::Time;

/// Names a session within its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

/// An event and where it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointEvent {
    /// The session.
    pub session: SessionId,
    /// What happened.
    pub event: Event,
    /// The peer's address, where the event is about a WAN or a datagram.
    pub remote: Option<SocketAddr>,
    /// How many WANs of the session carry packets now.
    pub wans_up: usize,
}

/// Packets that a server's rules for a client kept back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateStats {
    /// From the client, with a source that is not one of its addresses or networks.
    pub spoofed_drops: u64,
    /// From the client to another one that it may not reach.
    pub other_client_drops: u64,
    /// To the client, beyond its rate cap.
    pub cap_drops_to_client: u64,
    /// From the client, beyond its rate cap.
    pub cap_drops_from_client: u64,
}

/// A session's figures.
#[derive(Clone, Debug)]
pub struct SessionReport {
    /// The session.
    pub id: SessionId,
    /// Who the peer is, while the session is up.
    pub peer: Option<Peer>,
    /// Since when it is up.
    pub up_since: Option<Time>,
    /// What seals it; none before the handshake, and for links that are not sealed.
    pub cipher: Option<Cipher>,
    /// Counters.
    pub stats: SessionStats,
    /// What a server's rules for its client kept back.
    pub gate: GateStats,
    /// Its links.
    pub links: Vec<LinkReport>,
}

/// A datagram that another worker of the same server has to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// Which worker.
    pub worker: u8,
    /// How it came.
    pub route: Route,
    /// The datagram.
    pub datagram: Vec<u8>,
}

/// See the module.
pub trait Endpoint: Send {
    /// Client: opens a link of a WAN over a socket of its own, if the WAN lacks one; returns whether it lacks another.
    fn connect(&mut self, now: Time, wan: WanId, route: Route) -> bool;

    /// Client: a WAN is used so from now on, whether it has links or not. Nothing is remembered of a WAN that is removed.
    fn prefer(&mut self, _now: Time, _wan: WanId, _preference: Preference) {}

    /// All links of a WAN leave the bond; `reason` is for the log.
    fn remove_wan(&mut self, now: Time, wan: WanId, reason: &str);

    /// Tells the peer, as far as the protocol can, that this end stops. Datagrams may come of it.
    fn close(&mut self, now: Time);

    /// Whether a socket still has links.
    fn uses_socket(&self, socket: SocketId) -> bool;

    /// A server of named clients: who may connect from now on. Sessions of clients that are in the table as before are not
    /// touched; those of clients that are gone, revoked or have other keys end at once. Other ends have no such table.
    fn set_clients(&mut self, _now: Time, _clients: Vec<NamedClient>) {}

    /// Packets are spread by another rule from now on.
    fn set_scheduler(&mut self, scheduler: SchedulerKind);

    /// A datagram came; it may be changed in place.
    fn handle_datagram(&mut self, now: Time, route: Route, datagram: &mut [u8]);

    /// Another worker of the same server has handed a datagram over.
    fn handle_handover(&mut self, _now: Time, _route: Route, _datagram: &mut [u8]) {}

    /// The next datagram that another worker of the same server has to see.
    fn poll_handover(&mut self) -> Option<Handover> {
        None
    }

    /// The kernel refused to send datagrams of `len` bytes over this route, as too long; they are lost. Returns whether
    /// anything can be done about it.
    fn handle_too_big(&mut self, _now: Time, _route: Route, _len: usize) -> bool {
        false
    }

    /// A packet came from a session's tun.
    fn handle_packet(&mut self, now: Time, session: SessionId, packet: &[u8]);

    /// Time has passed.
    fn handle_timeout(&mut self, now: Time);

    /// When [`Endpoint::handle_timeout`] wants to be called next.
    fn poll_timeout(&self) -> Option<Time>;

    /// Appends the next datagram to `out`; returns its route, `None` when nothing is due.
    fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> Option<Route>;

    /// The next packet for a tun; its memory comes back through [`Endpoint::recycle`].
    fn poll_delivery(&mut self) -> Option<(SessionId, Packet)>;

    /// Gives a delivered packet's memory back.
    fn recycle(&mut self, session: SessionId, packet: Packet);

    /// The next event.
    fn poll_event(&mut self) -> Option<EndpointEvent>;

    /// Every session's figures.
    fn reports(&self) -> Vec<SessionReport>;
}
