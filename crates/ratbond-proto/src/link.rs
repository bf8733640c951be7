//! One link of a session: the trait that both link protocols implement.
//!
//! A link takes packets while it has room, gives datagrams, hands up what arrived, and gives back what it holds when
//! it dies. Which link a packet takes, and whether a link is alive, is the session's business
//! ([`crate::session`]).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::bond::link::path_mtu::PathMtuState;
use crate::event::{DownReason, Peer};
use crate::numbering::Numbering;
use crate::packet::{Packet, PacketPool};
use crate::preference::{Preference, Tier};
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

/// A packet on its way into a link, or given back by one.
#[derive(Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The packet.
    pub packet: Packet,
    /// Its place in its bucket, on links that are [`NUMBERED`](Link::NUMBERED).
    pub number: Option<Numbering>,
}

/// What arrived on a link.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<L: Link> {
    /// An IP packet; with its place in its bucket on links that are numbered.
    Packet(Option<Numbering>, Packet),
    /// Sequences of a bucket that will not come.
    Skip {
        /// The bucket.
        bucket: u8,
        /// The first.
        first: u32,
        /// How many.
        count: u16,
    },
    /// The peer is there. Where the protocol has words for it: what it wants of the link.
    Hello(Peer, Option<Preference>),
    /// The peer sends no longer packets than this over all links together.
    PacketLimit(u16),
    /// The peer took a link down.
    LinkDown(L::Farewell),
    /// Something that is the endpoint's business.
    Other(L::Control),
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
    /// Bytes that may be in flight.
    pub window_bytes: u64,
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
    /// The largest IP packet that the path is known or assumed to carry; zero where nobody looks.
    pub path_mtu: usize,
    /// How that is known.
    pub path_mtu_state: PathMtuState,
}

/// How long packets may be on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketLimit {
    /// Bytes.
    pub len: usize,
    /// Whether nobody is about to find out that they may be longer.
    pub settled: bool,
    /// Whether it is so little that the session had better do with the other links.
    pub crippled: bool,
}

/// What a link expects of a packet that it would be given now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outlook {
    /// Its name: [`Link::key`].
    pub key: u32,
    /// Whether the session lets it carry packets; a link itself says yes.
    pub usable: bool,
    /// What its owner wants it for; told by the session.
    pub tier: Tier,
    /// Whether its window lets a packet in, now or when the pace does.
    pub has_room: bool,
    /// The peer's clock at arrival less this end's at departure when nothing waited, in µs modulo 2^32: the offset of the
    /// clocks is the same for all links of a session.
    pub one_way_us: Option<u32>,
    /// Least round trip.
    pub min_rtt_us: u32,
    /// How much later it would arrive for what is before it on this link: the pace, the queue that it has built, an
    /// answer that is overdue.
    pub wait_us: u32,
    /// Capacity, in bytes a second.
    pub rate_bytes_per_s: u64,
    /// Fraction lost, 0 to 1.
    pub loss: f64,
    /// Whether it is known to lose packets while it has room, or nothing is known of that yet.
    pub may_lose: bool,
}

impl Outlook {
    /// What of the capacity arrives.
    #[must_use]
    pub fn delivered_bytes_per_s(&self) -> u64 {
        (self.rate_bytes_per_s as f64 * (1.0 - self.loss)) as u64
    }
}

/// One link, whatever protocol it speaks. Pure: see the crate's guarantee.
pub trait Link: Sized {
    /// Tells the peer that a link is gone; sent over the others.
    type Farewell: std::fmt::Debug + PartialEq + Eq;
    /// What the protocol says beyond packets and liveness; for the endpoint.
    type Control: std::fmt::Debug + PartialEq + Eq;

    /// Whether packets are numbered across links, so that one may be sent again on another without coming twice.
    /// A link that does not number repairs losses by itself, and in order.
    const NUMBERED: bool;
    /// How often an idle link says that it is there.
    const KEEPALIVE: Duration;
    /// Least time that an answer may be overdue before the link is suspect.
    const PATIENCE: Duration;
    /// Whether a server, too, tells the peer of links that are gone.
    const SERVER_SAYS_FAREWELL: bool;
    /// The longest packet of the tun before more is known.
    const INNER_MTU: usize;

    /// A name of the link that both ends know.
    fn key(&self) -> u32;

