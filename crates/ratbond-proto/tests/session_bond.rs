//! A sealed session over simulated WANs: what users would see, in virtual time.

use std::time::Duration;

use proptest::prelude::*;
use ratbond_netem::{Distribution, Jitter, LinkConfig, Reordering};
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_proto::{DownReason, Event, Peer, Role};
use ratbond_sim::exchange::{
    FLOWS, assert_complete_and_in_order, assert_nothing_lost, exchange, missing, ms, queue_drops,
};
use ratbond_sim::pair::{Pair, bond, packet, plain_link, sequences};

fn two_links(seed: u64) -> Pair {
    let mut pair = Pair::bond(SchedulerKind::Consistent, &[plain_link(), plain_link()], seed);
    pair.connect();
    pair
}

fn lossy(loss: f64) -> LinkConfig {
    LinkConfig { loss, ..plain_link() }
}

/// A UDP packet every 5 ms in 8 flows towards the server for 2 s; `trouble` comes in the middle. Returns the longest time
/// that a packet took: no flow was silent for longer than that less the way of 10 ms.
fn longest_way(pair: &mut Pair, trouble: impl FnOnce(&mut Pair)) -> Duration {
    let start = pair.now;
    let sent_at = |sequence: u32| start + ms(5) * sequence;
    let stream = |pair: &mut Pair, sequences: std::ops::Range<u32>| {
        for sequence in sequences {
            pair.client_sends(&packet((sequence % 8) as u16 * 2 + 1, sequence, 172));
            pair.run_until(sent_at(sequence + 1));
        }
    };
    stream(pair, 0..200);
    trouble(pair);
    stream(pair, 200..400);
    pair.run_for(Duration::from_secs(1));
    let mut arrived: Vec<_> = sequences(&pair.server.delivered).into_values().flatten().collect();
    arrived.sort_unstable();
    assert_eq!(arrived, (0..400).collect::<Vec<_>>(), "lost or doubled");
    let way = |(at, bytes): &(ratbond_proto::Time, Vec<u8>)| {
        *at - sent_at(u32::from_be_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]))
    };
    pair.server.delivered.iter().map(way).max().unwrap_or_default()
}

#[test]
fn every_wan_joins_one_session_and_both_ends_know_it() {
    let mut pair = two_links(1);
    pair.run_for(ms(100));
    for end in [&pair.client, &pair.server] {
        assert!(end.saw(|event| *event == Event::SessionUp(Peer::Ratbond)));
        assert_eq!(end.events.iter().filter(|(_, event)| matches!(event.event, Event::WanUp(_))).count(), 2);
        assert_eq!(end.endpoint.reports().len(), 1);
    }
}

#[test]
fn on_clean_links_every_packet_arrives_once_and_in_order() {
    let mut pair = two_links(2);
    exchange(&mut pair, 0, 300, ms(5));
    pair.run_for(ms(500));
    assert_complete_and_in_order(&pair, 300);
}

#[test]
fn loss_up_to_a_third_costs_no_packet_and_doubles_none() {
    for (seed, loss) in [(3, 0.01), (4, 0.1), (5, 0.3)] {
        let mut pair = Pair::bond(SchedulerKind::Consistent, &[lossy(loss), plain_link()], seed);
        pair.connect();
        exchange(&mut pair, 0, 200, ms(10));
        pair.run_for(Duration::from_secs(5));
        assert_eq!(assert_nothing_lost(&pair, 200), 0);
    }
}

#[test]
fn reordering_duplication_and_jitter_cost_no_packet_and_double_none() {
    let rough = LinkConfig {
        jitter: Jitter { distribution: Distribution::Normal, size_ns: 4_000_000, reorders: true },
        reordering: Some(Reordering { probability: 0.05, held_back_ns: 15_000_000 }),
        duplication: 0.05,
        loss: 0.02,
        ..plain_link()
    };
    let mut pair = Pair::bond(SchedulerKind::Consistent, &[rough.clone(), rough], 6);
    pair.connect();
    exchange(&mut pair, 0, 300, ms(5));
    pair.run_for(Duration::from_secs(5));
    assert_eq!(assert_nothing_lost(&pair, 300), 0);
}

#[test]
fn round_robin_spreads_one_flow_evenly_and_keeps_its_order() {
    let slow = LinkConfig { delay_ns: 35_000_000, ..plain_link() };
    let mut pair = Pair::bond(SchedulerKind::RoundRobin, &[plain_link(), slow], 8);
    pair.connect();
    pair.run_for(ms(500));
    for sequence in 0..200 {
        pair.client_sends(&packet(0, sequence, 600));
        pair.run_for(ms(2));
    }
    pair.run_for(ms(500));
    let links = pair.client.endpoint.reports().remove(0).links;
    assert_eq!(links.iter().map(|link| link.traffic.tx_packets).collect::<Vec<_>>(), [100, 100]);
    assert_eq!(sequences(&pair.server.delivered)[&0], (0..200).collect::<Vec<_>>());
}

