//! What a link knows of its own path, how fast it may therefore send, and how much it may have in flight.
//!
//! After BBR's model (draft-ietf-ccwg-bbr): the path is a delivery rate (a windowed maximum over rounds) and a round-trip
//! time (a windowed minimum). Sending is paced at a gain times the rate, and the window is a gain times their product. Loss
//! alone slows nothing, since radio links lose packets without being full. A queue does: the round trip lengthens, the
//! window does not follow. Two things differ from BBR. Rates are divided by one minus the loss that was seen while the
//! queue was short, else a path that loses 20 % could never grow (1.25 x 0.8 = 1). And a probe for more that found
//! more is followed by the next at once, so that a path that became faster is filled in some round trips.

mod filter;
mod jitter;
mod loss;
mod one_way;
mod pacer;
mod phase;
pub mod rate;
pub mod rtt;

use std::time::Duration;

use self::filter::{RoundMax, WindowedMin};
use self::jitter::{BareRtt, JitterMeter};
use self::loss::LossMeter;
use self::one_way::OneWayMin;
use self::pacer::Pacer;
use self::phase::{Phase, Round};
use self::rate::RateSample;
use crate::time::Time;

const MSS_BYTES: u64 = 1500;
const MIN_WINDOW_BYTES: u64 = 4 * MSS_BYTES;
const INITIAL_WINDOW_BYTES: u64 = 32 * MSS_BYTES;
/// After a silence.
const RESTART_WINDOW_BYTES: u64 = 10 * MSS_BYTES;
const RATE_WINDOW_ROUNDS: u64 = 10;
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
/// A busy host may wake us this late without its showing in the delivery rate.
const LATE: Duration = Duration::from_millis(2);
/// Acks come in clumps (the peer's ack delay, a slotted radio uplink): in flight must cover a clump as well.
const ACK_CLUMP: Duration = Duration::from_millis(4);

/// What one datagram of acknowledgements says of the path.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AckSample {
    /// Bytes newly acknowledged.
    pub acked_bytes: u64,
    /// Bytes newly found lost.
    pub lost_bytes: u64,
    /// Bytes still in flight.
    pub in_flight_bytes: u64,
    /// Round-trip time of a transmission that is known to be the one acknowledged.
    pub rtt: Option<Duration>,
    /// Delivery rate, where it could be measured.
    pub rate: Option<RateSample>,
}

/// Rate, round-trip time, pace and window of one path in one direction.
#[derive(Debug)]
pub struct PathModel {
    phase: Phase,
    round: Round,
    rate: RoundMax,
    min_rtt: WindowedMin,
    one_way: OneWayMin,
    jitter: JitterMeter,
    loss: LossMeter,
    pacer: Pacer,
    /// The user's, in bytes a second.
    cap: Option<u64>,
    window_bytes: u64,
}

impl Default for PathModel {
    fn default() -> Self {
        Self {
            phase: Phase::START,
            round: Round::default(),
            rate: RoundMax::new(RATE_WINDOW_ROUNDS),
            min_rtt: WindowedMin::new(MIN_RTT_WINDOW),
            one_way: OneWayMin::default(),
            jitter: JitterMeter::default(),
            loss: LossMeter::default(),
            pacer: Pacer::default(),
            cap: None,
            window_bytes: INITIAL_WINDOW_BYTES,
        }
    }
}

