//! The next link for each packet, as stock ratbond's `--balance-roundrobin` does.

use super::{Candidate, Scheduler};
use crate::flow::Flow;

/// Alternates over the links, packet by packet. Flows arrive out of order wherever links differ.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {
    turn: usize,
}

impl Scheduler for RoundRobin {
    fn choose(&mut self, _flow: &Flow, candidates: &[Candidate]) -> Option<usize> {
        if candidates.is_empty() {
            return None;
        }
        self.turn = (self.turn + 1) % candidates.len();
        Some(self.turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: Flow = Flow { pin: 1, queue: 1, tcp: true, dscp: 0 };

    #[test]
    fn packets_of_one_flow_alternate_over_all_links() {
        let links: Vec<_> = (0..3).map(|key| Candidate { key }).collect();
        let mut scheduler = RoundRobin::default();
        let turns: Vec<_> = (0..6).filter_map(|_| scheduler.choose(&FLOW, &links)).collect();
        assert_eq!(turns, [1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_link_that_left_is_not_chosen() {
        let mut scheduler = RoundRobin::default();
        assert_eq!(scheduler.choose(&FLOW, &[]), None);
        assert_eq!(scheduler.choose(&FLOW, &[Candidate { key: 7 }]), Some(0));
    }
}