#[test]
fn a_pulled_link_loses_no_packet_and_doubles_none() {
    for scheduler in [SchedulerKind::Consistent, SchedulerKind::RoundRobin, SchedulerKind::Adaptive] {
        let mut pair = Pair::bond(scheduler, &[plain_link(), plain_link()], 9);
        pair.connect();
        exchange(&mut pair, 0, 100, ms(5));
        pair.pull(0);
        exchange(&mut pair, 100, 100, ms(5));
        pair.run_for(Duration::from_secs(2));
        assert_complete_and_in_order(&pair, 200);
        assert!(pair.server.saw(|event| matches!(event, Event::WanDown(_, DownReason::Peer))));
        assert!(pair.client.saw(|event| matches!(event, Event::WanDown(_, DownReason::Local(_)))));
    }
}

#[test]
fn a_silently_dead_link_loses_no_packet_and_doubles_none() {
    for scheduler in [SchedulerKind::Consistent, SchedulerKind::RoundRobin, SchedulerKind::Adaptive] {
        let mut pair = Pair::bond(scheduler, &[plain_link(), plain_link()], 10);
        pair.connect();
        exchange(&mut pair, 0, 100, ms(5));
        pair.blackhole(1, true);
        exchange(&mut pair, 100, 400, ms(10));
        pair.run_for(Duration::from_secs(12));
        assert_complete_and_in_order(&pair, 500);
        for end in [&pair.client, &pair.server] {
            assert!(end.saw(|event| matches!(event, Event::WanSuspect(_))));
            assert!(end.saw(|event| matches!(event, Event::WanDown(..))));
        }
    }
}

#[test]
fn a_link_that_is_dead_one_way_only_is_noticed_too() {
    let mut pair = two_links(26);
    exchange(&mut pair, 0, 50, ms(5));
    pair.blackhole_up(1);
    exchange(&mut pair, 50, 200, ms(10));
    pair.run_for(Duration::from_secs(2));
    assert_complete_and_in_order(&pair, 250);
}

#[test]
fn a_blackholed_link_holds_up_no_packet_for_150_ms() {
    for index in [0, 1] {
        let way = longest_way(&mut two_links(20), |pair| pair.blackhole(index, true));
        assert!(way < ms(150), "{way:?}");
    }
}

#[test]
fn a_pulled_link_holds_up_no_packet_for_60_ms() {
    for index in [0, 1] {
        let way = longest_way(&mut two_links(21), |pair| pair.pull(index));
        assert!(way < ms(60), "{way:?}");
    }
}

#[test]
fn a_link_that_returns_takes_its_flows_back() {
    let mut pair = two_links(11);
    pair.blackhole(1, true);
    exchange(&mut pair, 0, 100, ms(150));
    pair.blackhole(1, false);
    pair.run_for(Duration::from_secs(5));
    exchange(&mut pair, 100, 100, ms(5));
    pair.run_for(Duration::from_secs(2));
    assert_complete_and_in_order(&pair, 200);
    let links = pair.client.endpoint.reports().remove(0).links;
    assert_eq!(links.len(), 2);
    assert!(links.iter().all(|link| link.traffic.tx_packets > 0), "a link lies idle: {links:?}");
}

#[test]
fn packets_wait_for_a_link_when_there_is_none() {
    let mut pair = Pair::bond(SchedulerKind::Consistent, &[plain_link()], 12);
    pair.client_sends(&packet(0, 0, 600));
    pair.connect();
    pair.run_for(ms(100));
    assert_eq!(pair.server.delivered.len(), 1);
}

#[test]
fn a_server_that_restarts_is_found_again_within_three_seconds() {
    for (seed, wait_ms) in [(13, 100), (14, 900), (15, 1_700)] {
        let mut pair = two_links(seed);
        pair.run_for(ms(wait_ms));
        pair.restart_server();
        pair.run_for(Duration::from_secs(3));
        assert!(
            pair.server.saw(|event| *event == Event::SessionUp(Peer::Ratbond)),
            "{:?}",
            pair.client.events
        );
        exchange(&mut pair, 0, 50, ms(5));
        pair.run_for(Duration::from_secs(2));
        assert_complete_and_in_order(&pair, 50);
    }
}

