//! Earliest arrival: a packet goes where it will be at the other end first, and is not bound to a link before it leaves.
//!
//! When a link has room it asks whether the packet at the head of the queue should go over it:
//!
//! - A packet of a backlog may take a link that is not the first to deliver it only if the backlog is so long that the
//!   faster links could not have delivered all of it by the time this packet arrives (the reasoning of ECF, Lim et al. 2017,
//!   and BLEST, Ferlin et al. 2016). Otherwise it would only be waited for.
//! - A packet of a sparse flow waits for the one link that delivers soonest. That link stays the same while no other is
//!   clearly better, so that such a flow is not put out of order.

use std::time::Duration;

use crate::link::Outlook;
use crate::preference::Tier;

/// Another link takes over the sparse flows when it delivers earlier by this.
const CLEARLY_BETTER_US: i64 = 4_000;

/// A link that is not the first takes nothing more while so much waits on it, or half a round trip: it is busy, and a
/// longer queue would not make it faster. Less would keep it from showing that it is.
const MAX_SPILL_WAIT_US: u32 = 15_000;
/// A full window opens with the next acknowledgements, which come about this often; seldom later than twice that.
const WINDOW_OPENS_WITHIN_US: i64 = 10_000;
/// In a backlog each packet waits for those before it, so that beyond this share of lost packets nearly all wait for a repair.
const HOLDS_ALL: f64 = 0.05;
/// Beyond this share each round trip of a download is held up once or more.
const HOLDS_OFTEN: f64 = 0.01;
/// A loss is known a quarter of a round trip after the next acknowledgement (RFC 8985), and the repair takes half of one.
const REPAIR_RTTS: f64 = 1.25;

/// A secondary link counts as later than it is by this: what the primary links deliver in that time waits for them. Less, and
/// the swings of a TCP that one primary link satisfies would already spill.
const SECONDARY_LATER_US: i64 = 40_000;

/// See the module. Works on what the links of a session expect of themselves, in the session's order.
#[derive(Debug, Default)]
pub struct Adaptive {
    /// By link: arrival of a packet that leaves now, in µs after the earliest.
    arrivals_us: Vec<i64>,
    outlooks: Vec<Outlook>,
    /// Which link has the sparse flows, by name.
    favourite: Option<u32>,
}

impl Adaptive {
    /// Looks at the links anew: what they expect of themselves, and their names.
    pub fn look(&mut self, links: impl Iterator<Item = Outlook>) {
        self.outlooks.clear();
        self.outlooks.extend(links);
        let reference = self.outlooks.iter().find(|link| link.one_way_us.is_some()).copied();
        self.arrivals_us.clear();
        for link in &self.outlooks {
            let apart =
                reference.map_or(i64::from(link.min_rtt_us) / 2, |from| one_way_apart_us(link, &from));
            let later = if link.tier == Tier::Primary { 0 } else { SECONDARY_LATER_US };
            self.arrivals_us.push(apart + i64::from(link.wait_us) + later);
        }
        let earliest = self.usable().map(|at| self.arrivals_us[at]).min().unwrap_or_default();
        for arrival in &mut self.arrivals_us {
            *arrival -= earliest;
        }
        self.choose_favourite();
    }

    /// `bytes` were given to the link at `position`.
    pub fn on_given(&mut self, position: usize, bytes: usize) {
        let rate = self.outlooks[position].rate_bytes_per_s.max(1);
        self.arrivals_us[position] += (bytes as u64 * 1_000_000 / rate) as i64;
    }

