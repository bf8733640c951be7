//! What several links delivered becomes one stream again: each packet once, and in order where its bucket asks for it.
//!
//! A packet is known by its bucket and sequence ([`Numbering`]), whichever link brought it and however often. In an
//! ordered bucket it waits for its predecessors, but never longer than the hold time: then the gap is given up, and
//! what fills it later is delivered late rather than never. A gap that the sender gave up (SKIP) is not waited for.
//! Packets that are not ordered never wait.

mod bucket;
mod seen;

#[cfg(test)]
mod tests;

use std::time::Duration;

use self::bucket::{Bucket, Ready};
use crate::numbering::{BUCKETS, Numbering};
use crate::packet::Packet;
use crate::time::Time;

/// The longest hold time: a TCP inside has long resent by itself by then.
pub const MAX_HOLD: Duration = Duration::from_secs(1);

/// What may wait in one session at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Packets and gaps between them.
    pub slots: usize,
    /// Bytes of packets.
    pub bytes: usize,
}

impl Default for Limits {
    /// 1 Gbit/s for 0.25 s.
    fn default() -> Self {
        Self { slots: 1 << 16, bytes: 32 << 20 }
    }
}

/// What has become of packets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResequencerStats {
    /// Delivered, in whatever order.
    pub delivered: u64,
    /// Dropped because they had come before, or are too old to tell.
    pub duplicates: u64,
    /// Delivered after their successors.
    pub late: u64,
    /// Sequences that were no longer waited for.
    pub given_up: u64,
    /// Packets waiting now.
    pub held_packets: usize,
    /// Their bytes.
    pub held_bytes: usize,
}

/// Reassembles the packets of one session in one direction.
#[derive(Debug)]
pub struct Resequencer {
    buckets: Vec<Option<Box<Bucket>>>,
    limits: Limits,
    hold: Duration,
    /// Not after the first deadline of any bucket; may be before it.
    wake: Option<Time>,
    usage: Usage,
    stats: ResequencerStats,
}

/// What all buckets of a session use together.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    slots: usize,
    packets: usize,
    bytes: usize,
}

impl Usage {
    const fn exceeds(&self, limits: Limits) -> bool {
        self.slots > limits.slots || self.bytes > limits.bytes
    }
}

impl Resequencer {
    /// Empty; sequences start at 0.
    #[must_use]
    pub fn new(limits: Limits, hold: Duration) -> Self {
        Self {
            buckets: std::iter::repeat_with(|| None).take(BUCKETS).collect(),
            limits,
            hold: hold.min(MAX_HOLD),
            wake: None,
            usage: Usage::default(),
            stats: ResequencerStats::default(),
        }
    }

    /// Changes the hold time, for what waits as well; at most [`MAX_HOLD`].
    pub fn set_hold(&mut self, hold: Duration) {
        self.hold = hold.min(MAX_HOLD);
        self.wake = self.first_deadline();
    }

    /// Takes a packet; pushes onto `out` all that can be delivered now, in order. A duplicate comes back, for the pool.
    pub fn receive(
        &mut self,
        now: Time,
        numbering: Numbering,
        packet: Packet,
        out: &mut Vec<Packet>,
    ) -> Option<Packet> {
        let bucket = self.buckets[usize::from(numbering.bucket)].get_or_insert_with(Box::default);
        let mut ready = Ready { out, usage: &mut self.usage, stats: &mut self.stats };
        let rejected = bucket.receive(now, numbering, packet, &mut ready);
        if ready.usage.exceeds(self.limits) {
            bucket.release_all(&mut ready);
        }
        if let Some(deadline) = bucket.deadline(self.hold) {
            self.wake = Some(self.wake.map_or(deadline, |wake| wake.min(deadline)));
        }
        rejected
    }

    /// The sender will not send `count` sequences of `bucket` from `first` on.
    pub fn skip(&mut self, bucket: u8, first: u32, count: u16, out: &mut Vec<Packet>) {
        let bucket = self.buckets[usize::from(bucket)].get_or_insert_with(Box::default);
        let mut ready = Ready { out, usage: &mut self.usage, stats: &mut self.stats };
        bucket.skip(first, u32::from(count), &mut ready);
        if ready.usage.exceeds(self.limits) {
            bucket.release_all(&mut ready);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; may be early.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Time> {
        self.wake
    }

    /// Pushes onto `out` what has waited long enough, and what waited for a packet of it.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Vec<Packet>) {
        if self.wake.is_none_or(|wake| wake > now) {
            return;
        }
        let mut ready = Ready { out, usage: &mut self.usage, stats: &mut self.stats };
        for bucket in self.buckets.iter_mut().flatten() {
            bucket.release_due(now, self.hold, &mut ready);
        }
        self.wake = self.first_deadline();
    }

    /// A new session epoch: delivers what waits and forgets all sequences.
    pub fn reset(&mut self, out: &mut Vec<Packet>) {
        let mut ready = Ready { out, usage: &mut self.usage, stats: &mut self.stats };
        for bucket in self.buckets.iter_mut().flatten() {
            bucket.release_all(&mut ready);
        }
        self.buckets.fill_with(|| None);
        (self.wake, self.usage) = (None, Usage::default());
    }

    /// Figures so far.
    #[must_use]
    pub fn stats(&self) -> ResequencerStats {
        ResequencerStats { held_packets: self.usage.packets, held_bytes: self.usage.bytes, ..self.stats }
    }

    fn first_deadline(&self) -> Option<Time> {
        self.buckets.iter().flatten().filter_map(|bucket| bucket.deadline(self.hold)).min()
    }
}
