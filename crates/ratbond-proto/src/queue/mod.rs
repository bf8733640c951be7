//! The queue in front of a link: one queue a flow, served in turn, each kept short by CoDel.
//!
//! After FQ-CoDel (RFC 8290): flows hash into buckets, a bucket that just became busy is served once before those that
//! stay busy (so sparse flows pass), busy ones share by deficit round robin in bytes, and CoDel (RFC 8289) drops from
//! the head of a bucket whose packets wait too long, or marks what listens to marks (RFC 3168). The whole queue is bounded
//! in bytes; what overflows is dropped from the head of the fattest bucket. A call that shared a bucket with a download
//! would lose packets to the download's drops, so a busy flow has its bucket for itself ([`buckets`]).

mod buckets;
mod codel;

use std::collections::VecDeque;
use std::time::Duration;

use self::buckets::{BucketId, Buckets, Turn};
use self::codel::Verdict;
use crate::flow::Flow;
use crate::inner::ecn;
use crate::packet::{Packet, PacketPool};
use crate::time::Time;

/// What a flow that just became busy may send before it counts as one that stays so, and a busy one in a turn at least.
pub const QUANTUM_BYTES: usize = 1514;
/// What a flow that is marked for low delay may send in a row before it counts as busy.
const MARKED_QUANTUM_BYTES: usize = 8 * QUANTUM_BYTES;

/// A flow whose packets wait for so many intervals beyond the target does not do what marks ask for: its packets are dropped (RFC
/// 3168, section 7).
const MARKED_INTERVALS: u32 = 4;

/// Limits of a [`FairQueue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Most bytes that wait, over all flows.
    pub limit_bytes: usize,
    /// Standing delay that CoDel accepts in a bucket.
    pub target: Duration,
    /// How long the delay may stay above the target before CoDel drops: a little over the largest inner RTT.
    pub interval: Duration,
    /// What a busy flow sends in its turn.
    pub quantum_bytes: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            limit_bytes: 4 << 20,
            target: Duration::from_millis(10),
            interval: Duration::from_millis(100),
            quantum_bytes: QUANTUM_BYTES,
        }
    }
}

/// A packet on its way to a link.
#[derive(Debug)]
pub struct Queued {
    /// The packet.
    pub packet: Packet,
    /// Its flow.
    pub flow: Flow,
    /// When it came from the tun.
    pub since: Time,
}

/// What a queue counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Packets that CoDel dropped.
    pub aqm_drops: u64,
    /// Packets that CoDel marked instead.
    pub aqm_marks: u64,
    /// Packets dropped because the queue was full.
    pub overflow_drops: u64,
}

impl std::ops::AddAssign for QueueStats {
    fn add_assign(&mut self, other: Self) {
        self.aqm_drops += other.aqm_drops;
        self.aqm_marks += other.aqm_marks;
        self.overflow_drops += other.overflow_drops;
    }
}

/// Flow queues with CoDel; see the module.
#[derive(Debug)]
pub struct FairQueue {
    config: QueueConfig,
    buckets: Buckets,
    new: VecDeque<BucketId>,
    old: VecDeque<BucketId>,
    bytes: usize,
    packets: usize,
    stats: QueueStats,
}