    /// Whether the packet at the head of a backlog of `backlog_bytes` goes over the link at `position`.
    #[must_use]
    pub fn takes_bulk(&self, position: usize, backlog_bytes: usize) -> bool {
        let link = &self.outlooks[position];
        if !link.usable {
            return false;
        }
        if self.arrivals_us[position] > 0 && link.wait_us > MAX_SPILL_WAIT_US.max(link.min_rtt_us / 2) {
            return false;
        }
        let here = self.in_order_us(position);
        let by_then = |at: usize| {
            let lead_us = (here - self.in_order_us(at)).max(0) as u64;
            self.outlooks[at].delivered_bytes_per_s() * lead_us / 1_000_000
        };
        let elsewhere: u64 = self.usable().filter(|&at| at != position).map(by_then).sum();
        elsewhere <= backlog_bytes as u64
    }

    /// Whether the link at `position` may lose what it is given.
    #[must_use]
    pub fn may_lose(&self, position: usize) -> bool {
        self.outlooks[position].may_lose
    }

    /// Whether the link at `position` delivers a copy clearly before a repair of what the link `key` was given: that takes
    /// more than a round trip there, and half of one is worth a copy. Not over a link of a higher tier, which costs.
    #[must_use]
    pub fn takes_copies_of(&self, position: usize, key: u32) -> bool {
        let Some(first) = self.usable().find(|&at| self.outlooks[at].key == key && at != position) else {
            return false;
        };
        let later_us = self.arrivals_us[position] - self.arrivals_us[first];
        let as_cheap = self.outlooks[position].tier <= self.outlooks[first].tier;
        self.is_usable(position) && as_cheap && later_us < i64::from(self.outlooks[first].min_rtt_us) / 2
    }

    /// Whether sparse flows go over the link at `position`.
    #[must_use]
    pub fn takes_sparse(&self, position: usize) -> bool {
        self.favourite == Some(self.outlooks[position].key)
    }

    /// Whether what was lost goes over the link at `position`: it delivers soonest, or the one that would has to wait for its
    /// window.
    #[must_use]
    pub fn takes_repairs(&self, position: usize) -> bool {
        let closed_us = |at: usize| if self.outlooks[at].has_room { 0 } else { WINDOW_OPENS_WITHIN_US };
        self.usable().min_by_key(|&at| self.in_order_us(at) + closed_us(at)) == Some(position)
    }

    /// How much later the latest of the links delivers than the earliest, when nothing waits on any.
    #[must_use]
    pub fn spread(&self) -> Duration {
        let bare = |at: usize| self.in_order_us(at) - i64::from(self.outlooks[at].wait_us);
        let (least, most) = (self.usable().map(bare).min(), self.usable().map(bare).max());
        let spread_us = most.unwrap_or_default() - least.unwrap_or_default();
        Duration::from_micros(spread_us.unsigned_abs())
    }

    /// How long the loss of a packet holds up what follows it, on the link where that is longest.
    #[must_use]
    pub fn hold(&self) -> Duration {
        let most_us = self.usable().map(|at| self.held_us(at, HOLDS_OFTEN)).max().unwrap_or_default();
        Duration::from_micros(most_us.unsigned_abs())
    }

    /// What all links together carry.
    #[must_use]
    pub fn rate_bytes_per_s(&self) -> u64 {
        self.usable().map(|at| self.outlooks[at].rate_bytes_per_s).sum()
    }

    /// Whether the link at `position` may carry anything.
    #[must_use]
    pub fn is_usable(&self, position: usize) -> bool {
        self.outlooks.get(position).is_some_and(|link| link.usable)
    }

    /// The names of the links that may carry something.
    pub fn usable_keys(&self) -> impl Iterator<Item = u32> + Clone {
        self.outlooks.iter().filter(|link| link.usable).map(|link| link.key)
    }

    fn usable(&self) -> impl Iterator<Item = usize> {
        (0..self.outlooks.len()).filter(|&at| self.outlooks[at].usable)
    }

    /// Arrival of a packet of a backlog, with what it waits for repairs of others.
    fn in_order_us(&self, at: usize) -> i64 {
        self.arrivals_us[at] + self.held_us(at, HOLDS_ALL)
    }

