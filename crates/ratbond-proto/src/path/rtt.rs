//! Smoothed round trip, its variation, and the retransmission timeout (RFC 6298).

use std::time::Duration;

use crate::Time;

/// How long a minimum of the round trip is believed.
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);

/// Limits of the retransmission timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtoLimits {
    /// Before the first sample.
    pub initial: Duration,
    /// Never below this.
    pub min: Duration,
    /// Never above this, backed off or not.
    pub max: Duration,
    /// Least allowance over the smoothed round trip: the peer's flush interval, for its ACKs may wait that long.
    pub granularity: Duration,
}

/// What one direction of a conversation knows of its round trip; µs precision, from our own send times.
#[derive(Clone, Copy, Debug)]
pub struct RttEstimator {
    limits: RtoLimits,
    smoothed: Option<Smoothed>,
}

#[derive(Clone, Copy, Debug)]
struct Smoothed {
    latest: Duration,
    mean: Duration,
    variation: Duration,
    variation_lowered_at: Time,
    min: Duration,
    min_at: Time,
}

impl RttEstimator {
    /// Knows nothing yet.
    #[must_use]
    pub const fn new(limits: RtoLimits) -> Self {
        Self { limits, smoothed: None }
    }

    /// Takes in a sample: the time from a transmission to the first word of its arrival.
    ///
    /// RFC 6298 assumes one sample a round trip. With one a datagram its variation would shrink to the jitter within a
    /// few milliseconds, so it rises at once, but falls at most once a round trip.
    pub fn on_sample(&mut self, now: Time, rtt: Duration) {
        let Some(s) = &mut self.smoothed else {
            self.smoothed = Some(Smoothed {
                latest: rtt,
                mean: rtt,
                variation: rtt / 2,
                variation_lowered_at: now,
                min: rtt,
                min_at: now,
            });
            return;
        };
        let deviation = rtt.abs_diff(s.mean);
        if deviation > s.variation {
            s.variation = (s.variation * 3 + deviation) / 4;
        } else if now - s.variation_lowered_at >= s.mean {
            s.variation = (s.variation * 3 + deviation) / 4;
            s.variation_lowered_at = now;
        }
        s.mean = (s.mean * 7 + rtt) / 8;
        s.latest = rtt;
        if rtt <= s.min || now - s.min_at > MIN_RTT_WINDOW {
            s.min = rtt;
            s.min_at = now;
        }
    }

    /// The last sample.
    #[must_use]
    pub fn latest(&self) -> Option<Duration> {
        self.smoothed.map(|s| s.latest)
    }

    /// Smoothed round trip.
    #[must_use]
    pub fn srtt(&self) -> Option<Duration> {
        self.smoothed.map(|s| s.mean)
    }

    /// Smoothed mean deviation of the round trip.
    #[must_use]
    pub fn rttvar(&self) -> Option<Duration> {
        self.smoothed.map(|s| s.variation)
    }

    /// Least round trip of the last 10 s.
    #[must_use]
    pub fn min_rtt(&self) -> Option<Duration> {
        self.smoothed.map(|s| s.min)
    }

    /// Retransmission timeout after `backoff` timeouts in a row; each adds a half, as kcp-go's `nodelay` does to the
    /// timeout of a segment.
    #[must_use]
    pub fn rto(&self, backoff: u32) -> Duration {
        let base = self
            .smoothed
            .map_or(self.limits.initial, |s| s.mean + (s.variation * 4).max(self.limits.granularity));
        let mut rto = base.max(self.limits.min);
        for _ in 0..backoff {
            if rto >= self.limits.max {
                break;
            }
            rto += rto / 2;
        }
        rto.min(self.limits.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RtoLimits = RtoLimits {
        initial: Duration::from_millis(200),
        min: Duration::from_millis(30),
        max: Duration::from_secs(2),
        granularity: Duration::from_millis(10),
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_first_sample_sets_mean_and_half_of_it_as_variation() {
        let mut rtt = RttEstimator::new(LIMITS);
        assert_eq!(rtt.rto(0), ms(200));
        rtt.on_sample(Time::ZERO, ms(40));
        assert_eq!((rtt.srtt(), rtt.rttvar()), (Some(ms(40)), Some(ms(20))));
        assert_eq!(rtt.rto(0), ms(120));
    }

    #[test]
    fn a_steady_round_trip_ends_at_the_granularity_above_it() {
        let mut rtt = RttEstimator::new(LIMITS);
        for i in 0..200 {
            rtt.on_sample(Time::from_millis(40 * i), ms(40));
        }
        assert_eq!(rtt.rto(0), ms(50));
    }

    #[test]
    fn many_samples_within_a_round_trip_do_not_shrink_the_variation() {
        let mut rtt = RttEstimator::new(LIMITS);
        for i in 0..30 {
            rtt.on_sample(Time::from_millis(i), ms(40));
        }
        assert_eq!(rtt.rttvar(), Some(ms(20)));
        rtt.on_sample(Time::from_millis(31), ms(140));
        assert_eq!(rtt.rttvar(), Some(ms(40)));
    }

    #[test]
    fn the_timeout_stays_within_its_limits() {
        let mut rtt = RttEstimator::new(LIMITS);
        rtt.on_sample(Time::ZERO, Duration::from_micros(100));
        assert_eq!(rtt.rto(0), ms(30));
        assert_eq!(rtt.rto(1), ms(45));
        assert_eq!(rtt.rto(u32::MAX), ms(2000));
        rtt.on_sample(Time::ZERO, Duration::from_secs(500));
        assert_eq!(rtt.rto(0), ms(2000));
    }

    #[test]
    fn an_old_minimum_is_forgotten() {
        let mut rtt = RttEstimator::new(LIMITS);
        rtt.on_sample(Time::ZERO, ms(10));
        rtt.on_sample(Time::from_millis(9_000), ms(30));
        assert_eq!(rtt.min_rtt(), Some(ms(10)));
        rtt.on_sample(Time::from_millis(10_001), ms(30));
        assert_eq!(rtt.min_rtt(), Some(ms(30)));
    }
}
