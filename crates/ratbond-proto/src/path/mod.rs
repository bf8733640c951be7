//! What a link knows of its own path, and how much it may therefore have in flight.
//!
//! After BBR's model (draft-ietf-ccwg-bbr): the window is the bandwidth-delay product, times a gain, from a windowed
//! maximum of the delivery rate and a windowed minimum of the round-trip time. Loss alone does not shrink it, since
//! radio links lose packets without being full; a queue does, because it lengthens the RTT and the window does not
//! follow. Delivery rates are divided by one minus the loss seen, else a link at 20 % loss could never grow
//! (1.25 x 0.8 = 1).

mod filter;
pub mod rate;
pub mod rtt;

use std::time::Duration;

use self::filter::{RoundMax, WindowedMin};
use crate::time::Time;

const MSS_BYTES: u64 = 1500;
const MIN_WINDOW_BYTES: u64 = 8 * MSS_BYTES;
const INITIAL_WINDOW_BYTES: u64 = 32 * MSS_BYTES;
const RATE_WINDOW_ROUNDS: u64 = 10;
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
const CRUISE_GAIN: f64 = 1.2;
const PROBE_GAIN: f64 = 1.6;
const DRAIN_GAIN: f64 = 0.6;
/// One round in this many asks for more than the estimate.
const PROBE_EVERY_ROUNDS: u64 = 8;
/// Acks come in clumps (an ack delay, a slotted radio uplink): in flight must cover the clump as well.
const ACK_CLUMP: Duration = Duration::from_millis(4);
const FULL_ROUNDS: u32 = 3;

/// What one datagram of acknowledgements says of the path.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AckSample {
    /// Bytes newly acknowledged.
    pub acked_bytes: u64,
    /// Bytes newly found lost.
    pub lost_bytes: u64,
    /// Round-trip time of a segment that was sent once (Karn's rule).
    pub rtt: Option<Duration>,
    /// Bytes a second that arrived between two acknowledgements.
    pub delivery_rate: Option<u64>,
    /// Whether the sender had nothing more to send: the rate is then only a lower bound.
    pub app_limited: bool,
    /// Bytes delivered in total when the newest acknowledged segment was sent.
    pub prior_delivered: u64,
    /// Bytes delivered in total now.
    pub delivered: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Doubles each round until the rate no longer grows or a queue shows.
    Startup { best_rate: u64, rounds_without_growth: u32 },
    /// Empties the queue that start-up built.
    Drain { until: Time },
    /// Holds the estimate, probing now and then for more.
    Cruise,
    /// Lowers the window for a moment so that the minimum RTT can be seen again.
    ProbeRtt { until: Time },
}

/// Rate, round-trip time and window of one path in one direction.
#[derive(Debug)]
pub struct PathModel {
    phase: Phase,
    rate: RoundMax,
    min_rtt: WindowedMin,
    round: u64,
    round_end_delivered: u64,
    loss: LossMeter,
    window_bytes: u64,
}

impl Default for PathModel {
    fn default() -> Self {
        Self {
            phase: Phase::Startup { best_rate: 0, rounds_without_growth: 0 },
            rate: RoundMax::new(RATE_WINDOW_ROUNDS),
            min_rtt: WindowedMin::new(MIN_RTT_WINDOW),
            round: 0,
            round_end_delivered: 0,
            loss: LossMeter::default(),
            window_bytes: INITIAL_WINDOW_BYTES,
        }
    }
}

impl PathModel {
    /// Learns from acknowledgements.
    pub fn on_ack(&mut self, now: Time, sample: &AckSample) {
        let new_round = self.count_round(sample);
        self.loss.add(sample.acked_bytes, sample.lost_bytes, new_round);
        let expired = self.min_rtt.is_stale(now);
        if let Some(rtt) = sample.rtt {
            self.min_rtt.update(now, rtt);
        }
        if let Some(rate) = sample.delivery_rate {
            let capacity = (rate as f64 / (1.0 - self.loss.fraction())) as u64;
            if !sample.app_limited || capacity > self.rate.get() {
                self.rate.update(self.round, capacity);
            }
        }
        self.step(now, sample, new_round, expired);
        self.window_bytes = self.target_window(sample);
    }

