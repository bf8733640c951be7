//! What a session tells of itself.

use super::Session;
use super::slot::{LinkState, Slot, Traffic};
use crate::link::{Link, LinkStats, Route, WanId};
use crate::preference::Preference;
use crate::queue::QueueStats;
use crate::resequencer::ResequencerStats;
use crate::time::Time;

/// What a session counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Packets that found no link, and no room to wait for one.
    pub no_link_drops: u64,
    /// Packets from the tun that were neither IPv4 nor IPv6.
    pub not_ip_drops: u64,
    /// Packets from the tun that were on their way to the peer's own port: the tunnel's datagrams, led back into it.
    pub own_drops: u64,
    /// Packets that were too long for every link: cut, or refused.
    pub too_big_packets: u64,
    /// Answers to their senders.
    pub too_big_answers: u64,
    /// The longest packet of the tun: what all links carry, both ways.
    pub inner_mtu: usize,
    /// Packets taken from a dead link and sent again over another. The peer may get some twice.
    pub requeued_packets: u64,
    /// Packets that were lost on a link and sent again, on links that number them.
    pub repaired_packets: u64,
    /// Packets of which a second copy went over another link, since the first was overdue.
    pub copied_packets: u64,
    /// Packets of which a second copy went over another link at once, since the first may get lost and there was room.
    pub doubled_packets: u64,
    /// Their bytes.
    pub doubled_bytes: u64,
    /// What came over such links and how it was put in order.
    pub resequencer: ResequencerStats,
    /// Packets and bytes that wait in the queue in front of all links, where there is one.
    pub queued: (usize, usize),
    /// What the queues of all links dropped, of those that are gone as well.
    pub queues: QueueStats,
}

/// One link's figures.
#[derive(Clone, Debug)]
pub struct LinkReport {
    /// Its WAN.
    pub wan: WanId,
    /// Its name on both ends.
    pub key: u32,
    /// Where its datagrams go.
    pub route: Route,
    /// Whether it is alive.
    pub state: LinkState,
    /// What its owner wants of it.
    pub preference: Preference,
    /// When it came up.
    pub up_since: Option<Time>,
    /// When the last valid datagram came.
    pub last_rx: Option<Time>,
    /// Packets and bytes.
    pub traffic: Traffic,
    /// Packets and bytes that wait in its queue.
    pub queued: (usize, usize),
    /// What its queue dropped.
    pub queue: QueueStats,
    /// How long its packets may be; `None`: any.
    pub mtu: Option<usize>,
    /// The protocol's figures.
    pub stats: LinkStats,
}

impl<L: Link> Session<L> {
    /// What it counted.
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        let mut stats = SessionStats { inner_mtu: self.mtu.both, ..self.stats };
        if let Some(numbered) = &self.numbered {
            stats.repaired_packets += numbered.repaired_packets;
            stats.resequencer = numbered.stats();
        }
        for slot in &self.slots {
            stats.queues += slot.queue.stats();
        }
        if let Some(shared) = self.spread.shared() {
            stats.queued = (shared.queue.len(), shared.queue.bytes());
            stats.queues += shared.queue.stats();
            stats.doubled_packets += shared.copies.packets;
            stats.doubled_bytes += shared.copies.bytes;
            if let Some(doubles) = &shared.doubles {
                stats.doubled_packets += doubles.packets;
                stats.doubled_bytes += doubles.bytes;
            }
        }
        stats
    }

    /// Every link's figures.
    #[must_use]
    pub fn reports(&self) -> Vec<LinkReport> {
        self.slots.iter().map(Slot::report).collect()
    }
}

impl<L: Link> Slot<L> {
    fn report(&self) -> LinkReport {
        LinkReport {
            wan: self.wan,
            key: self.link.key(),
            route: self.route,
            state: self.state,
            preference: self.preference,
            up_since: self.up_since,
            last_rx: self.up_since.map(|_| self.last_rx),
            traffic: self.traffic,
            queued: (self.queue.len(), self.queue.bytes()),
            queue: self.queue.stats(),
            mtu: L::NUMBERED.then(|| self.link.packet_limit().len),
            stats: self.link.stats(),
        }
    }
}
