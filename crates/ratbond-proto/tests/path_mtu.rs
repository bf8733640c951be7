//! What a path carries is found, followed when it changes, and kept by the packets inside: sealed links in virtual time.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use ratbond_netem::LinkConfig;
use ratbond_proto::bond::link::path_mtu::PathMtuState;
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_proto::session::SessionStats;
use ratbond_proto::{Event, Role};
use ratbond_sim::exchange::ms;
use ratbond_sim::pair::{End, Pair, packet, plain_link, sequence_of};

/// Around a full packet: IPv4, UDP, and what seals it.
const AROUND: usize = 58;
const ICMP: u8 = 1;

fn narrow(mtu_bytes: u32) -> LinkConfig {
    LinkConfig { mtu_bytes, ..plain_link() }
}

fn connected(scheduler: SchedulerKind, mtus: &[u32], seed: u64) -> Pair {
    let links: Vec<_> = mtus.iter().map(|&mtu| narrow(mtu)).collect();
    let mut pair = Pair::bond(scheduler, &links, seed);
    pair.connect();
    pair
}

fn path_mtus(end: &End) -> Vec<(usize, PathMtuState)> {
    let mut links = end.endpoint.reports().remove(0).links;
    links.sort_by_key(|link| link.key);
    links.iter().map(|link| (link.stats.path_mtu, link.stats.path_mtu_state)).collect()
}

fn stats(end: &End) -> SessionStats {
    end.endpoint.reports().remove(0).stats
}

fn inner_mtus(end: &End) -> Vec<u16> {
    let told = |event: &Event| if let Event::InnerMtu(len) = event { Some(*len) } else { None };
    end.events.iter().filter_map(|(_, event)| told(&event.event)).collect()
}

/// Packets that forbid fragmentation, as nearly all do.
fn whole(flow: u16, sequence: u32, len: usize) -> Vec<u8> {
    let mut packet = packet(flow, sequence, len);
    packet[6] = 0x40;
    packet
}

/// Sequences that arrived, and what senders were told: sequence of the packet that was too long, and the size that fits.
fn arrived_and_refused(pair: &Pair) -> (BTreeSet<u32>, Vec<(u32, usize)>) {
    let arrived = pair.server.delivered.iter().map(|(_, packet)| sequence_of(packet)).collect();
    let answers = pair.client.delivered.iter().filter(|(_, packet)| packet[9] == ICMP);
    let refused = answers.map(|(_, answer)| {
        (sequence_of(&answer[28..]), usize::from(u16::from_be_bytes([answer[26], answer[27]])))
    });
    (arrived, refused.collect())
}

/// Answers to packets that are too long which may be given at once.
const ANSWERS_AT_ONCE: usize = 50;

/// A packet each 5 ms from the client, of `len` bytes or what it has been told fits, with `trouble` after 100 of 300. Whatever
/// did not arrive has been refused, and its sender was told unless it had just been told that often already; returns how many
/// answers that were, and of how many packets nobody was told.
fn lost_to_a_shrinking_path(pair: &mut Pair, len: usize, trouble: impl FnOnce(&mut Pair)) -> (usize, usize) {
    let mut trouble = Some(trouble);
    for sequence in 0..300 {
        if sequence == 100
            && let Some(trouble) = trouble.take()
        {
            trouble(pair);
        }
        let (_, refused) = arrived_and_refused(pair);
        let fits = refused.iter().map(|&(_, fits)| fits).min().unwrap_or(len);
        pair.client_sends(&whole(1, sequence, fits.min(len)));
        pair.run_for(ms(5));
    }
    pair.run_for(Duration::from_secs(3));
    let (arrived, refused) = arrived_and_refused(pair);
    let refused: BTreeSet<u32> = refused.into_iter().map(|(sequence, _)| sequence).collect();
    let answered = &arrived | &refused;
    let missing: Vec<_> = (0..300).filter(|sequence| !answered.contains(sequence)).collect();
    let SessionStats { too_big_packets, too_big_answers, .. } = stats(&pair.client);
    assert_eq!(
        missing.len() as u64,
        too_big_packets - too_big_answers,
        "neither arrived nor refused: {missing:?}"
    );
    assert!(
        missing.is_empty() || refused.len() >= ANSWERS_AT_ONCE,
        "not told of {missing:?}, only of {refused:?}"
    );
    assert_eq!(arrived.len(), pair.server.delivered.len(), "doubled");
    (refused.len(), missing.len())
}

#[test]
fn each_link_finds_what_its_path_carries_within_a_second() {
    let mut pair = connected(SchedulerKind::Adaptive, &[1_492, 1_420], 1);
    pair.run_for(Duration::from_secs(1));
    for end in [&pair.client, &pair.server] {
        let found = [(1_492, PathMtuState::Complete), (1_420, PathMtuState::Complete)];
        assert_eq!(path_mtus(end), found);
        assert_eq!((stats(end).inner_mtu, inner_mtus(end)), (1_420 - AROUND, vec![1_420 - 58]));
    }
}