impl FairQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(config: QueueConfig) -> Self {
        Self {
            config,
            buckets: Buckets::default(),
            new: VecDeque::new(),
            old: VecDeque::new(),
            bytes: 0,
            packets: 0,
            stats: QueueStats::default(),
        }
    }

    /// Packets that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was dropped so far.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        self.stats
    }

    /// Adds a packet; drops from the fattest flow when the queue is then over its limit.
    pub fn push(&mut self, item: Queued, pool: &mut PacketPool) {
        let (index, bucket) = self.buckets.of_flow(item.flow.queue);
        let (bytes, marked) = (item.packet.len(), item.flow.wants_low_delay());
        bucket.packets.push_back(item);
        bucket.bytes += bytes;
        self.bytes += bytes;
        self.packets += 1;
        if bucket.turn == Turn::Idle {
            bucket.turn = Turn::New;
            bucket.deficit = if marked { MARKED_QUANTUM_BYTES } else { QUANTUM_BYTES } as i64;
            self.new.push_back(index);
        }
        if self.bytes > self.config.limit_bytes {
            self.shed(pool);
        }
    }

    /// From now on it holds more or less, and CoDel accepts another standing delay, over another interval.
    pub fn set_config(&mut self, config: QueueConfig) {
        self.config = config;
    }

    /// The next packet to send at `now`. What CoDel drops on the way is counted and given back to the pool.
    pub fn pop(&mut self, now: Time, pool: &mut PacketPool) -> Option<Queued> {
        self.pop_sparse(now, pool).or_else(|| self.pop_bulk(now, pool))
    }

    /// The next packet of a flow that just became busy.
    pub fn pop_sparse(&mut self, now: Time, pool: &mut PacketPool) -> Option<Queued> {
        while let Some(&index) = self.new.front() {
            let bucket = &mut self.buckets[index];
            if bucket.deficit <= 0 {
                bucket.deficit += self.config.quantum_bytes as i64;
                self.rotate(Turn::New);
                continue;
            }
            match self.pop_bucket(index, now, pool) {
                Some(item) => return Some(item),
                // An emptied new bucket passes through the old ones once, else a flow could stay new for ever (RFC 8290 4.2).
                None if !self.old.is_empty() => self.rotate(Turn::New),
                None => self.retire(Turn::New),
            }
        }
        None
    }

    /// The next packet of a flow that stays busy.
    pub fn pop_bulk(&mut self, now: Time, pool: &mut PacketPool) -> Option<Queued> {
        while let Some(&index) = self.old.front() {
            let bucket = &mut self.buckets[index];
            if bucket.deficit <= 0 {
                bucket.deficit += self.config.quantum_bytes as i64;
                self.rotate(Turn::Old);
                continue;
            }
            match self.pop_bucket(index, now, pool) {
                Some(item) => return Some(item),
                None => self.retire(Turn::Old),
            }
        }
        None
    }

    /// Bytes that leave before the flow whose turn it is is served out, if all busy flows have as much.
    #[must_use]
    pub fn bulk_backlog_bytes(&self) -> usize {
        let front = self.old.front().map_or(0, |&index| self.buckets[index].bytes);
        (front * self.old.len()).min(self.bytes)
    }

    /// Takes everything, oldest flow turn first, each flow in order. Nothing is dropped.
    pub fn drain(&mut self) -> Vec<Queued> {
        let mut items = Vec::with_capacity(self.packets);
        for index in self.new.drain(..).chain(self.old.drain(..)) {
            let bucket = &mut self.buckets[index];
            items.extend(bucket.packets.drain(..));
            bucket.bytes = 0;
            bucket.turn = Turn::Idle;
        }
        self.bytes = 0;
        self.packets = 0;
        items
    }

    fn rotate(&mut self, turn: Turn) {
        let index = if turn == Turn::New { self.new.pop_front() } else { self.old.pop_front() };
        if let Some(index) = index {
            self.buckets[index].turn = Turn::Old;
            self.old.push_back(index);
        }
    }

    fn retire(&mut self, turn: Turn) {
        let index = if turn == Turn::New { self.new.pop_front() } else { self.old.pop_front() };
        if let Some(index) = index {
            self.buckets[index].turn = Turn::Idle;
        }
    }

    fn pop_bucket(&mut self, index: BucketId, now: Time, pool: &mut PacketPool) -> Option<Queued> {
        let (target, interval) = (self.config.target, self.config.interval);
        loop {
            let bucket = &mut self.buckets[index];
            let Some(mut item) = bucket.packets.pop_front() else {
                // The next packets take the memory that is still in the cache, not what lies behind it in the ring.
                bucket.packets.clear();
                return None;
            };
            bucket.bytes -= item.packet.len();
            self.bytes -= item.packet.len();
            self.packets -= 1;
            let sojourn = now.saturating_since(item.since);
            if bucket.codel.judge(now, sojourn, bucket.bytes, target, interval) == Verdict::Signal {
                let may_mark = sojourn < target + MARKED_INTERVALS * interval;
                if !may_mark || !ecn::mark(item.packet.as_mut_slice()) {
                    self.stats.aqm_drops += 1;
                    pool.put(item.packet);
                    continue;
                }
                self.stats.aqm_marks += 1;
            }
            bucket.deficit -= item.packet.len() as i64;
            return Some(item);
        }
    }

    /// Halves the fattest bucket from its head, at most 64 packets (as Linux's fq_codel does, so that a flood does not
    /// pay a search for each packet).
    fn shed(&mut self, pool: &mut PacketPool) {
        let Some(bucket) = self.buckets.fattest() else { return };
        let keep = bucket.bytes / 2;
        for _ in 0..64 {
            if bucket.bytes <= keep {
                break;
            }
            let Some(item) = bucket.packets.pop_front() else { break };
            bucket.bytes -= item.packet.len();
            self.bytes -= item.packet.len();
            self.packets -= 1;
            self.stats.overflow_drops += 1;
            pool.put(item.packet);
        }
    }
}

#[cfg(test)]
mod tests;
