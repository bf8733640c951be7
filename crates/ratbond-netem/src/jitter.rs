//! How the delay varies from packet to packet.

use crate::config::{Distribution, Jitter};
use crate::rng::Rng;

/// Knots of the wandering delay lie this many jitter sizes apart. At four, an even draw falls at most half a second per
/// second, so that the line between two knots brings no packet before the one in front of it.
const KNOT_SPACING_SIZES: u64 = 4;

/// The wandering delay: a straight line from one drawn value to the next.
#[derive(Clone, Debug)]
pub(crate) struct Wander {
    rng: Rng,
    from: Knot,
    to: Knot,
}

#[derive(Clone, Copy, Debug, Default)]
struct Knot {
    at_ns: u64,
    offset_ns: f64,
}

impl Wander {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, from: Knot::default(), to: Knot::default() }
    }

    /// Forgets the line, after a change of the configuration.
    pub(crate) fn restart(&mut self) {
        self.to = Knot::default();
    }

    /// The delay of a packet that goes on the wire at `at_ns`, which never runs backwards.
    pub(crate) fn delay_ns(&mut self, jitter: Jitter, delay_ns: u64, at_ns: u64) -> u64 {
        if jitter.size_ns == 0 {
            return delay_ns;
        }
        let offset_ns =
            if jitter.reorders { draw(&mut self.rng, jitter) } else { self.offset_ns(jitter, at_ns) };
        (delay_ns as f64 + offset_ns).max(0.0) as u64
    }

    fn offset_ns(&mut self, jitter: Jitter, at_ns: u64) -> f64 {
        let spacing_ns = jitter.size_ns.saturating_mul(KNOT_SPACING_SIZES);
        if at_ns >= self.to.at_ns.saturating_add(spacing_ns) {
            // Idle for longer than a whole line: begin anew here.
            self.from = Knot { at_ns, offset_ns: draw(&mut self.rng, jitter) };
            self.to = self.knot_after(self.from, spacing_ns, jitter);
        } else if at_ns >= self.to.at_ns {
            self.from = self.to;
            self.to = self.knot_after(self.from, spacing_ns, jitter);
        }
        let share = (at_ns - self.from.at_ns) as f64 / (self.to.at_ns - self.from.at_ns) as f64;
        self.from.offset_ns + share * (self.to.offset_ns - self.from.offset_ns)
    }

    fn knot_after(&mut self, knot: Knot, spacing_ns: u64, jitter: Jitter) -> Knot {
        Knot { at_ns: knot.at_ns.saturating_add(spacing_ns), offset_ns: draw(&mut self.rng, jitter) }
    }
}

/// One value of the distribution, in nanoseconds.
fn draw(rng: &mut Rng, jitter: Jitter) -> f64 {
    let size_ns = jitter.size_ns as f64;
    let even = |rng: &mut Rng| 2.0 * rng.unit() - 1.0;
    match jitter.distribution {
        Distribution::Uniform => size_ns * even(rng),
        Distribution::Normal => {
            let sum: f64 = (0..4).map(|_| even(rng)).sum();
            size_ns * sum * (3.0_f64.sqrt() / 2.0) // four even draws have a variance of 4/3
        }
        Distribution::Exponential => size_ns * (-(1.0 - rng.unit()).ln()).min(8.0),
    }
}
