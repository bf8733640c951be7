//! A BBR sender of the first version, as in Linux since 4.9 (draft-cardwell-iccrg-bbr-congestion-control-00), in segments: what many
//! servers of downloads send with. It keeps twice what it believes the path to hold in flight, and believes the least round trip.

use std::collections::VecDeque;
use std::time::Duration;

use ratbond_proto::Time;

const HIGH_GAIN: f64 = 2.885;
const WINDOW_GAIN: f64 = 2.0;
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
const RATE_ROUNDS: u64 = 10;
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
const PROBE_RTT_FOR: Duration = Duration::from_millis(200);
const LEAST_WINDOW: f64 = 4.0;
const FULL_ROUNDS: u32 = 3;
const FULL_GROWTH: f64 = 1.25;
/// What segmentation offload keeps busy at both ends (`bbr_quantization_budget`).
const QUANTA: f64 = 6.0;
/// How long the most that was acknowledged ahead of the rate is remembered: the present and the former so many rounds.
const CLUMP_ROUNDS: u64 = 5;
/// No more than this, at the rate, is added to the window for clumps.
const MAX_CLUMP: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Startup,
    Drain,
    ProbeRate,
    ProbeRtt { until: Time },
}

/// What an acknowledgement says of the path.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// Segments that have arrived since the transfer began.
    pub delivered: u64,
    /// How many had when the newest of them was sent.
    pub prior: u64,
    /// Of them, those that this acknowledgement tells of.
    pub acked: u64,
    /// In which time the difference arrived.
    pub interval: Duration,
    /// The newest one's round trip.
    pub rtt: Duration,
    /// Segments that are still out.
    pub out: usize,
}

/// Acknowledgements that come in clumps: how many segments more than the rate makes (`bbr_update_ack_aggregation`).
#[derive(Debug, Default)]
struct Clumps {
    since: Time,
    acked: f64,
    /// The most of the present rounds and of the former.
    most: [f64; 2],
    from_round: u64,
}

impl Clumps {
    fn on_delivery(&mut self, now: Time, acked: u64, (rate, round, window): (f64, u64, f64)) {
        if round >= self.from_round + CLUMP_ROUNDS {
            (self.most, self.from_round) = ([0.0, self.most[0]], round);
        }
        let mut expected = rate * now.saturating_since(self.since).as_secs_f64();
        if self.acked <= expected {
            (self.since, self.acked, expected) = (now, 0.0, 0.0);
        }
        self.acked += acked as f64;
        self.most[0] = self.most[0].max((self.acked - expected).min(window));
    }

