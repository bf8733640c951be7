//! Second copies of packets that are overdue, to be sent over another link before anybody knows of a loss.
//!
//! A real-time packet gets one as soon as its acknowledgement is. Any other gets one once nothing at all comes back and the
//! link asks with a probe: what was sent last is not followed by anything whose arrival could tell of its loss, and a
//! backlog on other links would wait for it.

use std::time::Duration;

use super::{BondLink, Item};
use crate::bond::ack::MAX_ACK_DELAY;
use crate::packet::Packet;
use crate::session::is_real_time;
use crate::time::Time;

/// How far the search has come. No number below a `next` is looked at again.
#[derive(Debug, Default)]
pub(super) struct Copied {
    next_real_time: u64,
    /// One after the newest datagram that carried a real-time packet.
    real_time_end: u64,
    next: u64,
}

impl Copied {
    /// Datagram `number` carries `items`.
    pub fn on_sent(&mut self, number: u64, items: &[Item]) {
        if items.iter().any(is_urgent) {
            self.real_time_end = number + 1;
        }
    }
}

impl BondLink {
    /// When the oldest packet in flight is overdue that is worth a copy.
    pub(super) fn copy_at(&self) -> Option<Time> {
        let (from, end) = self.copy_range();
        let (_, at, _) = self.recovery.first_in(from, end)?;
        Some(at + self.copy_after()?)
    }

    /// Pushes onto `into` a copy of each packet that is overdue and worth it, once.
    pub fn copy_overdue(&mut self, now: Time, into: &mut Vec<Item>) {
        let Some(after) = self.copy_after() else { return };
        let all = self.recovery.probes() > 0;
        loop {
            let (from, end) = self.copy_range();
            let Some((number, at, items)) = self.recovery.first_in(from, end) else { return };
            if at + after > now {
                return;
            }
            // What has had its copy as a real-time packet needs no other.
            let known = number < self.copied.next_real_time;
            into.extend(items.iter().filter_map(|item| match item {
                Item::Data(..) if !is_urgent(item) && !all || is_urgent(item) && known => None,
                Item::Data(number, packet) => Some(Item::Data(*number, Packet::from(packet.as_slice()))),
                Item::Control(_) | Item::Probe(_) => None,
            }));
            self.copied.next_real_time = self.copied.next_real_time.max(number + 1);
            if all {
                self.copied.next = number + 1;
            }
        }
    }

    /// The numbers to be looked at.
    fn copy_range(&self) -> (u64, u64) {
        match self.recovery.probes() {
            0 => (self.copied.next_real_time, self.copied.real_time_end),
            _ => (self.copied.next, self.recovery.next_number()),
        }
    }

    fn copy_after(&self) -> Option<Duration> {
        let rtt = self.recovery.rtt();
        Some(rtt.srtt()? + 4 * rtt.rttvar()? + MAX_ACK_DELAY)
    }
}

fn is_urgent(item: &Item) -> bool {
    matches!(item, Item::Data(number, _) if is_real_time(number))
}
