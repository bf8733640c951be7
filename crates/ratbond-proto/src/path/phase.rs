//! What a path's sender is doing: finding the rate, holding it, probing for more, or looking at the bare round trip.
//!
//! | phase | pace | window | ends |
//! |---|---|---|---|
//! | start-up | x 2.77, less on a long path | x 2, less on a long path | with a backlog or a burst that fills the path: the rate grew less than a quarter in each of 3 rounds, or a queue stood for a round; on a long path as soon as one overflows |
//! | drain | x 0.4 | x 1 | in flight is down to the product of rate and round trip |
//! | probe | x 1.25, more each time it found more, less on a long path | pace + 0.35 | after a round trip |
//! | yield | x 0.75 | x 1.2 | after a round trip: probe again if the last probe found more, else hold |
//! | hold | x 1 | x 1.4 | after 6 round trips |
//! | look | x 0.8 | x 0.5 | two round trips; entered when the minimum round trip is 10 s old |

use std::time::Duration;

use super::jitter::BareRtt;
use super::{AckSample, INITIAL_WINDOW_BYTES};
use crate::time::Time;

const GROWTH: f64 = 1.25;
const FULL_ROUNDS: u32 = 3;
const HOLD_ROUNDS: u32 = 6;
const MAX_PROBE: f64 = 2.0;
/// What lies in a queue of this time is more than the path holds, however long the path is.
const QUEUE: Duration = Duration::from_millis(40);
/// On paths longer than this start-up and probes, which learn a round trip later what they have done, send less more: a probe fills a
/// queue of 60 ms at first, not a quarter of the path.
const SHORT_PATH: Duration = Duration::from_millis(240);
/// So many rounds in a row have a packet that waited, before a rate is concluded from it.
const WAITING_ROUNDS: usize = 3;
/// A probe found more if the rate rose by at least this.
const FOUND_MORE: f64 = 1.08;

/// Factors on the path's rate and on its bandwidth-delay product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Gains {
    pub pace: f64,
    pub window: f64,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    Startup { best_rate: u64, rounds_without_growth: u32 },
    Drain { until: Time },
    Probe { until: Time, rate_before: u64, streak: u8 },
    Yield { until: Time, rate_before: u64, streak: u8 },
    Hold { until: Time },
    Look { until: Time },
}

/// What a phase decides by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub now: Time,
    pub min_rtt: Duration,
    pub bare_rtt: BareRtt,
    pub min_rtt_expired: bool,
    pub rate: u64,
    pub app_limited: bool,
    pub new_round: bool,
    /// The least round trip of the last full round.
    pub round_rtt: Option<Duration>,
    pub in_flight_bytes: u64,
    /// The most of the last full round.
    pub round_in_flight_bytes: u64,
    /// The longest round trip of the round that goes on; when one begins, of the last.
    pub longest_rtt: Option<Duration>,
    pub lost: bool,
    pub bdp_bytes: u64,
}

impl Facts {
    /// Not one packet of a whole round found the queue short.
    fn queue_stands(&self) -> bool {
        self.round_rtt.is_some_and(|rtt| rtt > self.bare_rtt.queued())
    }

    fn is_overfull(&self, in_flight_bytes: u64) -> bool {
        let in_queue = (self.rate as f64 * QUEUE.as_secs_f64()) as u64;
        in_flight_bytes > INITIAL_WINDOW_BYTES
            && in_flight_bytes > self.bdp_bytes + (self.bdp_bytes / 4).min(in_queue)
    }

    /// A burst of the last full round was more than the path holds, and the end of it met a queue. Without the queue it only shows
    /// that the path holds more than was known.
    fn burst_filled_it(&self) -> bool {
        let short = (self.min_rtt / 4).min(QUEUE) / 2;
        self.is_overfull(self.round_in_flight_bytes)
            && self.longest_rtt.is_some_and(|rtt| rtt > self.bare_rtt.and(short))
    }

