//! One end of a tunnel as the driver sees it: datagrams and packets in, datagrams and packets out.
//!
//! Each link protocol has its endpoint, which tells datagrams apart and owns the sessions; the driver knows only this
//! trait.

use std::net::SocketAddr;

use crate::event::{Event, Peer};
use crate::link::{Route, SocketId, WanId};
use crate::packet::Packet;
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

/// A session's figures.
#[derive(Clone, Debug)]
pub struct SessionReport {
    /// The session.
    pub id: SessionId,
    /// Who the peer is, while the session is up.
    pub peer: Option<Peer>,
    /// Since when it is up.
    pub up_since: Option<Time>,
    /// Counters.
    pub stats: SessionStats,
    /// Its links.
    pub links: Vec<LinkReport>,
}

/// See the module.
pub trait Endpoint: Send {
    /// Client: opens a link of a WAN over a socket of its own, if the WAN lacks one; returns whether it lacks another.
    fn connect(&mut self, now: Time, wan: WanId, route: Route) -> bool;

    /// All links of a WAN leave the bond; `reason` is for the log.
    fn remove_wan(&mut self, now: Time, wan: WanId, reason: &str);

    /// Tells the peer, as far as the protocol can, that this end stops. Datagrams may come of it.
    fn close(&mut self, now: Time);

    /// Whether a socket still has links.
    fn uses_socket(&self, socket: SocketId) -> bool;

    /// Packets are spread by another rule from now on.
    fn set_scheduler(&mut self, scheduler: SchedulerKind);

    /// A datagram came; it may be changed in place.
    fn handle_datagram(&mut self, now: Time, route: Route, datagram: &mut [u8]);

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
