//! Which packets the wire loses.

use crate::config::LinkConfig;
use crate::rng::Rng;

/// Independent loss and the Gilbert-Elliott chain, each with its own draws.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    independent: Rng,
    bursty: Rng,
    in_burst: bool,
}

impl Loss {
    pub(crate) fn new(independent: Rng, bursty: Rng) -> Self {
        Self { independent, bursty, in_burst: false }
    }

    /// Decides one packet, and steps the chain.
    pub(crate) fn takes(&mut self, config: &LinkConfig) -> bool {
        let lost_alone = self.independent.chance(config.loss);
        let Some(bursts) = config.bursts else {
            self.in_burst = false;
            return lost_alone;
        };
        let turns = if self.in_burst { bursts.leave } else { bursts.enter };
        self.in_burst ^= self.bursty.chance(turns);
        let lost_in_burst = self.in_burst && self.bursty.chance(bursts.loss_in_bad);
        lost_alone || lost_in_burst
    }
}
