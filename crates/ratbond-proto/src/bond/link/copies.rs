//! Second copies of real-time packets that are overdue, to be sent over another link before anybody knows of a loss.

use std::time::Duration;

use super::{BondLink, Item};
use crate::bond::ack::MAX_ACK_DELAY;
use crate::packet::Packet;
use crate::session::is_real_time;
use crate::time::Time;

/// How far the search has come.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// No number below is looked at again.
    next: u64,
    /// One after the newest datagram that carried a real-time packet.
    end: u64,
}

impl Copied {
    /// Datagram `number` carries `items`.
    pub fn on_sent(&mut self, number: u64, items: &[Item]) {
        if items.iter().any(is_worth_it) {
            self.end = number + 1;
        }
    }
}

impl BondLink {
    /// When the oldest real-time packet in flight is overdue.
    pub(super) fn copy_at(&self) -> Option<Time> {
        let (_, at, _) = self.recovery.first_in(self.copied.next, self.copied.end)?;
        Some(at + self.copy_after()?)
    }

    /// Pushes onto `into` a copy of each real-time packet that is overdue, once.
    pub fn copy_overdue(&mut self, now: Time, into: &mut Vec<Item>) {
        let Some(after) = self.copy_after() else { return };
        while let Some((number, at, items)) = self.recovery.first_in(self.copied.next, self.copied.end) {
            if at + after > now {
                break;
            }
            self.copied.next = number + 1;
            into.extend(items.iter().filter(|item| is_worth_it(item)).filter_map(|item| match item {
                Item::Data(number, packet) => Some(Item::Data(*number, Packet::from(packet.as_slice()))),
                Item::Control(_) => None,
            }));
        }
    }

    fn copy_after(&self) -> Option<Duration> {
        let rtt = self.recovery.rtt();
        Some(rtt.srtt()? + 4 * rtt.rttvar()? + MAX_ACK_DELAY)
    }
}

fn is_worth_it(item: &Item) -> bool {
    matches!(item, Item::Data(number, _) if is_real_time(number))
}
