//! How fast segments are delivered, measured at their acknowledgement
//! (draft-cheng-iccrg-delivery-rate-estimation).

use std::time::Duration;

use crate::Time;

/// One measurement of the delivery rate, over the flight of the newest segment that a datagram acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSample {
    /// Bytes delivered within `interval`, segment headers included.
    pub delivered_bytes: u64,
    /// The longer of the time it took to send them and the time it took to acknowledge them.
    pub interval: Duration,
    /// Whether there was too little to send to fill the path at some time in between: the rate is then a lower bound.
    pub app_limited: bool,
    /// Bytes in flight when that segment was sent, itself included.
    pub in_flight_bytes_at_send: u64,
    /// When that segment was sent.
    pub newest_sent: Time,
    /// Bytes that had been delivered when that segment was sent; tells round trips apart.
    pub prior_delivered_bytes: u64,
    /// Bytes delivered since the conversation began.
    pub total_delivered_bytes: u64,
}

impl RateSample {
    /// Delivery rate in bits per second.
    #[must_use]
    pub fn rate_bps(&self) -> u64 {
        let nanos = self.interval.as_nanos().max(1);
        u64::try_from(u128::from(self.delivered_bytes) * 8 * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
    }
}

/// The state of the estimator when a segment was sent; kept with the segment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SendRecord {
    delivered_bytes: u64,
    delivered_at: Time,
    first_sent: Time,
    in_flight_bytes: u64,
    app_limited: bool,
}

/// The estimator's own state.
#[derive(Debug)]
pub(crate) struct RateEstimator {
    delivered_bytes: u64,
    delivered_at: Time,
    first_sent: Time,
    /// The path is app-limited until this much is delivered; 0: it is not.
    app_limited_until: u64,
}

/// The newest segment of those that one datagram acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newest {
    pub sent: Time,
    pub record: SendRecord,
}

impl RateEstimator {
    pub fn new(now: Time) -> Self {
        Self { delivered_bytes: 0, delivered_at: now, first_sent: now, app_limited_until: 0 }
    }

    /// Called before a segment of `bytes` goes out while `in_flight_bytes` are on their way.
    pub fn on_send(&mut self, now: Time, bytes: u64, in_flight_bytes: u64) -> SendRecord {
        if in_flight_bytes == 0 {
            self.first_sent = now;
            self.delivered_at = now;
        }
        SendRecord {
            delivered_bytes: self.delivered_bytes,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            in_flight_bytes: in_flight_bytes + bytes,
            app_limited: self.app_limited_until != 0,
        }
    }

    /// There is nothing to send although the path would take more.
    pub fn on_app_limited(&mut self, in_flight_bytes: u64) {
        self.app_limited_until = (self.delivered_bytes + in_flight_bytes).max(1);
    }

    pub fn on_delivered(&mut self, now: Time, bytes: u64) {
        self.delivered_bytes += bytes;
        self.delivered_at = now;
        if self.delivered_bytes > self.app_limited_until {
            self.app_limited_until = 0;
        }
    }

    /// The sample of a datagram whose newest acknowledged segment is `newest`. None when it spans less than the least
    /// round trip: then it measures a burst of ACKs, not the path.
    pub fn sample(&mut self, newest: Newest, min_rtt: Option<Duration>) -> Option<RateSample> {
        let Newest { sent, record } = newest;
        self.first_sent = self.first_sent.max(sent);
        let send_elapsed = sent - record.first_sent;
        let ack_elapsed = self.delivered_at - record.delivered_at;
        let interval = send_elapsed.max(ack_elapsed);
        (interval >= min_rtt.unwrap_or_default() && !interval.is_zero()).then(|| RateSample {
            delivered_bytes: self.delivered_bytes - record.delivered_bytes,
            interval,
            app_limited: record.app_limited,
            in_flight_bytes_at_send: record.in_flight_bytes,
            newest_sent: sent,
            prior_delivered_bytes: record.delivered_bytes,
            total_delivered_bytes: self.delivered_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends 1,000 bytes each `gap_ms`, acknowledged 100 ms later; the rates of all samples.
    fn rates_of_a_flow(gap_ms: u64, count: u64) -> Vec<RateSample> {
        let mut rate = RateEstimator::new(Time::ZERO);
        let mut records = Vec::new();
        let mut samples = Vec::new();
        for ms in 0..count * gap_ms + 100 {
            let now = Time::from_millis(ms);
            if ms >= 100 && (ms - 100) % gap_ms == 0 {
                let (sent, record) = records[((ms - 100) / gap_ms) as usize];
                rate.on_delivered(now, 1_000);
                samples.extend(rate.sample(Newest { sent, record }, Some(Duration::from_millis(100))));
            }
            if ms % gap_ms == 0 && ms / gap_ms < count {
                let in_flight = ms.min(100).div_ceil(gap_ms) * 1_000;
                records.push((now, rate.on_send(now, 1_000, in_flight)));
            }
        }
        samples
    }

    #[test]
    fn a_steady_flow_is_measured_at_its_rate() {
        let samples = rates_of_a_flow(2, 500);
        let last = samples.last().unwrap();
        assert_eq!(last.rate_bps(), 4_000_000);
        assert!(!last.app_limited);
        assert_eq!(last.total_delivered_bytes, 500_000);
    }

    #[test]
    fn samples_are_marked_until_the_lull_has_left_the_path() {
        let mut rate = RateEstimator::new(Time::ZERO);
        rate.on_app_limited(0);
        let first = rate.on_send(Time::ZERO, 500, 0);
        rate.on_delivered(Time::from_millis(10), 500);
        let second = rate.on_send(Time::from_millis(10), 500, 0);
        rate.on_delivered(Time::from_millis(20), 500);
        let sample = |rate: &mut RateEstimator, record| {
            rate.sample(Newest { sent: Time::ZERO, record }, None).unwrap()
        };
        assert!(sample(&mut rate, first).app_limited);
        assert!(!sample(&mut rate, second).app_limited);
    }

    #[test]
    fn an_interval_below_the_round_trip_measures_nothing() {
        let mut rate = RateEstimator::new(Time::ZERO);
        let record = rate.on_send(Time::ZERO, 500, 0);
        rate.on_delivered(Time::from_millis(3), 500);
        assert_eq!(rate.sample(Newest { sent: Time::ZERO, record }, Some(Duration::from_millis(4))), None);
    }
}