#[test]
fn on_ethernet_all_of_it_is_used_once_nothing_speaks_against_it() {
    let mut pair = connected(SchedulerKind::Adaptive, &[1_500, 0], 2);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(path_mtus(&pair.client)[0], (1_500, PathMtuState::Complete));
    assert_eq!(stats(&pair.client).inner_mtu, 1_400);
    pair.run_for(Duration::from_secs(5));
    for end in [&pair.client, &pair.server] {
        assert_eq!(inner_mtus(end), [1_442]);
    }
}

#[test]
fn a_size_that_nobody_thought_of_is_found_to_within_eight_bytes() {
    for mtu in [1_300, 1_372, 1_436, 1_473] {
        let mut pair = connected(SchedulerKind::Adaptive, &[mtu], u64::from(mtu));
        pair.run_for(Duration::from_secs(2));
        let (found, state) = path_mtus(&pair.client)[0];
        assert!(found <= mtu as usize && found + 8 > mtu as usize, "{found} for {mtu}");
        assert_eq!(state, PathMtuState::Complete);
    }
}

#[test]
fn a_path_that_shrinks_without_a_word_costs_what_a_router_would_refuse() {
    for scheduler in [SchedulerKind::Adaptive, SchedulerKind::Consistent] {
        let mut pair = connected(scheduler, &[1_500], 3);
        let (refused, untold) = lost_to_a_shrinking_path(&mut pair, 1_400, |pair| {
            pair.reconfigure(0, |config| config.mtu_bytes = 1_420);
        });
        assert!((1..=50).contains(&refused) && untold == 0, "{refused}, {untold}");
        assert_eq!(path_mtus(&pair.client), [(1_420, PathMtuState::Complete)]);
        assert_eq!(inner_mtus(&pair.client).last(), Some(&1_362));
    }
}

#[test]
fn a_path_that_shrinks_beside_a_wide_one_costs_nothing() {
    for scheduler in [SchedulerKind::Adaptive, SchedulerKind::RoundRobin] {
        let mut pair = connected(scheduler, &[1_500, 1_500], 4);
        let (refused, untold) = lost_to_a_shrinking_path(&mut pair, 1_400, |pair| {
            pair.reconfigure(0, |config| config.mtu_bytes = 1_300);
        });
        assert_eq!((refused, untold), (0, 0));
        assert!(!pair.client.saw(|event| matches!(event, Event::WanDown(..))));
    }
}

#[test]
fn a_device_that_refuses_what_it_took_costs_what_a_router_would_refuse() {
    let mut pair = connected(SchedulerKind::Adaptive, &[0], 5);
    let (refused, untold) =
        lost_to_a_shrinking_path(&mut pair, 1_400, |pair| pair.wans[0].device_mtu = 1_420);
    assert!((1..=50).contains(&refused) && untold == 0, "{refused}, {untold}");
    assert_eq!(path_mtus(&pair.client), [(1_420, PathMtuState::Complete)]);
}

#[test]
fn a_packet_that_may_be_cut_arrives_in_pieces() {
    let mut pair = connected(SchedulerKind::Adaptive, &[1_420], 6);
    pair.run_for(Duration::from_secs(1));
    pair.client_sends(&packet(1, 7, 1_400));
    pair.run_for(ms(100));
    let pieces: Vec<_> = pair.server.delivered.iter().map(|(_, piece)| piece.len()).collect();
    assert_eq!(pieces, [1_356, 64], "1,336 and 44 bytes of payload");
    assert_eq!((stats(&pair.client).too_big_packets, stats(&pair.client).too_big_answers), (1, 0));
}

#[test]
fn answers_are_given_at_a_bounded_rate() {
    let mut pair = connected(SchedulerKind::Adaptive, &[1_420], 7);
    pair.run_for(Duration::from_secs(1));
    for sequence in 0..2_000 {
        pair.client_sends(&whole(1, sequence, 1_400));
        pair.run_for(ms(1));
    }
    let (arrived, refused) = arrived_and_refused(&pair);
    assert_eq!(arrived.len(), 0);
    assert!((240..=260).contains(&refused.len()), "{} answers in 2 s", refused.len());
    assert!(refused.iter().all(|&(_, fits)| fits == 1_362));
}

