//! The receiver's side of acknowledgement: which numbers arrived, and when to say so.
//!
//! An ACK is due after [`ACK_EVERY`] datagrams that ask for one, or after a quarter of the round trip, but no sooner than
//! 2 ms and no later than 5 ms, or at once when a gap opens (at most once a millisecond); it rides on whatever datagram
//! leaves first. Ranges are repeated in every ACK until the peer has acknowledged a datagram that carried them.

use std::time::Duration;

use super::frame::AckContent;
use super::frame::ack::MAX_RANGES;
use crate::Time;

/// Datagrams after which an ACK is due. With 1,400-byte datagrams the ACKs are 0.25 % of the bytes. Below 45 Mbit/s the
/// time is over first.
pub const ACK_EVERY: u32 = 20;
/// The longest that an ACK is held back. The peer allows for it in its probe timeout.
pub const MAX_ACK_DELAY: Duration = Duration::from_millis(5);
/// Sooner than this nobody is served by an ACK: over a round trip below 8 ms it would cost more than what it tells of.
pub const MIN_ACK_DELAY: Duration = Duration::from_millis(2);
/// The shortest time between two ACKs for new gaps.
pub const GAP_ACK_INTERVAL: Duration = Duration::from_millis(1);

/// What has arrived over one link, and when the peer must hear of it.
#[derive(Debug)]
pub struct AckState {
    /// Newest first, disjoint, not adjacent.
    ranges: Vec<(u64, u64)>,
    largest_at: Time,
    pending: u32,
    due: Option<Time>,
    max_delay: Duration,
    last_sent: Option<Time>,
}

impl Default for AckState {
    fn default() -> Self {
        Self {
            ranges: Vec::with_capacity(MAX_RANGES + 1),
            largest_at: Time::ZERO,
            pending: 0,
            due: None,
            max_delay: MAX_ACK_DELAY,
            last_sent: None,
        }
    }
}

impl AckState {
    /// Datagram `number` arrived (for the first time: the replay window has seen to that).
    pub fn on_received(&mut self, now: Time, number: u64, ack_eliciting: bool) {
        let opens_gap = self.insert(now, number);
        if !ack_eliciting {
            return;
        }
        self.pending += 1;
        let delay = if self.pending >= ACK_EVERY { Duration::ZERO } else { self.max_delay };
        let mut due = now + delay;
        if opens_gap {
            let earliest = self.last_sent.map_or(now, |sent| sent + GAP_ACK_INTERVAL);
            due = due.min(earliest.max(now));
        }
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// The round-trip time is `rtt`: holds ACKs back for a quarter of it, within bounds.
    pub fn on_rtt(&mut self, rtt: Duration) {
        self.max_delay = (rtt / 4).clamp(MIN_ACK_DELAY, MAX_ACK_DELAY);
    }

    /// When an ACK is due, if the peer waits for one.
    #[must_use]
    pub const fn due(&self) -> Option<Time> {
        self.due
    }

    /// Whether an ACK would tell the peer something that it waits for.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        self.due.is_some()
    }

    /// What an ACK sent now says; `None` before anything arrived.
    #[must_use]
    pub fn content(&self, now: Time) -> Option<AckContent<'_>> {
        (!self.ranges.is_empty()).then(|| AckContent {
            ranges: &self.ranges,
            received_at_us: wire_micros(self.largest_at),
            delay: now - self.largest_at,
        })
    }

    /// Largest number received.
    #[must_use]
    pub fn largest(&self) -> Option<u64> {
        self.ranges.first().map(|&(_, high)| high)
    }

    /// An ACK left. Returns the largest number it told of, to be kept with the datagram that carried it.
    pub fn on_sent(&mut self, now: Time) -> Option<u64> {
        self.pending = 0;
        self.due = None;
        self.last_sent = Some(now);
        self.largest()
    }

    /// The peer acknowledged a datagram that carried an ACK up to `largest`: nothing up to there is repeated, except
    /// that the newest number always is, as an ACK needs one.
    pub fn on_ack_acknowledged(&mut self, largest: u64) {
        while self.ranges.len() > 1 && self.ranges.last().is_some_and(|&(_, high)| high <= largest) {
            self.ranges.pop();
        }
        if let Some((low, high)) = self.ranges.last_mut() {
            *low = (*low).max(largest.saturating_add(1)).min(*high);
        }
    }

    /// Whether the ranges grow although nothing that this end sends is acknowledged: then an ACK should carry a PING.
    #[must_use]
    pub fn wants_ping(&self) -> bool {
        self.ranges.len() > MAX_RANGES / 2
    }

    /// Whether `number` opened a new gap, that is, came more than one after the largest so far.
    fn insert(&mut self, now: Time, number: u64) -> bool {
        let Some(first) = self.ranges.first_mut() else {
            self.ranges.push((number, number));
            self.largest_at = now;
            return false;
        };
        if number > first.1 {
            self.largest_at = now;
            let adjacent = number == first.1 + 1;
            if adjacent {
                first.1 = number;
            } else {
                self.ranges.insert(0, (number, number));
                self.ranges.truncate(MAX_RANGES);
            }
            return !adjacent;
        }
        self.insert_below(number);
        false
    }

    /// At most 32 ranges are looked at: a bounded cost.
    fn insert_below(&mut self, number: u64) {
        let Some(at) = self.ranges.iter().position(|&(low, _)| number + 1 >= low) else {
            if self.ranges.len() < MAX_RANGES {
                self.ranges.push((number, number));
            }
            return;
        };
        let (low, high) = self.ranges[at];
        if number >= low && number <= high {
            return;
        }
        if number + 1 == low {
            self.ranges[at].0 = number;
            if self.ranges.get(at + 1).is_some_and(|&(_, below)| below + 1 == number) {
                self.ranges[at].0 = self.ranges[at + 1].0;
                self.ranges.remove(at + 1);
            }
        } else if number == high + 1 {
            // Cannot touch the range above: that one would have been found first.
            self.ranges[at].1 = number;
        } else {
            self.ranges.insert(at, (number, number));
            self.ranges.truncate(MAX_RANGES);
        }
    }
}