impl PathModel {
    /// Learns from acknowledgements.
    pub fn on_ack(&mut self, now: Time, sample: &AckSample) {
        let min_rtt_expired = self.min_rtt.is_stale(now);
        if let Some(rtt) = sample.rtt {
            self.min_rtt.update(now, rtt);
            self.jitter.update(now, rtt);
        }
        let Some(min_rtt) = self.min_rtt.get() else { return };
        let bare_rtt = self.jitter.bare_rtt(min_rtt);
        let new_round = self.round.advance(sample, bare_rtt.and(ACK_CLUMP), self.much_in_flight());
        if new_round && let Some(most) = self.round.rate_by_waits() {
            self.rate.limit(self.round.count(), most);
        }
        self.loss.add(now, sample, bare_rtt);
        if let Some(rate) = &sample.rate {
            let bytes_per_s = (rate.rate_bps() as f64 / 8.0 / (1.0 - self.loss.fraction())) as u64;
            if self.was_busy(rate, bare_rtt) {
                self.rate.forget_before(self.round.count().saturating_sub(1));
                self.rate.update(self.round.count(), bytes_per_s);
            } else if !rate.app_limited || bytes_per_s > self.rate.get() {
                self.rate.update(self.round.count(), bytes_per_s);
            }
        }
        let facts = phase::Facts {
            now,
            min_rtt,
            bare_rtt,
            min_rtt_expired,
            rate: self.rate.get(),
            app_limited: sample.rate.is_none_or(|rate| rate.app_limited),
            new_round,
            round_rtt: self.round.last_rtt(),
            in_flight_bytes: sample.in_flight_bytes,
            round_in_flight_bytes: self.round.last_in_flight_bytes(),
            longest_rtt: self.round.longest_rtt(),
            lost: sample.lost_bytes > 0,
            bdp_bytes: self.bdp_bytes(),
        };
        self.phase = self.phase.next(&facts);
        self.apply(sample);
    }

    /// Whether the path forwarded all the time that a sample spans, however little there was to send: no packet of two rounds found
    /// its queue short. The sample is then what it carries
    /// now, and what it carried before is over: otherwise a path that became slower would be taken for the fast one until
    /// somebody has a backlog for it.
    fn was_busy(&self, rate: &RateSample, bare_rtt: BareRtt) -> bool {
        self.round.least_of_two().is_some_and(|rtt| rtt > bare_rtt.queued())
            && rate.in_flight_bytes_at_send >= self.much_in_flight()
    }

    /// With so much on its way a longer round trip is a queue; with less it may be a longer path.
    fn much_in_flight(&self) -> u64 {
        INITIAL_WINDOW_BYTES.min(self.bdp_bytes() / 2)
    }

    /// Learns how long the way there took, on the peer's clock: see [`one_way_us`](Self::one_way_us).
    pub fn on_one_way(&mut self, now: Time, one_way_us: u32) {
        self.one_way.update(now, one_way_us);
    }

    /// Nothing came back for long: what was known of the rate holds no more. Begins small, keeping the round trip.
    pub fn restart(&mut self) {
        self.phase = Phase::START;
        self.rate = RoundMax::new(RATE_WINDOW_ROUNDS);
        self.window_bytes = RESTART_WINDOW_BYTES;
    }

    /// Sends no faster than so many bytes a second, whatever the path carries.
    pub fn set_cap(&mut self, cap: Option<u64>) {
        self.cap = cap;
        self.set_pace();
    }

    /// Whether the pace lets something go now.
    #[must_use]
    pub fn may_send(&self, now: Time) -> bool {
        self.pacer.next_send() <= now
    }

    /// When the pace lets the next thing go.
    #[must_use]
    pub fn next_send(&self) -> Time {
        self.pacer.next_send()
    }

    /// `bytes` left; `waited` says that they had been waiting for the pace.
    pub fn on_sent(&mut self, now: Time, bytes: u64, waited: bool) {
        self.pacer.on_sent(now, bytes, waited);
    }

    /// Whether what waits for the pace is sent too late for its rate to say anything of the path: the host was busy.
    #[must_use]
    pub fn is_late(&self, now: Time) -> bool {
        now.saturating_since(self.pacer.next_send()) > LATE
    }

    /// Bytes that may be in flight.
    #[must_use]
    pub fn window_bytes(&self) -> u64 {
        self.window_bytes
    }

    /// Bytes that may leave in one burst.
    #[must_use]
    pub fn burst_bytes(&self) -> u64 {
        self.pacer.burst_bytes()
    }

    /// The path's capacity as far as it is known, in bytes a second.
    #[must_use]
    pub fn rate_bytes_per_s(&self) -> u64 {
        self.rate.get()
    }