    /// How often it says so, as much as it is used now.
    fn keepalive(&self, _now: Time) -> Duration {
        Self::KEEPALIVE
    }

    /// How long a new link may take to be heard of.
    fn connect_timeout(&self) -> Duration {
        Duration::from_secs(3)
    }

    /// What its owner wants of it: a cap on what is sent, in bytes a second of UDP payload. A client's link tells the peer.
    fn prefer(&mut self, preference: &Preference, cap: Option<u64>);

    /// How many packets it takes now.
    fn room(&self, now: Time) -> usize;

    /// What it expects of a packet that it would be given now. Links that do not number packets are not asked.
    fn outlook(&self, _now: Time) -> Outlook {
        Outlook { key: self.key(), usable: true, ..Outlook::default() }
    }

    /// How long packets may be now.
    fn packet_limit(&self) -> PacketLimit {
        PacketLimit { len: usize::MAX, settled: true, crippled: false }
    }

    /// Tells the peer that a numbered packet will not come.
    fn give_up(&mut self, _number: Numbering) {}

    /// Tells the peer how long the packets of this end's tun are at most.
    fn tell_packet_limit(&mut self, _len: u16) {}

    /// Takes a packet that is not longer than [`Link::packet_limit`]. The caller has asked [`Link::room`].
    fn send(&mut self, now: Time, packet: Outgoing);

    /// Says that it is there; goes before queued packets of the session, not before those the link already took.
    fn send_hello(&mut self, now: Time, pool: &mut PacketPool);

    /// What is to be said over the other links once this one is gone.
    fn farewell(&self, now: Time, reason: &DownReason) -> Self::Farewell;

    /// Which link a farewell is of; see [`Link::key`].
    fn farewell_key(farewell: &Self::Farewell) -> u32;

    /// Tells the peer that another link (or this one, at the end) is gone.
    fn send_farewell(&mut self, now: Time, farewell: &Self::Farewell, pool: &mut PacketPool);

    /// The peer has taken this link down: learns from the farewell what had arrived there.
    fn take_farewell(&mut self, now: Time, farewell: &Self::Farewell, pool: &mut PacketPool);

    /// Reads what a datagram held (already told to be this link's; it may be changed in place).
    /// Pushes onto `received`; returns whether it was this link's peer who sent it.
    fn receive(
        &mut self,
        now: Time,
        data: &mut [u8],
        received: &mut Vec<Received<Self>>,
        pool: &mut PacketPool,
    ) -> bool;

    /// Moves onto `into` what was found lost, to be sent again over any link.
    fn take_lost(&mut self, into: &mut Vec<Outgoing>);

    /// Moves onto `into` a copy of each real-time packet whose acknowledgement is overdue, to be sent over another link.
    fn take_copies(&mut self, _now: Time, _into: &mut Vec<Outgoing>) {}

    /// The link does not answer: moves onto `into` all that is on its way, to be sent again over the others at once. It may
    /// arrive twice only where packets are numbered, so other links give nothing.
    fn take_in_flight(&mut self, now: Time, into: &mut Vec<Outgoing>);

    /// Appends one datagram to `out` and returns true, or leaves it alone when nothing is due. `idle` says that the
    /// session has nothing more for this link.
    fn poll_transmit(&mut self, now: Time, idle: bool, out: &mut Vec<u8>, pool: &mut PacketPool) -> bool;

    /// When [`Link::handle_timeout`] or [`Link::poll_transmit`] wants to be called next.
    fn poll_timeout(&self) -> Option<Time>;

    /// When the pace lets something go, if that is what a packet of the session waits for.
    fn next_send(&self) -> Time;

    /// Time has passed.
    fn handle_timeout(&mut self, now: Time);

    /// Since when something waits for an answer of the peer.
    fn waiting_since(&self) -> Option<Time>;

    /// Whether the peer has acknowledged something since then. Anything valid that comes is an answer where the protocol
    /// does not tell more.
    fn has_answered_since(&self, _since: Time) -> bool {
        true
    }

    /// Whether the link has given up by itself.
    fn is_exhausted(&self) -> bool;

    /// Gives back, in order, every packet that is not known to have arrived.
    fn into_unacknowledged(self) -> Vec<Outgoing>;

    /// Its figures now.
    fn stats(&self) -> LinkStats;
}
