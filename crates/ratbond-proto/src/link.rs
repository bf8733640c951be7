//! One link of a session: the trait that both link protocols implement.
//!
//! A link takes packets while it has room, gives datagrams, hands up what arrived, and gives back what it holds when
//! it dies. Which link a packet takes, and whether a link is alive, is the session's business
//! ([`crate::session`]).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::event::Peer;
use crate::packet::{Packet, PacketPool};
use crate::time::Time;

/// Names a link within its session. Never used again after the link is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// Names what a user calls a link: a WAN device of a client, a remote address of a server.
///
/// Over its life a WAN carries several [`Link`]s: `mux` of them at once, and a fresh one whenever one died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WanId(pub u32);

/// Names a UDP socket of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u32);

/// The way a datagram comes and goes: which socket, from and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The socket.
    pub socket: SocketId,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The address that the peer sent to; answers leave from it. `None` lets the kernel choose.
    pub local: Option<IpAddr>,
}

/// What arrived on a link.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// An IP packet.
    Packet(Packet),
    /// The peer is there.
    Hello(Peer),
    /// The peer took the link with this key down.
    LinkDown {
        /// See [`Link::key`].
        key: u32,
    },
}

/// Figures of a link, as they stand. Counters count since the link was made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkStats {
    /// Smoothed round-trip time; zero before the first sample.
    pub srtt: Duration,
    /// Its mean deviation.
    pub rttvar: Duration,
    /// The least of the last 10 s.
    pub min_rtt: Duration,
    /// Retransmission timeout.
    pub rto: Duration,
    /// Capacity estimate in bit/s; zero before the first sample.
    pub delivery_rate_bps: u64,
    /// Fraction lost lately, 0 to 1.
    pub loss: f64,
    /// Segments in flight.
    pub in_flight_segments: u64,
    /// Bytes in flight.
    pub in_flight_bytes: u64,
    /// Segments that may be in flight.
    pub window_segments: u64,
    /// Segments sent, again or not.
    pub segments_sent: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Of these, before a timeout.
    pub fast_retransmits: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Segments that had come before.
    pub duplicates: u64,
    /// Segments dropped as invalid.
    pub malformed: u64,
}

/// One link, whatever protocol it speaks. Pure: see the crate's guarantee.
pub trait Link: Sized {
    /// A name of the link that both ends know.
    fn key(&self) -> u32;

    /// How many packets it takes now.
    fn room(&self) -> usize;

    /// Takes a packet. The caller has asked [`Link::room`].
    fn send(&mut self, now: Time, packet: Packet);

    /// Says HELLO; goes before queued packets of the session, not before those the link already took.
    fn send_hello(&mut self, now: Time, pool: &mut PacketPool);

    /// Tells the peer that the link with `key` is down.
    fn send_link_down(&mut self, now: Time, key: u32, pool: &mut PacketPool);

    /// Reads what a datagram held (already opened and told to be this link's).
    /// Pushes onto `received`; returns whether anything in it was valid.
    fn receive(
        &mut self,
        now: Time,
        data: &[u8],
        received: &mut Vec<Received>,
        pool: &mut PacketPool,
    ) -> bool;

    /// Appends one datagram to `out` and returns true, or leaves it alone when nothing is due.
    fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>, pool: &mut PacketPool) -> bool;

    /// When [`Link::handle_timeout`] wants to be called next.
    fn poll_timeout(&self) -> Option<Time>;

    /// Time has passed.
    fn handle_timeout(&mut self, now: Time);

    /// Since when something waits for an answer of the peer.
    fn waiting_since(&self) -> Option<Time>;

    /// Whether the link has given up by itself.
    fn is_exhausted(&self) -> bool;

    /// Gives back, in order, every packet that is not known to have arrived.
    fn into_unacknowledged(self) -> Vec<Packet>;

    /// Its figures now.
    fn stats(&self) -> LinkStats;
}