    /// Something was lost behind a queue.
    fn overflows(&self) -> bool {
        self.lost && self.longest_rtt.is_some_and(|rtt| rtt > self.bare_rtt.queued())
    }

    fn after_rounds(&self, rounds: u32) -> Time {
        self.now + self.bare_rtt.average.max(Duration::from_millis(2)) * rounds
    }
}

impl Phase {
    pub const START: Self = Self::Startup { best_rate: 0, rounds_without_growth: 0 };

    /// `min_rtt` is the path's.
    pub fn gains(self, min_rtt: Duration) -> Gains {
        let in_time = (SHORT_PATH.as_secs_f64() / min_rtt.as_secs_f64()).min(1.0);
        let (pace, window) = match self {
            Self::Startup { .. } => (1.0 + 1.77 * in_time, 1.0 + in_time),
            Self::Drain { .. } => (0.4, 1.0),
            Self::Probe { streak, .. } => {
                let more = (0.25 + 0.25 * f64::from(streak)).min(MAX_PROBE - 1.0);
                let pace = 1.0 + more * in_time;
                (pace, pace + 0.35)
            }
            Self::Yield { .. } => (0.75, 1.2),
            Self::Hold { .. } => (1.0, 1.4),
            Self::Look { .. } => (0.8, 0.5),
        };
        Gains { pace, window }
    }

    pub fn next(self, facts: &Facts) -> Self {
        let now = facts.now;
        match self {
            Self::Startup { best_rate, rounds_without_growth } => {
                Self::after_startup(facts, best_rate, rounds_without_growth)
            }
            Self::Drain { until } if facts.in_flight_bytes <= facts.bdp_bytes || now >= until => {
                Self::probe(facts, 0)
            }
            Self::Probe { .. } | Self::Yield { .. } | Self::Hold { .. } if facts.min_rtt_expired => {
                Self::Look { until: facts.after_rounds(2) + Duration::from_millis(10) }
            }
            Self::Probe { until, rate_before, streak } if now >= until => {
                Self::Yield { until: facts.after_rounds(1), rate_before, streak }
            }
            Self::Yield { until, rate_before, streak } if now >= until => {
                if facts.rate as f64 > rate_before as f64 * FOUND_MORE && !facts.queue_stands() {
                    Self::probe(facts, streak.saturating_add(1))
                } else {
                    Self::Hold { until: facts.after_rounds(HOLD_ROUNDS) }
                }
            }
            Self::Hold { until } | Self::Look { until } if now >= until => Self::probe(facts, 0),
            same => same,
        }
    }

    fn probe(facts: &Facts, streak: u8) -> Self {
        Self::Probe { until: facts.after_rounds(1), rate_before: facts.rate, streak }
    }

    fn after_startup(facts: &Facts, best_rate: u64, rounds_without_growth: u32) -> Self {
        // On a long path the rest of the round would cost a queue's worth again.
        if facts.overflows() && facts.min_rtt > SHORT_PATH {
            return Self::Drain { until: facts.after_rounds(4) };
        }
        if !facts.new_round {
            return Self::Startup { best_rate, rounds_without_growth };
        }
        // More under way than the path holds, and a queue: it is full, whoever limited what was sent.
        if facts.queue_stands() && (!facts.app_limited || facts.is_overfull(facts.in_flight_bytes)) {
            return Self::Drain { until: facts.after_rounds(4) };
        }
        // Without a backlog a rate does not say how much the path could carry, unless a burst filled it.
        if facts.app_limited && !facts.burst_filled_it() {
            return Self::Startup { best_rate, rounds_without_growth };
        }
        if facts.rate as f64 >= best_rate as f64 * GROWTH {
            return Self::Startup { best_rate: facts.rate, rounds_without_growth: 0 };
        }
        let rounds_without_growth = rounds_without_growth + 1;
        if rounds_without_growth >= FULL_ROUNDS {
            return Self::Drain { until: facts.after_rounds(4) };
        }
        Self::Startup { best_rate, rounds_without_growth }
    }
}