#[test]
fn a_path_that_widens_is_used_after_ten_minutes_of_use() {
    let mut pair = connected(SchedulerKind::Adaptive, &[1_420], 8);
    pair.run_for(Duration::from_secs(1));
    pair.reconfigure(0, |config| config.mtu_bytes = 1_500);
    for sequence in 0..700 {
        pair.client_sends(&packet(1, sequence, 500));
        pair.server_sends(&packet(1, sequence, 500));
        pair.run_for(Duration::from_secs(1));
    }
    for end in [&pair.client, &pair.server] {
        assert_eq!(path_mtus(end), [(1_500, PathMtuState::Complete)]);
        assert_eq!(inner_mtus(end), [1_362, 1_442]);
    }
}

#[test]
fn an_idle_path_is_not_searched_and_costs_less_than_50_mb_a_month() {
    let mut pair = connected(SchedulerKind::Adaptive, &[1_500, 1_420], 12);
    pair.run_for(Duration::from_secs(20));
    pair.reconfigure(1, |config| config.mtu_bytes = 1_500);
    let total = |pair: &Pair| pair.wans[1].up.stats().sent_bytes + pair.wans[1].down.stats().sent_bytes;
    let before = total(&pair);
    pair.run_for(Duration::from_secs(2 * 3_600));
    let per_month = (total(&pair) - before) * 30 * 12;
    assert!(per_month < 50_000_000, "{per_month} bytes a month");
    assert_eq!(path_mtus(&pair.client)[1], (1_420, PathMtuState::Complete));
    for sequence in 0..700 {
        pair.client_sends(&packet(sequence as u16, sequence, 500));
        pair.run_for(ms(100));
    }
    assert_eq!(path_mtus(&pair.client)[1], (1_500, PathMtuState::Complete), "it was due, once in use");
}

/// The client's direction is the narrow one, so the server cannot find out by itself.
#[test]
fn a_server_that_begins_anew_is_told_what_the_client_sends() {
    let mut pair = Pair::bond_over(SchedulerKind::Adaptive, &[[narrow(1_420), narrow(1_500)]], 13);
    pair.connect();
    pair.run_for(Duration::from_secs(1));
    assert_eq!((stats(&pair.client).inner_mtu, stats(&pair.server).inner_mtu), (1_362, 1_362));
    pair.restart_server();
    pair.run_for(Duration::from_secs(20));
    assert_eq!((stats(&pair.client).inner_mtu, stats(&pair.server).inner_mtu), (1_362, 1_362));
}

#[test]
fn a_path_that_carries_not_even_the_base_leaves_the_others_their_size() {
    let mut pair = connected(SchedulerKind::Adaptive, &[1_500, 1_000], 9);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(path_mtus(&pair.client), [(1_500, PathMtuState::Complete), (576, PathMtuState::Error)]);
    for sequence in 0..200 {
        pair.client_sends(&whole(1, sequence, 1_400));
        pair.run_for(ms(5));
    }
    pair.run_for(Duration::from_secs(1));
    assert_eq!(arrived_and_refused(&pair).0.len(), 200);
}

#[test]
fn loss_is_not_taken_for_a_path_that_has_shrunk() {
    let mut pair = Pair::bond(SchedulerKind::Adaptive, &[LinkConfig { loss: 0.15, ..plain_link() }], 10);
    pair.connect();
    for sequence in 0..6_000 {
        pair.client_sends(&whole(1, sequence, if sequence % 3 == 0 { 100 } else { 1_400 }));
        pair.run_for(ms(5));
    }
    pair.run_for(Duration::from_secs(2));
    assert_eq!(arrived_and_refused(&pair).0.len(), 6_000);
    assert_eq!(inner_mtus(&pair.client), [1_442]);
}

#[test]
fn a_new_session_keeps_the_size_of_the_tun() {
    let mut pair = connected(SchedulerKind::Adaptive, &[1_420], 11);
    pair.run_for(Duration::from_secs(1));
    pair.restart_server();
    pair.run_for(Duration::from_secs(10));
    assert_eq!(inner_mtus(&pair.client), [1_362]);
    assert_eq!(inner_mtus(&pair.server), [1_362], "it has begun anew");
    assert_eq!(stats(pair.end(Role::Client)).inner_mtu, 1_362);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever sizes paths have and become, packets arrive or their senders are told.
    #[test]
    fn nothing_is_lost_that_is_not_refused(
        seed in any::<u64>(), before in prop::collection::vec(1_300u32..1_520, 1..4), after in 1_250u32..1_520,
        loss in 0.0..0.1f64,
    ) {
        let links: Vec<_> = before.iter().map(|&mtu| LinkConfig { loss, ..narrow(mtu) }).collect();
        let mut pair = Pair::bond(SchedulerKind::Adaptive, &links, seed / 2);
        pair.connect();
        pair.run_for(Duration::from_secs(2));
        let len = stats(&pair.client).inner_mtu;
        lost_to_a_shrinking_path(&mut pair, len, |pair| {
            pair.reconfigure(0, |config| config.mtu_bytes = after);
        });
    }
}