    /// Bytes that may be in flight.
    #[must_use]
    pub fn window_bytes(&self) -> u64 {
        self.window_bytes
    }

    /// The path's capacity as far as it is known, in bytes a second.
    #[must_use]
    pub fn rate_bytes_per_s(&self) -> u64 {
        self.rate.get()
    }

    /// The smallest round-trip time of the last 10 s.
    #[must_use]
    pub fn min_rtt(&self) -> Option<Duration> {
        self.min_rtt.get()
    }

    /// Fraction of the bytes lost lately, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.loss.fraction()
    }

    fn count_round(&mut self, sample: &AckSample) -> bool {
        if sample.prior_delivered < self.round_end_delivered || sample.acked_bytes == 0 {
            return false;
        }
        self.round += 1;
        self.round_end_delivered = sample.delivered;
        true
    }

    fn step(&mut self, now: Time, sample: &AckSample, new_round: bool, min_rtt_expired: bool) {
        let Some(min_rtt) = self.min_rtt.get() else { return };
        let queue_shows =
            sample.rtt.is_some_and(|rtt| rtt > min_rtt.mul_f64(1.5) + Duration::from_millis(10));
        match &mut self.phase {
            Phase::Startup { best_rate, rounds_without_growth } if new_round => {
                if self.rate.get() as f64 >= *best_rate as f64 * 1.25 {
                    *best_rate = self.rate.get();
                    *rounds_without_growth = 0;
                } else if !sample.app_limited {
                    *rounds_without_growth += 1;
                }
                if *rounds_without_growth >= FULL_ROUNDS || (queue_shows && *rounds_without_growth > 0) {
                    self.phase = Phase::Drain { until: now + 2 * min_rtt };
                }
            }
            Phase::Drain { until } | Phase::ProbeRtt { until } if now >= *until => self.phase = Phase::Cruise,
            Phase::Cruise if min_rtt_expired => {
                self.phase = Phase::ProbeRtt { until: now + 2 * min_rtt + Duration::from_millis(10) };
            }
            _ => {}
        }
    }

    fn target_window(&self, sample: &AckSample) -> u64 {
        let Some(min_rtt) = self.min_rtt.get() else { return self.window_bytes + sample.acked_bytes };
        let gain = match self.phase {
            Phase::Startup { .. } => return self.window_bytes + sample.acked_bytes,
            Phase::Drain { .. } | Phase::ProbeRtt { .. } => DRAIN_GAIN,
            Phase::Cruise if self.round % PROBE_EVERY_ROUNDS == 0 => PROBE_GAIN,
            Phase::Cruise => CRUISE_GAIN,
        };
        let rate = self.rate.get() as f64;
        let window = rate * min_rtt.as_secs_f64() * gain + rate * ACK_CLUMP.as_secs_f64();
        let window = MIN_WINDOW_BYTES.max(window as u64);
        // A rate that the sender chose says nothing of the path: it must not shrink the window.
        if sample.app_limited { window.max(self.window_bytes) } else { window }
    }
}

/// Fraction of bytes lost, smoothed over rounds.
#[derive(Debug, Default)]
struct LossMeter {
    acked: f64,
    lost: f64,
}

impl LossMeter {
    fn add(&mut self, acked: u64, lost: u64, new_round: bool) {
        if new_round {
            self.acked *= 0.9;
            self.lost *= 0.9;
        }
        self.acked += acked as f64;
        self.lost += lost as f64;
    }

    /// At most 0.5: beyond that a path is broken rather than lossy, and must not be pushed harder.
    fn fraction(&self) -> f64 {
        let total = self.acked + self.lost;
        if total <= 0.0 { 0.0 } else { (self.lost / total).min(0.5) }
    }
}