/// Counts round trips by what was delivered, and remembers the least and the longest round trip of each.
#[derive(Debug, Default)]
pub(super) struct Round {
    count: u64,
    ends_at_delivered: u64,
    least_rtt: Option<Duration>,
    last_rtt: Option<Duration>,
    longest_rtt: Option<Duration>,
    last_longest_rtt: Option<Duration>,
    most_in_flight_bytes: u64,
    last_in_flight_bytes: u64,
    /// How long the packet waited that waited longest of the round that goes on, and behind how many bytes at most.
    longest_wait: Option<(Duration, u64)>,
    /// By the longest waits of the last full rounds: what the path carried at most, in bytes a second.
    by_waits: [Option<u64>; WAITING_ROUNDS],
}

impl Round {
    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn last_in_flight_bytes(&self) -> u64 {
        self.last_in_flight_bytes
    }

    pub fn last_rtt(&self) -> Option<Duration> {
        self.last_rtt
    }

    /// The least round trip of the last full round and the one that goes on.
    pub fn least_of_two(&self) -> Option<Duration> {
        Some(self.last_rtt?.min(self.least_rtt.unwrap_or(Duration::MAX)))
    }

    /// What the path carries at most, in bytes a second: while a packet waits, the path forwards what is before it, and that is less than
    /// what was in flight when it left. None unless packets waited in each of the last rounds, since a radio that stood still
    /// for once is no slow one. Bursts with a pause after each show this, where every round has a packet that did not wait.
    pub fn rate_by_waits(&self) -> Option<u64> {
        self.by_waits.iter().copied().reduce(|one, other| Some(one?.max(other?))).flatten()
    }

    /// Of the round that goes on, or while that has none, of the last.
    pub fn longest_rtt(&self) -> Option<Duration> {
        self.longest_rtt.or(self.last_longest_rtt)
    }

    /// Takes in a sample; returns whether it begins a round. What took longer than `bare_rtt` waited, if at least `much_bytes` were in
    /// flight with it.
    pub fn advance(&mut self, sample: &AckSample, bare_rtt: Duration, much_bytes: u64) -> bool {
        self.note_wait(sample, bare_rtt, much_bytes);
        if let Some(rtt) = sample.rtt {
            self.least_rtt = Some(self.least_rtt.map_or(rtt, |least| least.min(rtt)));
            self.longest_rtt = self.longest_rtt.max(Some(rtt));
        }
        let in_flight_bytes = sample.in_flight_bytes + sample.acked_bytes + sample.lost_bytes;
        self.most_in_flight_bytes = self.most_in_flight_bytes.max(in_flight_bytes);
        let Some(rate) = sample.rate.filter(|rate| rate.prior_delivered_bytes >= self.ends_at_delivered)
        else {
            return false;
        };
        let by_wait =
            self.longest_wait.take().map(|(wait, bytes)| (bytes as f64 / wait.as_secs_f64()) as u64);
        self.by_waits.rotate_right(1);
        self.by_waits[0] = by_wait;
        self.count += 1;
        self.ends_at_delivered = rate.total_delivered_bytes;
        self.last_rtt = self.least_rtt.take();
        self.last_longest_rtt = self.longest_rtt.take();
        self.last_in_flight_bytes = std::mem::take(&mut self.most_in_flight_bytes);
        true
    }

    fn note_wait(&mut self, sample: &AckSample, bare_rtt: Duration, much_bytes: u64) {
        let (Some(rtt), Some(rate)) = (sample.rtt, &sample.rate) else { return };
        let (wait, bytes) = (rtt.saturating_sub(bare_rtt), rate.in_flight_bytes_at_send);
        if bytes >= much_bytes && wait > self.longest_wait.map_or(Duration::ZERO, |(longest, _)| longest) {
            self.longest_wait = Some((wait, bytes));
        }
    }
}
