//! The congestion window of a CUBIC sender (RFC 9438) with HyStart's delay rule (RFC 9406 gives its later form), in segments.

use std::time::Duration;

use ratbond_proto::Time;

const C: f64 = 0.4;
const BETA: f64 = 0.7;
/// Of a Reno sender that backs off by the same factor.
const RENO_GROWTH: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
const HYSTART_SAMPLES: u32 = 8;
const HYSTART_FROM: f64 = 16.0;

/// See the module.
#[derive(Debug)]
pub struct Cubic {
    window: f64,
    threshold: f64,
    largest_before: f64,
    epoch: Option<(Time, f64)>,
    reno: f64,
    least_rtt: Duration,
    round_least: Duration,
    round_samples: u32,
    round_ends: u32,
}

impl Default for Cubic {
    fn default() -> Self {
        Self {
            window: 10.0,
            threshold: f64::MAX,
            largest_before: 0.0,
            epoch: None,
            reno: 0.0,
            least_rtt: Duration::MAX,
            round_least: Duration::MAX,
            round_samples: 0,
            round_ends: 0,
        }
    }
}

impl Cubic {
    /// Segments that may be out.
    #[must_use]
    pub fn window(&self) -> f64 {
        self.window
    }

    /// The least round trip so far.
    #[must_use]
    pub fn least_rtt(&self) -> Duration {
        self.least_rtt
    }

    /// A round trip was measured while segments up to `next` are out; `acked` have arrived.
    pub fn on_rtt(&mut self, rtt: Duration, acked: u32, next: u32) {
        self.least_rtt = self.least_rtt.min(rtt);
        if acked >= self.round_ends {
            (self.round_least, self.round_samples, self.round_ends) = (Duration::MAX, 0, next);
        }
        self.round_samples += 1;
        self.round_least = self.round_least.min(rtt);
        let allowed = (self.least_rtt / 8).clamp(Duration::from_millis(4), Duration::from_millis(16));
        if self.window < self.threshold
            && self.window >= HYSTART_FROM
            && self.round_samples == HYSTART_SAMPLES
            && self.round_least >= self.least_rtt + allowed
        {
            self.threshold = self.window;
        }
    }

    /// `newly` segments were acknowledged, outside of recovery.
    pub fn on_ack(&mut self, now: Time, newly: f64, rtt: Duration) {
        if self.window < self.threshold {
            self.window += newly;
            return;
        }
        let (began, origin) = *self.epoch.get_or_insert((now, self.window));
        if self.reno == 0.0 {
            self.reno = self.window;
        }
        let largest = self.largest_before.max(origin);
        let k = ((largest - origin) / C).cbrt();
        let t = (now.saturating_since(began) + rtt).as_secs_f64() - k;
        let target = (C * t * t * t + largest).clamp(self.window, 1.5 * self.window);
        self.window += (target - self.window) / self.window * newly;
        self.reno += RENO_GROWTH * newly / self.window;
        self.window = self.window.max(self.reno);
    }

    /// Something of this window was lost.
    pub fn on_loss(&mut self) {
        let shrinks = self.window < self.largest_before;
        self.largest_before = if shrinks { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.window = (self.window * BETA).max(2.0);
        self.threshold = self.window;
        self.epoch = None;
        self.reno = 0.0;
    }

    /// Nothing has come back for a retransmission timeout.
    pub fn on_timeout(&mut self) {
        self.on_loss();
        self.window = 2.0;
    }
}
