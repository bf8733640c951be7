//! The receiving end of a transfer: what it acknowledges, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use ratbond_proto::Time;

use crate::pair::{packet, sequence_of, word};

const ACK_BYTES: usize = 64;
const MAX_RANGES: usize = 3;
/// What the kernel waits at most for a second segment to acknowledge with the first.
const DELAYED_ACK: Duration = Duration::from_millis(40);
const RANGES_AT: usize = 40;

#[derive(Debug, Default)]
pub(super) struct Receiver {
    pub expected: u32,
    /// Ranges beyond a gap: start to end, exclusive.
    beyond: BTreeMap<u32, u32>,
    latest: u32,
    unacked: u32,
    pub ack_due: Option<Time>,
}

impl Receiver {
    /// Takes a segment; returns whether an acknowledgement is due at once.
    pub fn receive(&mut self, now: Time, sequence: u32) -> bool {
        let had_gap = !self.beyond.is_empty();
        self.latest = sequence;
        if sequence == self.expected {
            self.expected += 1;
            if let Some(end) = self.beyond.remove(&self.expected) {
                self.expected = end;
            }
        } else if sequence > self.expected {
            self.insert(sequence);
        }
        self.unacked += 1;
        self.ack_due.get_or_insert(now + DELAYED_ACK);
        had_gap || !self.beyond.is_empty() || self.unacked >= 2
    }

    fn insert(&mut self, sequence: u32) {
        let before = self.beyond.range(..=sequence).next_back().map(|(&from, &to)| (from, to));
        let (from, to) = match before {
            Some((_, to)) if to > sequence => return,
            Some((from, to)) if to == sequence => (from, sequence + 1),
            _ => (sequence, sequence + 1),
        };
        let to = self.beyond.remove(&to).unwrap_or(to);
        self.beyond.insert(from, to);
    }

    /// The range that grew last, and the lowest ones.
    fn ranges(&self) -> Vec<(u32, u32)> {
        let latest = self.beyond.range(..=self.latest).next_back().map(|(&from, &to)| (from, to));
        let others = self.beyond.iter().rev().map(|(&from, &to)| (from, to));
        let mut ranges: Vec<_> = latest.into_iter().collect();
        ranges.extend(others.filter(|range| Some(*range) != latest).take(MAX_RANGES - ranges.len()));
        ranges
    }

    pub fn acknowledgement(&mut self, flow: u16) -> Vec<u8> {
        self.unacked = 0;
        self.ack_due = None;
        let mut ack = packet(flow, self.expected, ACK_BYTES);
        for (index, (from, to)) in self.ranges().into_iter().enumerate() {
            let at = RANGES_AT + 8 * index;
            ack[at..at + 4].copy_from_slice(&from.to_be_bytes());
            ack[at + 4..at + 8].copy_from_slice(&to.to_be_bytes());
        }
        ack
    }
}

/// What an acknowledgement says: all before this has arrived, and these ranges beyond it.
pub(super) fn read_acknowledgement(ack: &[u8]) -> (u32, Vec<(u32, u32)>) {
    let range = |index| (word(ack, RANGES_AT + 8 * index), word(ack, RANGES_AT + 4 + 8 * index));
    (sequence_of(ack), (0..MAX_RANGES).map(range).filter(|(from, to)| from < to).collect())
}