/// A time as ACKs carry it: µs modulo 2^32.
#[must_use]
pub const fn wire_micros(time: Time) -> u32 {
    time.as_micros() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    #[test]
    fn an_ack_waits_for_a_quarter_of_the_round_trip_within_bounds() {
        for (rtt_us, delay_us) in
            [(200, 2_000), (8_000, 2_000), (12_000, 3_000), (20_000, 5_000), (90_000, 5_000)]
        {
            let mut acks = AckState::default();
            acks.on_rtt(Duration::from_micros(rtt_us));
            acks.on_received(at(100), 0, true);
            assert_eq!(acks.due(), Some(at(100 + delay_us)), "a round trip of {rtt_us} us");
        }
    }

    #[test]
    fn the_twentieth_datagram_is_acknowledged_at_once_and_one_alone_after_the_delay() {
        let mut acks = AckState::default();
        acks.on_rtt(Duration::from_millis(12));
        acks.on_received(at(100), 0, true);
        assert_eq!(acks.due(), Some(at(3_100)));
        for number in 1..19 {
            acks.on_received(at(200), number, true);
        }
        assert_eq!(acks.due(), Some(at(3_100)));
        acks.on_received(at(200), 19, true);
        assert_eq!(acks.due(), Some(at(200)));
        assert_eq!(acks.on_sent(at(200)), Some(19));
        assert_eq!(acks.due(), None);
    }

    #[test]
    fn what_asks_for_no_ack_gets_none_but_is_listed_in_the_next() {
        let mut acks = AckState::default();
        acks.on_received(at(0), 0, false);
        assert!(!acks.is_pending());
        acks.on_received(at(0), 1, true);
        assert_eq!(acks.content(at(0)).unwrap().ranges, [(0, 1)]);
    }

    #[test]
    fn a_gap_is_told_at_once_but_at_most_once_a_millisecond() {
        let mut acks = AckState::default();
        acks.on_received(at(0), 0, true);
        acks.on_received(at(10), 2, true);
        assert_eq!(acks.due(), Some(at(10)));
        acks.on_sent(at(10));
        acks.on_received(at(300), 4, true);
        assert_eq!(acks.due(), Some(at(1_010)));
    }

    #[test]
    fn the_content_says_when_the_largest_arrived() {
        let mut acks = AckState::default();
        acks.on_received(at(5_000_000_000), 7, true);
        acks.on_received(at(5_000_000_100), 3, true);
        let content = acks.content(at(5_000_000_900)).unwrap();
        assert_eq!(content.received_at_us, 705_032_704, "modulo 2^32");
        assert_eq!(content.delay, Duration::from_micros(900));
        assert_eq!(content.ranges, [(7, 7), (3, 3)]);
    }

    #[test]
    fn what_the_peer_knows_is_not_repeated() {
        let mut acks = AckState::default();
        for number in [0, 1, 5, 6, 9] {
            acks.on_received(at(0), number, true);
        }
        acks.on_ack_acknowledged(5);
        assert_eq!(acks.content(at(0)).unwrap().ranges, [(9, 9), (6, 6)]);
        acks.on_ack_acknowledged(9);
        assert_eq!(acks.content(at(0)).unwrap().ranges, [(9, 9)]);
    }

    proptest! {
        #[test]
        fn ranges_agree_with_a_set_of_numbers(numbers in prop::collection::vec(0u64..120, 1..200)) {
            let mut acks = AckState::default();
            let mut all = BTreeSet::new();
            let mut forgotten_up_to = None;
            for number in numbers {
                if !all.insert(number) {
                    continue; // The replay window lets no number through twice.
                }
                acks.on_received(at(0), number, true);
                let ranges = acks.content(at(0)).unwrap().ranges.to_vec();
                prop_assert!(ranges.len() <= MAX_RANGES);
                prop_assert!(ranges.windows(2).all(|w| w[0].0 > w[1].1 + 1), "apart and descending: {:?}", ranges);
                let told: BTreeSet<u64> = ranges.iter().flat_map(|&(low, high)| low..=high).collect();
                prop_assert!(told.is_subset(&all));
                let missing = all.difference(&told).max().copied();
                if missing > forgotten_up_to {
                    prop_assert_eq!(ranges.len(), MAX_RANGES, "forgets only when full");
                    prop_assert!(missing < told.first().copied(), "forgets only at the old end");
                    forgotten_up_to = missing;
                }
            }
        }
    }
}
