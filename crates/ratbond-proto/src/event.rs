//! What a session and its endpoint tell the driver, besides packets and datagrams.

use crate::addressing::Assignment;
use crate::link::WanId;

/// Which program the peer runs, as its first HELLO tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// This one.
    Ratbond,
    /// The Go program that this one replaces.
    Stock,
}

/// Why a link left the bond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// Nothing came from the peer for too long.
    Silent,
    /// The peer said so (LINKDOWN).
    Peer,
    /// The link's sender gave up: a segment was retransmitted too often.
    Exhausted,
    /// A new link of the peer took its place.
    Replaced,
    /// This end took it out; the words are the caller's.
    Local(String),
}

impl std::fmt::Display for DownReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silent => f.write_str("no answer from the peer"),
            Self::Peer => f.write_str("the peer took it down"),
            Self::Exhausted => f.write_str("too many retransmissions"),
            Self::Replaced => f.write_str("replaced by a new connection of the peer"),
            Self::Local(words) => f.write_str(words),
        }
    }
}

/// Something that happened. WAN events count the WAN's links together: it is up while one of them is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first link is up and the peer is known; or the peer changed.
    SessionUp(Peer),
    /// The last link is gone.
    SessionDown,
    /// A WAN carries packets, for the first time or again.
    WanUp(WanId),
    /// A WAN does not answer; packets avoid it.
    WanSuspect(WanId),
    /// A WAN left the bond.
    WanDown(WanId, DownReason),
    /// A client's WAN wants a new link, on a socket of its own.
    Reconnect(WanId),
    /// Client: what the server calls both ends inside the tunnel; told when it is new.
    Assigned(Assignment),
    /// Server: another process with the same client's key has taken over, while the one before still ran.
    Replaced,
    /// A peer's datagrams were refused; in words.
    Refused(String),
    /// The longest packet of the tun has changed: what all links carry, both ways.
    InnerMtu(u16),
    /// One datagram or packet; see [`crate::trace`].
    Trace(String),
}