    fn extra(&self, rate: f64) -> f64 {
        self.most[0].max(self.most[1]).min(rate * MAX_CLUMP.as_secs_f64())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Bbr {
    mode: Mode,
    /// Segments a second, with the round that each was measured in.
    rates: VecDeque<(u64, f64)>,
    round: u64,
    round_ends: u64,
    full_rate: f64,
    full_rounds: u32,
    min_rtt: Duration,
    min_rtt_at: Time,
    phase: usize,
    phase_at: Time,
    clumps: Clumps,
}

impl Default for Bbr {
    fn default() -> Self {
        Self {
            mode: Mode::Startup,
            rates: VecDeque::new(),
            round: 0,
            round_ends: 0,
            full_rate: 0.0,
            full_rounds: 0,
            min_rtt: Duration::MAX,
            min_rtt_at: Time::ZERO,
            phase: 0,
            phase_at: Time::ZERO,
            clumps: Clumps::default(),
        }
    }
}

impl Bbr {
    /// Segments that may be out.
    #[must_use]
    pub fn window(&self) -> f64 {
        if self.rates.is_empty() {
            return 10.0;
        }
        match self.mode {
            Mode::ProbeRtt { .. } => LEAST_WINDOW,
            Mode::ProbeRate => {
                (WINDOW_GAIN * self.held() + self.clumps.extra(self.rate()) + QUANTA).max(LEAST_WINDOW)
            }
            Mode::Startup | Mode::Drain => (HIGH_GAIN * self.held() + QUANTA).max(10.0),
        }
    }

    /// Segments a second that may leave; none before anything is known.
    #[must_use]
    pub fn pace(&self) -> Option<f64> {
        let gain = match self.mode {
            Mode::Startup => HIGH_GAIN,
            Mode::Drain => 1.0 / HIGH_GAIN,
            Mode::ProbeRate => CYCLE[self.phase],
            Mode::ProbeRtt { .. } => 1.0,
        };
        (!self.rates.is_empty()).then(|| gain * self.rate())
    }

    /// The least round trip of the last ten seconds.
    #[must_use]
    pub fn least_rtt(&self) -> Duration {
        self.min_rtt
    }

    /// Segments a second, as far as it is known.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rates.front().map_or(0.0, |&(_, rate)| rate)
    }

    /// Something arrived.
    pub fn on_delivery(&mut self, now: Time, delivery: &Delivery) {
        let new_round = delivery.prior >= self.round_ends;
        if new_round {
            self.round += 1;
            self.round_ends = delivery.delivered;
        }
        if delivery.interval >= self.min_rtt.min(delivery.rtt) && !delivery.interval.is_zero() {
            self.add_rate((delivery.delivered - delivery.prior) as f64 / delivery.interval.as_secs_f64());
        }
        self.clumps.on_delivery(now, delivery.acked, (self.rate(), self.round, self.window()));
        let expired = now.saturating_since(self.min_rtt_at) > MIN_RTT_WINDOW;
        if delivery.rtt <= self.min_rtt || expired {
            (self.min_rtt, self.min_rtt_at) = (delivery.rtt, now);
        }
        self.change_mode(now, delivery, new_round, expired);
    }

    fn add_rate(&mut self, rate: f64) {
        while self.rates.back().is_some_and(|&(_, last)| last <= rate) {
            self.rates.pop_back();
        }
        self.rates.push_back((self.round, rate));
        while self.rates.front().is_some_and(|&(round, _)| round + RATE_ROUNDS <= self.round) {
            self.rates.pop_front();
        }
    }

    fn change_mode(&mut self, now: Time, delivery: &Delivery, new_round: bool, expired: bool) {
        match self.mode {
            Mode::Startup if new_round => {
                if self.rate() >= self.full_rate * FULL_GROWTH {
                    (self.full_rate, self.full_rounds) = (self.rate(), 0);
                } else {
                    self.full_rounds += 1;
                }
                if self.full_rounds >= FULL_ROUNDS {
                    self.mode = Mode::Drain;
                }
            }
            Mode::Drain if delivery.out as f64 <= self.held() => self.probe_rate(now),
            Mode::ProbeRate => {
                let over = now.saturating_since(self.phase_at) > self.min_rtt;
                let gain = CYCLE[self.phase];
                let out = delivery.out as f64;
                if (over && (gain <= 1.0 || out >= gain * self.held())) || (gain < 1.0 && out <= self.held())
                {
                    (self.phase, self.phase_at) = ((self.phase + 1) % CYCLE.len(), now);
                }
            }
            Mode::ProbeRtt { until } if now >= until => self.probe_rate(now),
            _ => {}
        }
        if expired && !matches!(self.mode, Mode::ProbeRtt { .. }) && self.full_rounds >= FULL_ROUNDS {
            self.mode = Mode::ProbeRtt { until: now + PROBE_RTT_FOR };
        }
    }

    fn probe_rate(&mut self, now: Time) {
        self.mode = Mode::ProbeRate;
        // Linux draws where the cycle begins, but never at the phase that drains.
        (self.phase, self.phase_at) = (2, now);
    }

    /// What the path holds.
    fn held(&self) -> f64 {
        self.rate() * self.min_rtt.as_secs_f64()
    }
}