#[test]
fn a_server_that_was_away_for_long_is_found_again() {
    let mut pair = two_links(16);
    for index in [0, 1] {
        pair.blackhole(index, true);
    }
    pair.run_for(Duration::from_secs(60));
    assert!(pair.client.saw(|event| *event == Event::SessionDown));
    assert!(pair.server.saw(|event| *event == Event::SessionDown));
    pair.server.events.clear();
    for index in [0, 1] {
        pair.blackhole(index, false);
    }
    pair.run_for(Duration::from_secs(3));
    assert!(pair.server.saw(|event| *event == Event::SessionUp(Peer::Ratbond)));
    exchange(&mut pair, 0, 50, ms(5));
    pair.run_for(Duration::from_secs(2));
    assert_complete_and_in_order(&pair, 50);
}

#[test]
fn a_break_of_all_links_for_a_moment_ends_nothing() {
    for (seed, millis) in [(30, 100), (31, 500), (32, 3_000)] {
        let mut pair = two_links(seed);
        exchange(&mut pair, 0, 50, ms(5));
        for index in [0, 1] {
            pair.blackhole(index, true);
        }
        pair.run_for(ms(millis));
        for index in [0, 1] {
            pair.blackhole(index, false);
        }
        pair.run_for(Duration::from_secs(3));
        exchange(&mut pair, 50, 50, ms(5));
        pair.run_for(Duration::from_secs(2));
        assert_nothing_lost(&pair, 100);
        assert!(!pair.client.saw(|event| *event == Event::SessionDown));
        assert!(!pair.server.saw(|event| *event == Event::SessionDown));
    }
}

#[test]
fn a_client_that_restarts_replaces_its_older_session() {
    let mut pair = two_links(33);
    exchange(&mut pair, 0, 10, ms(5));
    pair.restart_client(bond(Role::Client, SchedulerKind::Consistent, 7, 99));
    pair.run_for(Duration::from_secs(2));
    assert!(pair.server.saw(|event| matches!(event, Event::WanDown(_, DownReason::Replaced))));
    assert_eq!(pair.server.endpoint.reports().len(), 1);
    assert_eq!(pair.server.endpoint.reports().remove(0).links.len(), 2);
}

#[test]
fn a_client_that_closes_tells_the_server_at_once() {
    let mut pair = two_links(17);
    pair.client_closes();
    pair.run_for(ms(100));
    assert!(pair.server.saw(|event| *event == Event::SessionDown), "{:?}", pair.server.events);
}

#[test]
fn an_idle_session_stays_up_and_says_little() {
    let mut pair = two_links(18);
    pair.run_for(Duration::from_secs(20));
    let sent = |pair: &Pair| pair.wans.iter().map(|wan| wan.up.stats().sent_packets).sum::<u64>();
    let before = sent(&pair);
    pair.run_for(Duration::from_secs(100));
    let datagrams = sent(&pair) - before;
    assert!(!pair.client.saw(|event| matches!(event, Event::WanDown(..) | Event::WanSuspect(_))));
    // Each way a PING every 20 s and an ACK for the peer's, on each of two links.
    assert!(datagrams <= 2 * (5 + 5) + 4, "{datagrams} datagrams in 100 s");
}

#[test]
fn a_session_renews_its_keys_while_it_carries_packets_and_loses_none() {
    let mut pair = Pair::bond(SchedulerKind::Consistent, &[lossy(0.05), lossy(0.05)], 34);
    pair.connect();
    exchange(&mut pair, 0, 1_300, ms(100));
    pair.run_for(Duration::from_secs(2));
    assert_eq!(assert_nothing_lost(&pair, 1_300), 0);
    assert!(pair.saw_key_phase(1), "no datagram of the second key epoch");
}

#[test]
fn a_client_with_another_secret_is_refused_in_words_and_harms_nobody() {
    let mut pair = two_links(19);
    exchange(&mut pair, 0, 20, ms(5));
    let mut stranger = bond(Role::Client, SchedulerKind::Consistent, 8, 50);
    pair.meet(&mut *stranger, Duration::from_secs(20));
    let refused = |event: &Event| matches!(event, Event::Refused(words) if words.contains("same secret"));
    assert!(pair.server.saw(refused), "{:?}", pair.server.events);
    let told = pair.server.events.iter().filter(|(_, event)| refused(&event.event)).count();
    assert!(told <= 3, "told {told} times in 20 s");
    assert!(stranger.reports().remove(0).links.is_empty());
    exchange(&mut pair, 20, 20, ms(5));
    pair.run_for(Duration::from_secs(1));
    assert_complete_and_in_order(&pair, 40);
}