    /// What a packet waits for the repairs of others: all of it when a share of `always` is lost.
    fn held_us(&self, at: usize, always: f64) -> i64 {
        let link = &self.outlooks[at];
        ((link.loss / always).min(1.0) * REPAIR_RTTS * f64::from(link.min_rtt_us)) as i64
    }

    /// Arrival with what a loss would cost, by how likely it is.
    fn surely_us(&self, at: usize) -> i64 {
        let link = &self.outlooks[at];
        self.arrivals_us[at] + (link.loss * 2.0 * f64::from(link.min_rtt_us)) as i64
    }

    fn choose_favourite(&mut self) {
        // Sparse flows carry little: they never make a dear link earn its price.
        let tier = self.usable().map(|at| self.outlooks[at].tier).min();
        let cheapest = || self.usable().filter(|&at| Some(self.outlooks[at].tier) == tier);
        let Some(best) = cheapest().min_by_key(|&at| self.surely_us(at)) else {
            self.favourite = None;
            return;
        };
        let known = self.favourite.and_then(|key| cheapest().find(|&at| self.outlooks[at].key == key));
        let stays = known.is_some_and(|at| self.surely_us(at) <= self.surely_us(best) + CLEARLY_BETTER_US);
        if !stays {
            self.favourite = Some(self.outlooks[best].key);
        }
    }
}

