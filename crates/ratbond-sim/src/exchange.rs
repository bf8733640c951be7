//! Numbered packets of many flows both ways over a [`Pair`], and what must have become of them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::pair::{End, Pair, packet, sequences};

/// How many flows there are each way.
pub const FLOWS: u16 = 12;

/// So many milliseconds.
#[must_use]
pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Sends `count` packets of each flow both ways, a round every `gap`.
pub fn exchange(pair: &mut Pair, first: u32, count: u32, gap: Duration) {
    for sequence in first..first + count {
        for flow in 0..FLOWS {
            pair.client_sends(&packet(flow, sequence, 600));
            pair.server_sends(&packet(flow, sequence, 600));
        }
        pair.run_for(gap);
    }
}

/// Every packet of every flow came out at both ends, once and in order.
///
/// # Panics
/// One did not.
pub fn assert_complete_and_in_order(pair: &Pair, count: u32) {
    for end in [&pair.client, &pair.server] {
        let flows = sequences(&end.delivered);
        assert_eq!(flows.len(), usize::from(FLOWS));
        for (flow, sequence) in flows {
            assert_eq!(sequence, (0..count).collect::<Vec<_>>(), "flow {flow}");
        }
    }
}

/// Every packet arrived; returns how many came more than once.
///
/// # Panics
/// One did not.
pub fn assert_nothing_lost(pair: &Pair, count: u32) -> usize {
    let mut copies = 0;
    for end in [&pair.client, &pair.server] {
        for (flow, mut sequence) in sequences(&end.delivered) {
            let arrived = sequence.len();
            sequence.sort_unstable();
            sequence.dedup();
            copies += arrived - sequence.len();
            assert_eq!(sequence, (0..count).collect::<Vec<_>>(), "flow {flow}");
        }
    }
    copies
}

/// Packets that never arrived, over all flows.
#[must_use]
pub fn missing(pair: &Pair, count: u32) -> u64 {
    let missing_of = |end: &End| {
        let flows = sequences(&end.delivered);
        let arrived: usize =
            flows.into_values().map(|flow| flow.into_iter().collect::<BTreeSet<_>>().len()).sum();
        u64::from(count) * u64::from(FLOWS) - arrived as u64
    };
    missing_of(&pair.client) + missing_of(&pair.server)
}

/// What our own queues dropped, on purpose.
#[must_use]
pub fn queue_drops(pair: &Pair) -> u64 {
    let sessions = [&pair.client, &pair.server].into_iter().flat_map(|end| end.endpoint.reports());
    sessions.map(|session| session.stats.queues.aqm_drops + session.stats.queues.overflow_drops).sum()
}
