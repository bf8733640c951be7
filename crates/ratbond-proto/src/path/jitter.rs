//! What round trips are like without a queue that would explain it.
//!
//! A delay may differ from packet to packet, or wander within tens of milliseconds, as those of radio links and of busy hosts
//! do. A queue does neither: it lengthens slowly from one packet to the next, and one that stands does not change. Who took a
//! wandering delay for a queue would send less, find that it wanders on, and send still less, down to nothing.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// The lower quartile may be so much because of queues that come and go with what is sent; from a third more on it is the path's.
const OWN_QUEUE: Duration = Duration::from_micros(1_500);

/// How much round trips differ although no queue grows or empties.
#[derive(Debug, Default)]
pub(super) struct JitterMeter {
    last: Option<Duration>,
    /// From one packet to the next, smoothed (the way of RFC 3550 section 6.4.1).
    mean: Duration,
    wander: WanderMeter,
}

impl JitterMeter {
    pub fn update(&mut self, now: Time, rtt: Duration) {
        if let Some(last) = self.last.replace(rtt) {
            let difference = rtt.abs_diff(last);
            self.mean = (self.mean * 15 + difference) / 16;
        }
        self.wander.update(now, rtt);
    }

    /// What most round trips stay within, above the least, by what they differ from packet to packet.
    pub fn spread(&self) -> Duration {
        4 * self.mean
    }

    /// How much more than the least they are on average and a little, by how they wander.
    pub fn wander(&self) -> Duration {
        let quartile = self.wander.quartile;
        8 * quartile.min(4 * quartile.saturating_sub(OWN_QUEUE))
    }

    /// What they are without a queue, where the least is `min_rtt`.
    pub fn bare_rtt(&self, min_rtt: Duration) -> BareRtt {
        BareRtt {
            usual: min_rtt + self.spread(),
            average: min_rtt + self.wander(),
            farthest: min_rtt + 2 * self.wander(),
        }
    }
}

/// What round trips are without a queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BareRtt {
    /// They stay within this from packet to packet.
    pub usual: Duration,
    /// Where they wander, this is the middle.
    pub average: Duration,
    /// They wander up to here.
    pub farthest: Duration,
}

impl BareRtt {
    /// What needs a queue to explain it if `more` than usual does.
    pub fn and(self, more: Duration) -> Duration {
        (self.usual + more).max(self.farthest)
    }

    /// A round trip beyond this needs a queue to explain it, where up to the usual it needs none.
    pub fn queued(self) -> Duration {
        self.and((self.usual / 4).min(Duration::from_millis(30)) + Duration::from_millis(5))
    }
}

/// The lower quartile of what round trips change by within [`LAG`](Self::LAG).
///
/// Not the mean and not the median: our own probes for more fill and empty a queue for up to half of the time. On links whose
/// delay wanders evenly by up to `a` each way, round trips are 2 `a` above the least on average and at most 4 `a`; the quartile
/// is 0.3 `a`.
#[derive(Debug)]
struct WanderMeter {
    /// One round trip for each tick of the last `LAG`, the newest last.
    ticks: VecDeque<(Time, Duration)>,
    /// The last changes in microseconds; none until there were some.
    changes: [u32; Self::CHANGES],
    next: usize,
    quartile: Duration,
}

impl Default for WanderMeter {
    fn default() -> Self {
        Self { ticks: VecDeque::new(), changes: [0; Self::CHANGES], next: 0, quartile: Duration::ZERO }
    }
}

impl WanderMeter {
    const TICK: Duration = Duration::from_millis(25);
    const LAG: Duration = Duration::from_millis(100);
    /// Those of two seconds; a wander counts after one and a half.
    const CHANGES: usize = 80;

    fn update(&mut self, now: Time, rtt: Duration) {
        if self.ticks.back().is_some_and(|&(at, _)| now.saturating_since(at) < Self::TICK) {
            return;
        }
        self.ticks.push_back((now, rtt));
        let mut before = None;
        while self.ticks.front().is_some_and(|&(at, _)| now.saturating_since(at) >= Self::LAG) {
            before = self.ticks.pop_front();
        }
        let Some((_, before)) = before else { return };
        self.changes[self.next] = u32::try_from(rtt.abs_diff(before).as_micros()).unwrap_or(u32::MAX);
        self.next = (self.next + 1) % Self::CHANGES;
        let mut sorted = self.changes;
        let (_, quartile, _) = sorted.select_nth_unstable(Self::CHANGES / 4);
        self.quartile = Duration::from_micros(u64::from(*quartile));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_millis(20);

    /// A round trip each 5 ms for 4 s, by the time since the first in ms.
    fn fed(rtt_ms: impl Fn(u64) -> f64) -> JitterMeter {
        let mut meter = JitterMeter::default();
        for at_ms in (0..4_000).step_by(5) {
            meter.update(Time::from_millis(at_ms), Duration::from_secs_f64(rtt_ms(at_ms) / 1e3));
        }
        meter
    }

    #[test]
    fn a_steady_path_has_none_and_neither_has_a_queue_that_stands() {
        let meter = fed(|at_ms| if at_ms < 2_000 { 20.0 } else { 220.0 });
        assert!(meter.spread() < Duration::from_micros(10));
        assert_eq!(meter.wander(), Duration::ZERO);
    }

    #[test]
    fn what_differs_from_packet_to_packet_is_usual() {
        let meter = fed(|at_ms| if at_ms % 10 == 0 { 20.0 } else { 24.0 });
        assert!(meter.bare_rtt(LEAST).usual >= LEAST + Duration::from_millis(15));
    }

    /// Both ways of a link that wanders by up to 10 ms, from one knot to the next in 40 ms.
    #[test]
    fn a_delay_that_wanders_reaches_as_far_as_it_does() {
        let meter = fed(|at_ms| {
            let knot =
                |number: u64| f64::from((number.wrapping_mul(2_654_435_761) >> 7) as u32 % 1_000) / 1_000.0;
            let way = |seed: u64| {
                let (number, part) = (at_ms / 40, (at_ms % 40) as f64 / 40.0);
                20.0 * (knot(number + seed) * (1.0 - part) + knot(number + seed + 1) * part)
            };
            20.0 + way(0) + way(1_000_000)
        });
        let wander_ms = meter.wander().as_secs_f64() * 1e3;
        assert!((12.0..28.0).contains(&wander_ms), "{wander_ms} ms for 20 ms on average");
        assert!(meter.bare_rtt(LEAST).queued() > LEAST + Duration::from_millis(24));
    }

    #[test]
    fn a_queue_that_our_probes_fill_and_empty_is_no_wander() {
        // Of eight round trips of 20 ms one fills it and one empties it.
        let meter = fed(|at_ms| match at_ms % 160 {
            rising @ 0..20 => 20.0 + rising as f64 / 4.0,
            falling @ 20..40 => 20.0 + (40 - falling) as f64 / 4.0,
            _ => 20.0,
        });
        assert!(meter.wander() < Duration::from_millis(1), "{:?}", meter.wander());
    }
}
