//! What a session does across links when its packets are numbered: gives numbers, repairs on any link, puts in order.

use std::collections::VecDeque;
use std::time::Duration;

use crate::flow::Flow;
use crate::link::{LinkStats, Outgoing};
use crate::numbering::{BUCKETS, Numberer, Numbering};
use crate::packet::{Packet, PacketPool};
use crate::queue::Queued;
use crate::resequencer::{Limits, MAX_HOLD, Resequencer, ResequencerStats};
use crate::time::Time;

/// Buckets below this are for what waits for order; then come those for what does not.
const ORDERED_BUCKETS: u64 = 128;
/// Buckets from here on are for what does not wait and is worth a second copy.
const REAL_TIME_FROM: u64 = 192;
/// TCP packets up to this length acknowledge and hardly carry anything: they need no order.
const BARE_ACK_BYTES: usize = 100;
/// A flow that was busy is put in order until it has been quiet for this long, so that none of it overtakes.
const BUSY_FOR: Duration = Duration::from_secs(1);
/// Before the links are known: what a repair takes on a usual one.
const INITIAL_HOLD: Duration = Duration::from_millis(200);
/// The peer's ack delay, and what its timers and ours are late by.
const MARGIN: Duration = Duration::from_millis(10);

/// How a packet left its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The queue of a link that its flow stays on.
    Pinned,
    /// The queue of all links, as one of a flow that had nothing waiting.
    Sparse,
    /// The queue of all links, as one of a backlog, to be spread over them.
    Bulk,
}

/// Whether a packet is worth a second copy over another link when it seems to be lost: what a sender's own rule for
/// buckets says.
#[must_use]
pub(crate) const fn is_real_time(number: &Numbering) -> bool {
    !number.ordered && number.bucket as u64 >= REAL_TIME_FROM
}

/// See the module.
#[derive(Debug)]
pub(super) struct Numbered {
    numberer: Numberer,
    /// By hash of the flow: until when it counts as busy.
    busy_until: Box<[Time; BUCKETS]>,
    resequencer: Resequencer,
    /// Packets that were lost, the oldest first.
    repairs: VecDeque<Outgoing>,
    /// Packets that were too long for the link whose turn it was; any that is wide enough takes them.
    long: VecDeque<Outgoing>,
    released: Vec<Packet>,
    pub repaired_packets: u64,
}

impl Default for Numbered {
    fn default() -> Self {
        Self {
            numberer: Numberer::default(),
            busy_until: Box::new([Time::ZERO; BUCKETS]),
            resequencer: Resequencer::new(Limits::default(), INITIAL_HOLD),
            repairs: VecDeque::new(),
            long: VecDeque::new(),
            released: Vec::new(),
            repaired_packets: 0,
        }
    }
}

impl Numbered {
    /// Numbers a packet that leaves its queue for good. TCP with data and backlogs that are spread wait for order;
    /// everything else only for nothing to come twice.
    pub fn number(&mut self, now: Time, item: &Queued, class: Class) -> Numbering {
        let flow = &item.flow;
        let ordered = match class {
            Class::Pinned => flow.tcp,
            _ if flow.tcp => item.packet.len() > BARE_ACK_BYTES,
            _ => self.is_busy(now, flow, class == Class::Bulk),
        };
        let bucket = match (ordered, flow.tcp) {
            (true, _) => flow.queue % ORDERED_BUCKETS,
            (false, true) => ORDERED_BUCKETS + flow.queue % (REAL_TIME_FROM - ORDERED_BUCKETS),
            (false, false) => REAL_TIME_FROM + flow.queue % (BUCKETS as u64 - REAL_TIME_FROM),
        };
        self.numberer.assign(bucket as u8, ordered)
    }

    /// Whether a flow that is neither TCP nor marked for low delay has had a backlog lately, or `now`.
    fn is_busy(&mut self, now: Time, flow: &Flow, backlogged: bool) -> bool {
        if flow.wants_low_delay() {
            return false;
        }
        let until = &mut self.busy_until[(flow.queue % BUCKETS as u64) as usize];
        if backlogged {
            *until = now + BUSY_FOR;
        }
        now < *until
    }

    /// Packets to be sent again, on whichever link is best.
    pub fn repair(&mut self, lost: &mut Vec<Outgoing>) {
        self.repairs.extend(lost.drain(..));
    }

    pub fn has_repairs(&self) -> bool {
        !self.repairs.is_empty() || !self.long.is_empty()
    }

    pub fn keep_long(&mut self, outgoing: Outgoing) {
        self.long.push_back(outgoing);
    }

    /// The next packet that was too long for another link and is not for this one.
    pub fn next_long(&mut self, limit: usize) -> Option<Outgoing> {
        self.long.front().filter(|outgoing| outgoing.packet.len() <= limit)?;
        self.long.pop_front()
    }

    /// A packet that was too long for a link and is longer than this.
    pub fn next_longer_than(&mut self, limit: usize) -> Option<Outgoing> {
        let at = self.long.iter().position(|outgoing| outgoing.packet.len() > limit)?;
        self.long.remove(at)
    }

    pub fn next_repair(&mut self) -> Option<Outgoing> {
        let repair = self.repairs.pop_front()?;
        self.repaired_packets += 1;
        Some(repair)
    }

    /// Takes what came; moves onto `deliveries` what may go now.
    pub fn receive(
        &mut self,
        now: Time,
        number: Numbering,
        packet: Packet,
        deliveries: &mut VecDeque<Packet>,
        pool: &mut PacketPool,
    ) {
        if let Some(duplicate) = self.resequencer.receive(now, number, packet, &mut self.released) {
            pool.put(duplicate);
        }
        deliveries.extend(self.released.drain(..));
    }

    pub fn skip(&mut self, bucket: u8, first: u32, count: u16, deliveries: &mut VecDeque<Packet>) {
        self.resequencer.skip(bucket, first, count, &mut self.released);
        deliveries.extend(self.released.drain(..));
    }

    pub fn poll_timeout(&self) -> Option<Time> {
        self.resequencer.poll_timeout()
    }

    pub fn handle_timeout(&mut self, now: Time, deliveries: &mut VecDeque<Packet>) {
        self.resequencer.handle_timeout(now, &mut self.released);
        deliveries.extend(self.released.drain(..));
    }

    /// Nothing more will come: what waited for order goes as it is.
    pub fn release(&mut self, deliveries: &mut VecDeque<Packet>) {
        self.resequencer.reset(&mut self.released);
        deliveries.extend(self.released.drain(..));
    }

    pub fn stats(&self) -> ResequencerStats {
        self.resequencer.stats()
    }

    /// Waits as long as the slowest repair may take: found lost on one link after a round trip and a quarter, sent again on
    /// the fastest, measured from when the packet should have come. And twice more, since a repair may get lost as well: a
    /// gap comes of nothing but loss, and a TCP inside shrinks its window for one that is given up.
    pub fn adapt(&mut self, links: impl Iterator<Item = LinkStats> + Clone) {
        let known = links.filter(|stats| !stats.srtt.is_zero());
        let Some(fastest) = known.clone().map(|stats| stats.srtt).min() else { return };
        let repair = |stats: LinkStats| stats.srtt.mul_f64(0.75) + stats.min_rtt / 4 + 4 * stats.rttvar;
        let slowest = known.map(repair).max().unwrap_or_default();
        let again = 3 * fastest;
        self.resequencer.set_hold((slowest + fastest / 2 + again + MARGIN).min(MAX_HOLD));
    }
}
