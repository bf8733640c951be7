//! The next link for each packet, as stock ratbond's `--balance-roundrobin` does.

use super::{Candidate, Scheduler};
use crate::flow::Flow;

/// Alternates over the links, packet by packet; of a link of weight 3, three for one of another's. Flows arrive out of order
/// wherever links differ.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {
    /// By link: what it has been passed over for, in packets times the sum of weights.
    credits: Vec<(u32, i64)>,
}

impl Scheduler for RoundRobin {
    fn choose(&mut self, _flow: &Flow, candidates: &[Candidate]) -> Option<usize> {
        self.follow(candidates);
        for (credit, candidate) in self.credits.iter_mut().zip(candidates) {
            credit.1 += i64::from(candidate.weight);
        }
        // The last of equals, so that the turn goes round.
        let chosen = (0..candidates.len()).max_by_key(|&at| self.credits[at].1)?;
        self.credits[chosen].1 -= candidates.iter().map(|each| i64::from(each.weight)).sum::<i64>();
        Some(chosen)
    }
}

impl RoundRobin {
    /// Keeps the credits in the order of the candidates, and those of links that stay.
    fn follow(&mut self, candidates: &[Candidate]) {
        let same = self.credits.len() == candidates.len()
            && self.credits.iter().zip(candidates).all(|((key, _), candidate)| *key == candidate.key);
        if !same {
            self.credits = candidates.iter().map(|candidate| (candidate.key, 0)).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: Flow = Flow { pin: 1, queue: 1, tcp: true, dscp: 0 };

    fn link(key: u32, weight: u16) -> Candidate {
        Candidate { key, weight, position: 0 }
    }

    fn turns(scheduler: &mut RoundRobin, links: &[Candidate], count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| scheduler.choose(&FLOW, links)).collect()
    }

    #[test]
    fn packets_of_one_flow_alternate_over_all_links() {
        let links = [link(0, 1), link(1, 1), link(2, 1)];
        assert_eq!(turns(&mut RoundRobin::default(), &links, 6), [2, 1, 0, 2, 1, 0]);
    }

    #[test]
    fn a_link_of_weight_three_has_three_turns_of_four_and_never_four_in_a_row() {
        let turns = turns(&mut RoundRobin::default(), &[link(0, 3), link(1, 1)], 400);
        assert_eq!(turns.iter().filter(|&&turn| turn == 0).count(), 300);
        assert!(turns.windows(4).all(|four| four.contains(&1)));
    }

    #[test]
    fn a_link_that_left_is_not_chosen() {
        let mut scheduler = RoundRobin::default();
        assert_eq!(scheduler.choose(&FLOW, &[]), None);
        assert_eq!(scheduler.choose(&FLOW, &[link(7, 2)]), Some(0));
    }
}
