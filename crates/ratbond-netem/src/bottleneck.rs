//! The queue in front of the slowest hop, and the hop itself.

use std::collections::VecDeque;

use crate::NS_PER_S;
use crate::config::{LinkConfig, QueueLimit};

/// A tail-drop queue whose head is being put on the wire, bit by bit.
#[derive(Debug)]
pub(crate) struct Bottleneck<P> {
    rate_bps: u64,
    waiting: VecDeque<Queued<P>>,
    waiting_bytes: u64,
    /// When the head's last bit is on the wire; meaningless when nothing waits.
    head_done_ns: u64,
    /// What the division of bits by rate left over, in bits x ns / s: without it a fast link of small packets would
    /// be off by a per cent.
    remainder: u64,
}

#[derive(Debug)]
struct Queued<P> {
    cost_bytes: u64,
    size_bytes: u32,
    packet: P,
}

/// A packet whose last bit went on the wire.
pub(crate) struct Departure<P> {
    pub(crate) at_ns: u64,
    pub(crate) size_bytes: u32,
    pub(crate) packet: P,
}

impl<P> Bottleneck<P> {
    pub(crate) fn new(rate_bps: u64) -> Self {
        Self { rate_bps, waiting: VecDeque::new(), waiting_bytes: 0, head_done_ns: 0, remainder: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// When the packet in front will have left.
    pub(crate) fn next_departure_ns(&self) -> Option<u64> {
        (!self.waiting.is_empty()).then_some(self.head_done_ns)
    }

    /// Puts a packet in the queue, or gives it back when the queue is full.
    pub(crate) fn enqueue(
        &mut self,
        now_ns: u64,
        size_bytes: u32,
        packet: P,
        config: &LinkConfig,
    ) -> Result<(), P> {
        let cost_bytes = u64::from(size_bytes) + u64::from(config.overhead_bytes);
        let was_empty = self.waiting.is_empty();
        if !was_empty && self.waiting_bytes + cost_bytes > self.limit_bytes(config.queue) {
            return Err(packet);
        }
        self.waiting_bytes += cost_bytes;
        self.waiting.push_back(Queued { cost_bytes, size_bytes, packet });
        if was_empty {
            self.remainder = 0;
            self.head_done_ns = now_ns.saturating_add(self.serialization_ns(cost_bytes));
        }
        Ok(())
    }

    /// Takes the packet in front, if its last bit was on the wire by `now_ns`, and begins the next one at that moment.
    pub(crate) fn depart(&mut self, now_ns: u64) -> Option<Departure<P>> {
        if self.next_departure_ns()? > now_ns {
            return None;
        }
        let at_ns = self.head_done_ns;
        let Queued { cost_bytes, size_bytes, packet } = self.waiting.pop_front()?;
        self.waiting_bytes -= cost_bytes;
        if let Some(next) = self.waiting.front() {
            let next_cost_bytes = next.cost_bytes;
            self.head_done_ns = at_ns.saturating_add(self.serialization_ns(next_cost_bytes));
        }
        Some(Departure { at_ns, size_bytes, packet })
    }

    /// Goes on at another rate from `now_ns` on, also with the bits of the head that are still to go. Everything that
    /// was due by `now_ns` must have departed.
    pub(crate) fn set_rate(&mut self, now_ns: u64, rate_bps: u64) {
        let old_rate_bps = std::mem::replace(&mut self.rate_bps, rate_bps);
        if old_rate_bps == rate_bps || self.waiting.is_empty() {
            return;
        }
        let left = u128::from(self.head_done_ns.saturating_sub(now_ns)) * u128::from(old_rate_bps);
        let left_ns = if rate_bps == 0 { 0 } else { left / u128::from(rate_bps) };
        self.head_done_ns = now_ns.saturating_add(u64::try_from(left_ns).unwrap_or(u64::MAX));
        self.remainder = 0;
    }

    fn serialization_ns(&mut self, cost_bytes: u64) -> u64 {
        if self.rate_bps == 0 {
            return 0;
        }
        let total = u128::from(cost_bytes) * 8 * u128::from(NS_PER_S) + u128::from(self.remainder);
        let rate = u128::from(self.rate_bps);
        self.remainder = (total % rate) as u64; // below the rate, which is a u64
        u64::try_from(total / rate).unwrap_or(u64::MAX)
    }

    fn limit_bytes(&self, limit: QueueLimit) -> u64 {
        match limit {
            QueueLimit::Bytes(bytes) => bytes,
            QueueLimit::Nanos(ns) => {
                let bytes = u128::from(self.rate_bps) * u128::from(ns) / (8 * u128::from(NS_PER_S));
                u64::try_from(bytes).unwrap_or(u64::MAX)
            }
        }
    }
}
