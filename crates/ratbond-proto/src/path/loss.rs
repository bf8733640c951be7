//! How much a path loses by itself, as opposed to what a full queue drops.

use std::time::Duration;

use super::AckSample;
use super::jitter::BareRtt;
use crate::time::Time;

/// A path beyond this is broken rather than lossy, and must not be pushed harder.
const MAX_FRACTION: f64 = 0.5;
/// What was seen counts less with time, and with the bytes that came after it.
const MEMORY: Duration = Duration::from_secs(10);
const MEMORY_BYTES: f64 = 4.0 * 1024.0 * 1024.0;
/// A handful of datagrams says nothing yet.
const MIN_BYTES: f64 = 64.0 * 1024.0;

/// Of so many bytes it is remembered for good what became of them; after the first of them something is known.
const EVER_BYTES: f64 = 2.0 * 1024.0 * 1024.0;
const KNOWN_BYTES: f64 = 256.0 * 1024.0;
const HARDLY_ANY: f64 = 0.003;

/// A loss is known so many round trips after what left with it is acknowledged: RFC 8985's reordering window and some more.
const KNOWN_AFTER_RTTS: f64 = 0.3;

/// Fraction of the bytes lost while the round trip was near its minimum, smoothed.
#[derive(Debug, Default)]
pub(super) struct LossMeter {
    acked: f64,
    lost: f64,
    /// The same, that no idle time fades.
    ever_acked: f64,
    ever_lost: f64,
    /// When a round trip was last too long for a short queue.
    queue_shown: Option<Time>,
    last: Time,
}

impl LossMeter {
    pub fn add(&mut self, now: Time, sample: &AckSample, bare_rtt: BareRtt) {
        let idle = now.saturating_since(self.last).as_secs_f64() / MEMORY.as_secs_f64();
        let kept = (-idle).exp() * (MEMORY_BYTES / (self.acked + self.lost).max(MEMORY_BYTES));
        self.last = now;
        self.acked *= kept;
        self.lost *= kept;
        if sample.rtt.is_some_and(|rtt| rtt > bare_rtt.queued()) {
            self.queue_shown = Some(now);
        }
        let known_within = bare_rtt.usual.mul_f64(KNOWN_AFTER_RTTS);
        if self.queue_shown.is_none_or(|at| now.saturating_since(at) > known_within) {
            self.acked += sample.acked_bytes as f64;
            self.lost += sample.lost_bytes as f64;
            let kept = EVER_BYTES / (self.ever_acked + self.ever_lost).max(EVER_BYTES);
            self.ever_acked = self.ever_acked * kept + sample.acked_bytes as f64;
            self.ever_lost = self.ever_lost * kept + sample.lost_bytes as f64;
        }
    }

    /// Whether it loses more than one packet in some hundreds, or nobody knows.
    pub fn may_lose(&self) -> bool {
        let total = self.ever_acked + self.ever_lost;
        total < KNOWN_BYTES || self.ever_lost / total > HARDLY_ANY
    }

    pub fn fraction(&self) -> f64 {
        let total = self.acked + self.lost;
        if total < MIN_BYTES { 0.0 } else { (self.lost / total).min(MAX_FRACTION) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(acked_bytes: u64, lost_bytes: u64, rtt_ms: u64) -> AckSample {
        AckSample {
            acked_bytes,
            lost_bytes,
            rtt: Some(Duration::from_millis(rtt_ms)),
            ..AckSample::default()
        }
    }

    fn steady(rtt_ms: u64) -> BareRtt {
        let usual = Duration::from_millis(rtt_ms);
        BareRtt { usual, average: usual, farthest: usual }
    }

    #[test]
    fn loss_with_a_short_queue_is_the_paths_own() {
        let mut meter = LossMeter::default();
        for _ in 0..1_000 {
            meter.add(Time::ZERO, &sample(8_000, 2_000, 21), steady(20));
        }
        assert!((meter.fraction() - 0.2).abs() < 1e-9);
    }

    #[test]
    fn loss_with_a_long_queue_is_not() {
        let mut meter = LossMeter::default();
        for _ in 0..1_000 {
            meter.add(Time::ZERO, &sample(8_000, 0, 21), steady(20));
            meter.add(Time::ZERO, &sample(8_000, 8_000, 90), steady(20));
        }
        assert!(meter.fraction() < 1e-9);
    }

    #[test]
    fn what_a_full_queue_dropped_is_known_when_the_queue_is_gone() {
        let (mut meter, usual) = (LossMeter::default(), steady(600));
        let at = Time::from_millis;
        for _ in 0..100 {
            meter.add(at(1_000), &sample(8_000, 0, 601), usual);
        }
        meter.add(at(2_000), &sample(8_000, 0, 700), usual);
        meter.add(at(2_150), &sample(8_000, 400_000, 601), usual);
        assert!(meter.fraction() < 1e-9);
        meter.add(at(2_190), &sample(8_000, 400_000, 601), usual);
        assert!(meter.fraction() > 0.3);
    }

    #[test]
    fn a_full_queue_shows_however_long_the_way_is() {
        let mut meter = LossMeter::default();
        for _ in 0..1_000 {
            meter.add(Time::ZERO, &sample(8_000, 0, 601), steady(600));
            meter.add(Time::ZERO, &sample(8_000, 8_000, 690), steady(600));
        }
        assert!(meter.fraction() < 1e-9);
    }

    #[test]
    fn a_path_that_lies_idle_gets_another_chance() {
        let mut meter = LossMeter::default();
        for _ in 0..1_000 {
            meter.add(Time::ZERO, &sample(8_000, 2_000, 21), steady(20));
        }
        meter.add(Time::from_millis(60_000), &sample(60, 0, 21), steady(20));
        assert!(meter.fraction() < 1e-9);
    }
}