#[test]
fn what_is_replayed_truncated_or_forged_changes_nothing() {
    let mut pair = two_links(22);
    pair.record();
    exchange(&mut pair, 0, 50, ms(5));
    pair.run_for(ms(200));
    let datagrams = pair.recorded();
    assert!(datagrams.len() > 100);
    pair.attack(&datagrams, |bytes, from_home| {
        let mut kinds = vec![bytes.to_vec()];
        if !from_home {
            kinds.push(bytes[..bytes.len() - 1].to_vec());
            kinds.extend((0..bytes.len().min(64)).map(|at| {
                let mut bent = bytes.to_vec();
                bent[at] ^= 1 << (at % 8);
                bent
            }));
        }
        kinds
    });
    exchange(&mut pair, 50, 50, ms(5));
    pair.run_for(Duration::from_secs(1));
    assert_complete_and_in_order(&pair, 100);
    for end in [&pair.client, &pair.server] {
        assert!(
            !end.saw(|event| matches!(event, Event::WanDown(..) | Event::SessionDown)),
            "{:?}",
            end.events
        );
    }
}

#[test]
fn a_recorded_handshake_that_is_repeated_takes_nothing_over() {
    let mut pair = Pair::bond(SchedulerKind::Consistent, &[plain_link(), plain_link()], 23);
    pair.record();
    pair.connect();
    let datagrams = pair.recorded();
    pair.run_for(Duration::from_secs(6));
    pair.attack(&datagrams, |bytes, _| vec![bytes.to_vec()]);
    pair.run_for(Duration::from_secs(15));
    exchange(&mut pair, 0, 50, ms(5));
    pair.run_for(Duration::from_secs(1));
    assert_complete_and_in_order(&pair, 50);
    assert!(!pair.server.saw(|event| matches!(event, Event::WanDown(..))), "{:?}", pair.server.events);
}

#[test]
fn a_client_that_moves_to_another_address_is_followed() {
    let mut pair = two_links(24);
    exchange(&mut pair, 0, 50, ms(5));
    pair.rebind_all();
    exchange(&mut pair, 50, 100, ms(5));
    pair.run_for(Duration::from_secs(2));
    assert_eq!(assert_nothing_lost(&pair, 150), 0);
    assert!(!pair.client.saw(|event| matches!(event, Event::WanDown(..))), "{:?}", pair.client.events);
}

#[test]
fn a_datagram_that_is_repeated_fresh_from_elsewhere_attracts_nothing() {
    let mut pair = two_links(25);
    pair.hijack(true);
    exchange(&mut pair, 0, 100, ms(5));
    pair.hijack(false);
    pair.run_for(Duration::from_secs(1));
    assert_complete_and_in_order(&pair, 100);
    assert!(pair.attracted_bytes() < 3 * pair.hijacked_bytes(), "{} bytes", pair.attracted_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever links do to datagrams, no packet is lost or doubled but those that our own queues drop.
    #[test]
    fn over_random_networks_nothing_is_lost_or_doubled(
        seed in 0..u64::MAX / 2,
        scheduler in prop::sample::select(vec![
            SchedulerKind::Consistent, SchedulerKind::RoundRobin, SchedulerKind::Adaptive,
        ]),
        links in prop::collection::vec(
            (0.0..0.25f64, 0.0..0.1f64, 0.0..0.1f64, 1u64..80, 0u64..10, 5u64..100), 1..4),
    ) {
        let links: Vec<_> = links
            .into_iter()
            .map(|(loss, duplication, reorder, delay_ms, jitter_ms, rate_mbps)| LinkConfig {
                loss,
                duplication,
                reordering: Some(Reordering { probability: reorder, held_back_ns: 20_000_000 }),
                delay_ns: delay_ms * 1_000_000,
                jitter: Jitter { distribution: Distribution::Uniform, size_ns: jitter_ms * 1_000_000, reorders: true },
                rate_bps: rate_mbps * 1_000_000,
                ..plain_link()
            })
            .collect();
        let mut pair = Pair::bond(scheduler, &links, seed);
        pair.connect();
        exchange(&mut pair, 0, 60, ms(40));
        pair.run_for(Duration::from_secs(10));
        prop_assert_eq!(missing(&pair, 60), queue_drops(&pair));
        let arrived = pair.client.delivered.len() + pair.server.delivered.len();
        let sent = 2 * 60 * usize::from(FLOWS);
        // A session that had to begin anew may give again what was under way.
        let steady = pair.server.events.iter().all(|(_, e)| !matches!(e.event, Event::WanDown(_, DownReason::Replaced)));
        if steady {
            prop_assert_eq!(arrived as u64 + queue_drops(&pair), sent as u64);
        }
    }
}
