//! Key epochs and session epochs over random networks: what is renewed or begun anew costs no packet and doubles none.

use std::time::Duration;

use proptest::prelude::*;
use ratbond_netem::{LinkConfig, Reordering};
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_proto::{Event, Role};
use ratbond_sim::exchange::{FLOWS, assert_complete_and_in_order, exchange, missing, ms, queue_drops};
use ratbond_sim::pair::{Pair, bond, plain_link};

/// Lossy both ways, doubling and reordering, but never so that a whole session is given up.
fn rough_link() -> impl Strategy<Value = LinkConfig> {
    (0.0..0.15f64, 0.0..0.1f64, 0.0..0.1f64, 1u64..60).prop_map(|(loss, duplication, reorder, delay_ms)| {
        LinkConfig {
            loss,
            duplication,
            reordering: Some(Reordering { probability: reorder, held_back_ns: 20_000_000 }),
            delay_ns: delay_ms * 1_000_000,
            ..plain_link()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Two renewals of the keys and more, with packets before, during and after each.
    #[test]
    fn keys_are_renewed_over_any_network_without_a_lost_or_doubled_packet(
        seed in 0..u64::MAX / 2,
        links in prop::collection::vec(rough_link(), 1..4),
    ) {
        let mut pair = Pair::bond(SchedulerKind::Consistent, &links, seed);
        pair.connect();
        exchange(&mut pair, 0, 700, ms(400));
        pair.run_for(Duration::from_secs(10));
        prop_assert_eq!(missing(&pair, 700), queue_drops(&pair));
        // When all links seem dead at once a new session begins with new keys, and may send again what had arrived (docs/wire.md).
        if !pair.client.saw(|event| matches!(event, Event::Reconnect(_))) {
            prop_assert!(pair.saw_key_phase(1) && pair.saw_key_phase(2), "the keys were not renewed twice");
            let arrived = pair.client.delivered.len() + pair.server.delivered.len();
            let sent = 2 * 700 * usize::from(FLOWS);
            prop_assert_eq!(arrived as u64 + queue_drops(&pair), sent as u64);
        }
    }

    /// Either end forgets everything, again and again, at any moment: the next session begins with empty buckets and
    /// windows, and carries each packet once and in order.
    #[test]
    fn a_new_session_owes_nothing_to_the_one_before(
        seed in 0..u64::MAX / 2,
        restarts in prop::collection::vec((any::<bool>(), 0u64..3_000), 1..4),
    ) {
        let mut pair = Pair::bond(SchedulerKind::Consistent, &[plain_link(), plain_link()], seed);
        pair.connect();
        for (count, (server, wait_ms)) in restarts.into_iter().enumerate() {
            exchange(&mut pair, 0, 20, ms(5));
            pair.run_for(ms(wait_ms));
            if server {
                pair.restart_server();
            } else {
                pair.restart_client(bond(Role::Client, SchedulerKind::Consistent, 7, 1_000 + count as u64));
            }
            pair.run_for(Duration::from_secs(5));
            pair.client.delivered.clear();
            pair.server.delivered.clear();
            exchange(&mut pair, 0, 20, ms(5));
            pair.run_for(Duration::from_secs(2));
            assert_complete_and_in_order(&pair, 20);
        }
    }
}
