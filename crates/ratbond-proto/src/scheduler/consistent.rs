//! Rendezvous hashing (Thaler and Ravishankar, 1998): a flow goes to the link with the highest score of (flow, link).
//!
//! When a link leaves, only its own flows move; when it returns, only they return; the spread is even. Stock
//! ratbond's hash ring keeps the first two promises and breaks the third.

use super::{Candidate, Scheduler};
use crate::flow::{Flow, mix};

/// Pins each flow to a link, the same one in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Consistent;

impl Scheduler for Consistent {
    fn choose(&mut self, flow: &Flow, candidates: &[Candidate]) -> Option<usize> {
        let hash = |candidate: &Candidate| mix(flow.pin ^ mix(u64::from(candidate.key)));
        let weights = || candidates.iter().map(|candidate| candidate.weight);
        let best = if weights().max() == weights().min() {
            candidates.iter().enumerate().max_by_key(|(_, candidate)| hash(candidate))
        } else {
            let score = |candidate: &Candidate| weighted(hash(candidate), candidate.weight);
            candidates.iter().enumerate().max_by(|(_, one), (_, other)| score(one).total_cmp(&score(other)))
        };
        best.map(|(position, _)| position)
    }
}

/// The logarithmic method for weighted rendezvous hashing: a link's share is its weight's, and another link's weight moves
/// only flows to or from that one.
fn weighted(hash: u64, weight: u16) -> f64 {
    let uniform = (hash as f64 + 1.0) / 2f64.powi(64);
    f64::from(weight) / -uniform.min(1.0 - f64::EPSILON).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows() -> impl Iterator<Item = Flow> {
        (0..1000).map(|n| Flow { pin: mix(n), queue: 0, tcp: true, dscp: 0 })
    }

    fn links(keys: &[u32]) -> Vec<Candidate> {
        keys.iter().map(|&key| Candidate { key, weight: 1, position: 0 }).collect()
    }

    fn key_for(flow: &Flow, links: &[Candidate]) -> u32 {
        links[Consistent.choose(flow, links).unwrap()].key
    }

    #[test]
    fn a_thousand_flows_spread_within_a_tenth_of_even() {
        for tunnel_id in [10, 660, 990] {
            let links = links(&[tunnel_id, tunnel_id + 1]);
            let first = flows().filter(|flow| key_for(flow, &links) == tunnel_id).count();
            assert!((450..=550).contains(&first), "{first} of 1000 flows took the first link of {tunnel_id}");
        }
    }

    #[test]
    fn only_the_flows_of_a_link_that_left_move_and_only_they_return() {
        let (all, fewer) = (links(&[660, 661, 662]), links(&[660, 662]));
        for flow in flows() {
            let before = key_for(&flow, &all);
            let without = key_for(&flow, &fewer);
            assert!(before == 661 || before == without);
            assert_eq!(key_for(&flow, &all), before);
        }
    }

    #[test]
    fn a_link_of_weight_three_gets_three_of_four_flows_and_a_new_weight_moves_flows_to_it_only() {
        let even = links(&[660, 661]);
        let mut uneven = even.clone();
        uneven[0].weight = 3;
        let first = flows().filter(|flow| key_for(flow, &uneven) == 660).count();
        assert!((700..=800).contains(&first), "{first} of 1000 flows took the link of weight 3");
        assert!(flows().all(|flow| key_for(&flow, &even) == 661 || key_for(&flow, &uneven) == 660));
    }

    #[test]
    fn the_order_in_which_links_joined_does_not_matter() {
        let (one_way, other_way) = (links(&[660, 661, 662]), links(&[662, 660, 661]));
        assert!(flows().all(|flow| key_for(&flow, &one_way) == key_for(&flow, &other_way)));
    }
}