    /// The rate to count on: until there was a backlog to measure it by, at least what the initial window makes.
    #[must_use]
    pub fn expected_bytes_per_s(&self) -> u64 {
        self.cap.map_or(self.uncapped(), |cap| cap.min(self.uncapped()))
    }

    fn uncapped(&self) -> u64 {
        match (self.phase, self.min_rtt.get()) {
            (Phase::Startup { .. }, Some(rtt)) => {
                self.rate.get().max((INITIAL_WINDOW_BYTES as f64 / rtt.as_secs_f64().max(1e-4)) as u64)
            }
            _ => self.rate.get(),
        }
    }

    /// How long the queue takes to empty that is there when `outstanding_bytes` are in flight or about to be.
    #[must_use]
    pub fn queue_delay(&self, outstanding_bytes: u64) -> Duration {
        let rate = self.expected_bytes_per_s();
        let bare = (self.min_rtt.get().unwrap_or_default() + ACK_CLUMP).as_secs_f64() * rate as f64;
        // In start-up the rate is the least that the path carries, and the window what it may well hold. Who took that for a queue
        // would not fill the window, and never learn more.
        let held = if matches!(self.phase, Phase::Startup { .. }) { self.window_bytes } else { 0 };
        let queued = outstanding_bytes.saturating_sub(held.max(bare as u64));
        if rate == 0 { Duration::ZERO } else { Duration::from_secs_f64(queued as f64 / rate as f64) }
    }

    /// The least of the last 10 s of the peer's clock at arrival less ours at departure, in µs modulo 2^32.
    #[must_use]
    pub fn one_way_us(&self) -> Option<u32> {
        self.one_way.get()
    }

    /// The smallest round-trip time of the last 10 s.
    #[must_use]
    pub fn min_rtt(&self) -> Option<Duration> {
        self.min_rtt.get()
    }

    /// Fraction of the bytes that the path loses while it is not full, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.loss.fraction()
    }

    /// Whether what is sent may get lost although the path is not full; also as long as nothing is known.
    #[must_use]
    pub fn may_lose(&self) -> bool {
        self.loss.may_lose()
    }

    fn bdp_bytes(&self) -> u64 {
        (self.rate.get() as f64 * self.min_rtt.get().unwrap_or_default().as_secs_f64()) as u64
    }

    fn gains(&self) -> phase::Gains {
        self.phase.gains(self.min_rtt.get().unwrap_or_default())
    }

    fn apply(&mut self, sample: &AckSample) {
        let gains = self.gains();
        let rate = self.rate.get();
        let window = (self.bdp_bytes() as f64 * gains.window) as u64
            + (rate as f64 * self.slack(gains.window).as_secs_f64()) as u64;
        self.window_bytes = match self.phase {
            // The rate is known only after a round trip: until then, and beyond it, what is acknowledged says how far to go.
            Phase::Startup { .. } => {
                let most = (window.max(INITIAL_WINDOW_BYTES) as f64 * gains.window) as u64;
                window.max((self.window_bytes + sample.acked_bytes).min(most))
            }
            _ => window.max(MIN_WINDOW_BYTES),
        };
        self.set_pace();
    }

    /// For how long in flight must last beyond `gain` round trips of the least time: for clumps of acks, and a round trip that is longer.
    fn slack(&self, gain: f64) -> Duration {
        let beyond = self.min_rtt.get().unwrap_or_default().mul_f64((gain - 1.0).max(0.0)) + ACK_CLUMP;
        // Who looks at the bare round trip lets the queue run empty, whatever comes of the rate.
        let wander = if gain < 1.0 { Duration::ZERO } else { self.jitter.wander().saturating_sub(beyond) };
        ACK_CLUMP + self.jitter.spread() + wander
    }

    fn set_pace(&mut self) {
        let pace = (self.uncapped() as f64 * self.gains().pace) as u64;
        self.pacer.set_rate(match self.cap {
            // Without a rate of its own nothing is paced.
            Some(cap) if pace == 0 => cap,
            Some(cap) => pace.min(cap),
            None => pace,
        });
    }
}

#[cfg(test)]
mod tests;