/// How much longer the way over one link takes than over another. The offset of the two ends' clocks is in both.
fn one_way_apart_us(link: &Outlook, from: &Outlook) -> i64 {
    match (link.one_way_us, from.one_way_us) {
        (Some(one), Some(other)) => i64::from(one.wrapping_sub(other).cast_signed()),
        // Before the first word of the peer's clock: half of what the round trips differ by.
        _ => (i64::from(link.min_rtt_us) - i64::from(from.min_rtt_us)) / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 8 Mbit/s are 1,000 bytes a millisecond.
    fn link(key: u32, one_way_ms: u32, mbps: u64) -> Outlook {
        Outlook {
            key,
            usable: true,
            tier: Tier::Primary,
            has_room: true,
            one_way_us: Some(one_way_ms * 1_000),
            min_rtt_us: 2_000 * one_way_ms,
            wait_us: 0,
            rate_bytes_per_s: mbps * 125_000,
            loss: 0.0,
            may_lose: false,
        }
    }

    fn looking_at(links: &[Outlook]) -> Adaptive {
        let mut adaptive = Adaptive::default();
        adaptive.look(links.iter().copied());
        adaptive
    }

    #[test]
    fn a_slower_link_is_taken_once_the_backlog_outlasts_the_difference() {
        let adaptive = looking_at(&[link(1, 10, 80), link(2, 30, 8)]);
        assert!(adaptive.takes_bulk(0, 1_400));
        assert!(!adaptive.takes_bulk(1, 199_000), "the faster link delivers 200,000 bytes in 20 ms");
        assert!(adaptive.takes_bulk(1, 201_000));
    }

    #[test]
    fn a_link_with_a_queue_of_its_own_is_a_late_one() {
        let full = Outlook { wait_us: 15_000, ..link(1, 10, 80) };
        let adaptive = looking_at(&[full, link(2, 20, 8)]);
        assert!(adaptive.takes_bulk(1, 1_400), "it delivers first");
        assert!(!adaptive.takes_bulk(0, 1_400), "5 ms at 1,000 bytes a millisecond");
        assert!(adaptive.takes_bulk(0, 5_001));
    }

    #[test]
    fn the_clock_of_the_peer_may_be_anything_and_wrap() {
        let shifted = |key, one_way_ms: u32| Outlook {
            one_way_us: Some((one_way_ms * 1_000).wrapping_sub(12_000)),
            ..link(key, one_way_ms, 80)
        };
        let adaptive = looking_at(&[shifted(1, 10), shifted(2, 30)]);
        assert_eq!(adaptive.spread(), Duration::from_millis(20));
        assert!(!adaptive.takes_bulk(1, 199_000));
        assert!(adaptive.takes_bulk(1, 201_000));
    }

    #[test]
    fn sparse_flows_stay_on_the_best_link_until_another_is_clearly_better() {
        let mut adaptive = looking_at(&[link(1, 10, 80), link(2, 12, 80)]);
        assert!(adaptive.takes_sparse(0) && !adaptive.takes_sparse(1));
        adaptive.look([Outlook { wait_us: 5_000, ..link(1, 10, 80) }, link(2, 12, 80)].into_iter());
        assert!(adaptive.takes_sparse(0), "3 ms are not worth a change");
        adaptive.look([Outlook { wait_us: 9_000, ..link(1, 10, 80) }, link(2, 12, 80)].into_iter());
        assert!(adaptive.takes_sparse(1) && !adaptive.takes_sparse(0));
        adaptive.look([link(1, 10, 80), link(2, 12, 80)].into_iter());
        assert!(adaptive.takes_sparse(1));
    }

    #[test]
    fn neither_sparse_flows_nor_repairs_take_a_lossy_link_when_there_is_another() {
        let lossy = Outlook { loss: 0.2, ..link(1, 10, 80) };
        let adaptive = looking_at(&[lossy, link(2, 12, 8)]);
        assert!(adaptive.takes_sparse(1) && adaptive.takes_repairs(1) && !adaptive.takes_repairs(0));
    }

    #[test]
    fn repairs_do_not_wait_long_for_a_link_without_room() {
        let full = Outlook { has_room: false, ..link(1, 10, 80) };
        assert!(looking_at(&[full, link(2, 18, 8)]).takes_repairs(1));
        assert!(looking_at(&[full, link(2, 30, 8)]).takes_repairs(0), "20 ms later");
    }

    #[test]
    fn a_copy_takes_a_link_that_is_not_much_slower() {
        let adaptive = looking_at(&[link(1, 10, 80), link(2, 15, 8), link(3, 21, 8)]);
        assert!(adaptive.takes_copies_of(1, 1) && !adaptive.takes_copies_of(2, 1));
        assert!(adaptive.takes_copies_of(0, 3), "a faster one");
        let metered = Outlook { tier: Tier::Secondary, ..link(2, 10, 8) };
        let far = looking_at(&[link(1, 150, 80), metered]);
        assert!(!far.takes_copies_of(1, 1), "a higher tier");
        assert!(!adaptive.takes_copies_of(0, 1), "its own");
        assert!(!adaptive.takes_copies_of(0, 4), "nobody's");
    }

    #[test]
    fn a_secondary_link_gets_no_sparse_flow_and_of_a_backlog_only_what_the_primary_does_not_deliver_soon() {
        let secondary = Outlook { tier: Tier::Secondary, ..link(2, 10, 8) };
        let busy = Outlook { wait_us: 60_000, ..link(1, 10, 80) };
        let adaptive = looking_at(&[busy, secondary]);
        assert!(adaptive.takes_sparse(0) && !adaptive.takes_sparse(1), "though it would be 60 ms earlier");
        let adaptive = looking_at(&[link(1, 10, 80), secondary]);
        assert!(!adaptive.takes_bulk(1, 399_000), "the primary link delivers 400,000 bytes in 40 ms");
        assert!(adaptive.takes_bulk(1, 401_000));
        assert_eq!(adaptive.spread(), Duration::from_millis(40), "so much of a queue has to stand");
    }

    #[test]
    fn a_link_that_may_not_be_used_counts_for_nothing() {
        let suspect = Outlook { usable: false, ..link(1, 10, 80) };
        let adaptive = looking_at(&[suspect, link(2, 30, 8)]);
        assert!(adaptive.takes_bulk(1, 1_400) && !adaptive.takes_bulk(0, 1 << 30));
        assert!(adaptive.takes_sparse(1));
        assert_eq!(adaptive.spread(), Duration::ZERO);
    }
}
