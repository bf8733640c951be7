//! What a session does across links when its packets are numbered: gives numbers, repairs on any link, puts in order.

use std::collections::VecDeque;
use std::time::Duration;

use crate::flow::Flow;
use crate::link::{LinkStats, Outgoing};
use crate::numbering::{Numberer, Numbering};
use crate::packet::{Packet, PacketPool};
use crate::resequencer::{Limits, MAX_HOLD, Resequencer, ResequencerStats};
use crate::time::Time;

/// Buckets below this are for flows that wait for order, the others for those that do not.
const ORDERED_BUCKETS: u64 = 128;
/// Before the links are known: what a repair takes on a usual one.
const INITIAL_HOLD: Duration = Duration::from_millis(200);
/// The peer's ack delay, and what its timers and ours are late by.
const MARGIN: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Numbered {
    numberer: Numberer,
    resequencer: Resequencer,
    /// Packets that were lost, the oldest first.
    repairs: VecDeque<Outgoing>,
    released: Vec<Packet>,
    pub repaired_packets: u64,
}

impl Default for Numbered {
    fn default() -> Self {
        Self {
            numberer: Numberer::default(),
            resequencer: Resequencer::new(Limits::default(), INITIAL_HOLD),
            repairs: VecDeque::new(),
            released: Vec::new(),
            repaired_packets: 0,
        }
    }
}

impl Numbered {
    /// Numbers a packet that leaves its queue for good. TCP waits for order; everything else only for nothing to come
    /// twice.
    pub fn number(&mut self, flow: &Flow) -> Numbering {
        let bucket = flow.queue % ORDERED_BUCKETS + if flow.tcp { 0 } else { ORDERED_BUCKETS };
        self.numberer.assign(bucket as u8, flow.tcp)
    }

    /// Packets to be sent again, on whichever link is best.
    pub fn repair(&mut self, lost: &mut Vec<Outgoing>) {
        self.repairs.extend(lost.drain(..));
    }

    pub fn has_repairs(&self) -> bool {
        !self.repairs.is_empty()
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
    /// the fastest, measured from when the packet should have come.
    pub fn adapt(&mut self, links: impl Iterator<Item = LinkStats> + Clone) {
        let known = links.filter(|stats| !stats.srtt.is_zero());
        let Some(fastest) = known.clone().map(|stats| stats.srtt).min() else { return };
        let repair = |stats: LinkStats| stats.srtt.mul_f64(0.75) + stats.min_rtt / 4 + 4 * stats.rttvar;
        let slowest = known.map(repair).max().unwrap_or_default();
        self.resequencer.set_hold((slowest + fastest / 2 + MARGIN).min(MAX_HOLD));
    }
}
