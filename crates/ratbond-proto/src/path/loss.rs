//! How much a path loses by itself, as opposed to what a full queue drops.

use std::time::Duration;

use super::AckSample;

/// A path beyond this is broken rather than lossy, and must not be pushed harder.
const MAX_FRACTION: f64 = 0.5;
const MEMORY_PER_ROUND: f64 = 0.98;

/// Fraction of the bytes lost while the round trip was near its minimum, smoothed over rounds.
#[derive(Debug, Default)]
pub(super) struct LossMeter {
    acked: f64,
    lost: f64,
    queue_shows: bool,
}

impl LossMeter {
    pub fn add(&mut self, sample: &AckSample, usual_rtt: Duration, new_round: bool) {
        if new_round {
            self.acked *= MEMORY_PER_ROUND;
            self.lost *= MEMORY_PER_ROUND;
        }
        if let Some(rtt) = sample.rtt {
            self.queue_shows = rtt > usual_rtt.mul_f64(1.25) + Duration::from_millis(4);
        }
        if !self.queue_shows {
            self.acked += sample.acked_bytes as f64;
            self.lost += sample.lost_bytes as f64;
        }
    }

    pub fn fraction(&self) -> f64 {
        let total = self.acked + self.lost;
        // A handful of segments says nothing yet.
        if total < 64.0 * 1024.0 { 0.0 } else { (self.lost / total).min(MAX_FRACTION) }
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

    #[test]
    fn loss_with_a_short_queue_is_the_paths_own() {
        let mut meter = LossMeter::default();
        for _ in 0..1_000 {
            meter.add(&sample(8_000, 2_000, 21), Duration::from_millis(20), false);
        }
        assert!((meter.fraction() - 0.2).abs() < 1e-9);
    }

    #[test]
    fn loss_with_a_long_queue_is_not() {
        let mut meter = LossMeter::default();
        for _ in 0..1_000 {
            meter.add(&sample(8_000, 0, 21), Duration::from_millis(20), false);
            meter.add(&sample(8_000, 8_000, 90), Duration::from_millis(20), false);
        }
        assert!(meter.fraction() < 1e-9);
    }
}
