//! A rate cap: a token bucket, and a fair queue for what it does not let pass at once.

use std::time::Duration;

use crate::flow::Flow;
use crate::packet::{Packet, PacketPool};
use crate::queue::{FairQueue, QueueConfig, Queued};
use crate::time::Time;

/// What passes at once after a pause, as time at the rate.
const DEPTH: Duration = Duration::from_millis(20);
const MIN_DEPTH_BYTES: u64 = 2 * 1500;
/// The queue holds what drains in this time ...
const QUEUE: Duration = Duration::from_millis(200);
/// ... within these limits, in bytes.
const QUEUE_BYTES: std::ops::RangeInclusive<u64> = 32_000..=4_000_000;
const POOLED_PACKETS: usize = 64;

/// A token bucket, as the time at which it will be full again.
#[derive(Debug)]
struct TokenBucket {
    rate_bps: u64,
    full_at: Time,
}

impl TokenBucket {
    fn time_of(&self, bytes: u64) -> Duration {
        Duration::from_nanos((bytes as f64 * 8e9 / self.rate_bps as f64) as u64)
    }

    fn ready_at(&self) -> Time {
        self.full_at - DEPTH.max(self.time_of(MIN_DEPTH_BYTES))
    }

    fn take(&mut self, now: Time, bytes: usize) {
        self.full_at = self.full_at.max(now) + self.time_of(bytes as u64);
    }
}

/// Holds one direction to a rate. Dropping what is too much would do, but TCP reads each drop as a narrow path; a queue with
/// CoDel lets it find the rate, and lets a call pass the download that fills it.
#[derive(Debug)]
pub(super) struct Shaper {
    bucket: TokenBucket,
    queue: FairQueue,
    pool: PacketPool,
}

impl Shaper {
    /// `rate_bps` counts IP packets and is at least 1.
    pub fn new(rate_bps: u64) -> Self {
        let rate_bps = rate_bps.max(1);
        let bytes = (rate_bps / 8).saturating_mul(QUEUE.as_millis() as u64) / 1000;
        let limit_bytes = bytes.clamp(*QUEUE_BYTES.start(), *QUEUE_BYTES.end()) as usize;
        Self {
            bucket: TokenBucket { rate_bps, full_at: Time::ZERO },
            queue: FairQueue::new(QueueConfig { limit_bytes, ..QueueConfig::default() }),
            pool: PacketPool::new(POOLED_PACKETS),
        }
    }

    pub fn rate_bps(&self) -> u64 {
        self.bucket.rate_bps
    }

    /// Whether a packet passes now; if not, give it to [`push`](Self::push).
    pub fn passes(&mut self, now: Time, bytes: usize) -> bool {
        let passes = self.queue.is_empty() && self.bucket.ready_at() <= now;
        if passes {
            self.bucket.take(now, bytes);
        }
        passes
    }

    /// Takes a packet that has to wait. What is no IP packet is dropped.
    pub fn push(&mut self, now: Time, packet: Packet) {
        if let Some(flow) = Flow::of(packet.as_slice()) {
            self.queue.push(Queued { packet, flow, since: now }, &mut self.pool);
        }
    }

    /// The next packet that may go now.
    pub fn pop(&mut self, now: Time) -> Option<Packet> {
        if self.bucket.ready_at() > now {
            return None;
        }
        let packet = self.queue.pop(now, &mut self.pool)?.packet;
        self.bucket.take(now, packet.len());
        Some(packet)
    }

    /// When [`pop`](Self::pop) has something.
    pub fn poll_timeout(&self) -> Option<Time> {
        (!self.queue.is_empty()).then(|| self.bucket.ready_at())
    }

    /// Packets dropped to hold the rate.
    pub fn drops(&self) -> u64 {
        let stats = self.queue.stats();
        stats.aqm_drops + stats.overflow_drops
    }

    pub fn copy_of(&mut self, bytes: &[u8]) -> Packet {
        self.pool.copy_of(bytes)
    }

    pub fn recycle(&mut self, packet: Packet) {
        self.pool.put(packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(len: usize, port: u16) -> Packet {
        let mut bytes = vec![0; len];
        bytes[0] = 0x45;
        bytes[9] = 17;
        bytes[20..22].copy_from_slice(&port.to_be_bytes());
        bytes.into()
    }

    /// Bytes that leave in 2 s when `offered_bps` come in packets of 1,000 bytes.
    fn carried(shaper: &mut Shaper, offered_bps: u64) -> u64 {
        let gap = Duration::from_nanos(8_000_000_000_000 / offered_bps);
        let (start, mut bytes) = (Time::from_millis(1_000), 0);
        let (mut now, mut arrival) = (start, start);
        while now.saturating_since(start) < Duration::from_secs(2) {
            while arrival <= now {
                if shaper.passes(now, 1_000) {
                    bytes += 1_000;
                } else {
                    shaper.push(now, packet(1_000, 7));
                }
                arrival += gap;
            }
            while let Some(packet) = shaper.pop(now) {
                bytes += packet.len() as u64;
            }
            now = shaper.poll_timeout().map_or(arrival, |at| at.max(now).min(arrival));
        }
        bytes
    }

    #[test]
    fn an_excess_is_held_to_the_rate() {
        for rate_bps in [1_000_000, 20_000_000] {
            let mut shaper = Shaper::new(rate_bps);
            let bytes = carried(&mut shaper, 4 * rate_bps);
            let wanted = rate_bps / 8 * 2;
            assert!(bytes.abs_diff(wanted) < wanted / 20, "{bytes} bytes, {wanted} wanted");
            assert!(shaper.drops() > 0);
        }
    }

    #[test]
    fn what_is_below_the_rate_never_waits() {
        let mut shaper = Shaper::new(10_000_000);
        let bytes = carried(&mut shaper, 9_000_000);
        assert!(bytes.abs_diff(2_250_000) <= 2_000, "{bytes}");
        assert_eq!(shaper.drops(), 0);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut shaper = Shaper::new(1_000);
        for _ in 0..10_000 {
            shaper.push(Time::ZERO, packet(1_400, 7));
        }
        assert!(shaper.queue.bytes() <= 32_000);
    }

    #[test]
    fn another_flow_passes_one_that_fills_the_cap() {
        let mut shaper = Shaper::new(8_000_000);
        let now = Time::from_millis(1_000);
        while shaper.passes(now, 1_400) {}
        for _ in 0..50 {
            shaper.push(now, packet(1_400, 7));
        }
        shaper.push(now, packet(100, 8));
        let (mut now, mut before) = (now, 0);
        while let Some(at) = shaper.poll_timeout() {
            now = at.max(now);
            if shaper.pop(now).is_some_and(|packet| packet.len() == 100) {
                break;
            }
            before += 1;
        }
        assert!(before <= 3, "{before} packets of the other flow went first");
    }
}
