//! What the adaptive scheduler promises, mechanism by mechanism, in virtual time.

use std::time::Duration;

use ratbond_netem::LinkConfig;
use ratbond_proto::Time;
use ratbond_proto::scheduler::SchedulerKind;
use ratbond_sim::exchange::ms;
use ratbond_sim::pair::{Pair, packet};
use ratbond_sim::scenario::{bad_link, bound, connected, dsl_lte, equal, link, run};
use ratbond_sim::tcp::{BOND_PACKET_BYTES, Tcp, download_beside};

const CALL: u16 = 1_003;

fn adaptive(links: &[LinkConfig], seed: u64) -> Pair {
    connected(SchedulerKind::Adaptive, links, seed)
}

/// Bytes that the emulated link carried down so far.
fn carried(pair: &Pair, index: usize) -> u64 {
    pair.wans[index].down.stats().delivered_bytes
}

/// A stream from the server to the client, as of calls: `flows` flows, a packet of 172 bytes every `every`, in turn.
struct Calls {
    flows: u16,
    every: Duration,
    sent: Vec<Time>,
    next: Time,
}

impl Calls {
    fn new(now: Time, flows: u16, every: Duration) -> Self {
        Self { flows, every, sent: Vec::new(), next: now }
    }

    fn speak(&mut self, pair: &mut Pair) {
        while self.next <= pair.now {
            let number = self.sent.len() as u32;
            pair.server_sends(&packet(CALL + 2 * (number as u16 % self.flows), number, 172));
            self.sent.push(pair.now);
            self.next += self.every;
        }
    }

    /// How long each packet took, in the order of arrival. All have arrived, once each.
    fn ways(&self, pair: &Pair) -> Vec<Duration> {
        let number = |bytes: &[u8]| u32::from_be_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]);
        let arrived = pair.client_others.iter().chain(&pair.client.delivered);
        let mut numbers = Vec::new();
        let ways = arrived
            .map(|(at, bytes)| {
                numbers.push(number(bytes));
                *at - self.sent[number(bytes) as usize]
            })
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..self.sent.len() as u32).collect::<Vec<_>>(), "lost or doubled");
        ways
    }
}

/// One download of `seconds` with calls beside it; `trouble` comes after half of the time.
fn calls_beside_a_download(
    pair: &mut Pair,
    calls: &mut Calls,
    seconds: u64,
    trouble: impl FnOnce(&mut Pair),
) {
    let mut flows = [Tcp::with_packets(0, BOND_PACKET_BYTES)];
    let half = Duration::from_secs(seconds) / 2;
    download_beside(pair, &mut flows, half, |pair| calls.speak(pair));
    trouble(pair);
    download_beside(pair, &mut flows, half, |pair| calls.speak(pair));
    download_beside(pair, &mut flows, Duration::from_secs(1), |_| {});
}

#[test]
fn a_call_beside_a_download_stays_on_the_best_link() {
    let mut pair = adaptive(&dsl_lte(), 1);
    let mut calls = Calls::new(pair.now, 1, ms(20));
    calls_beside_a_download(&mut pair, &mut calls, 8, |_| {});
    let mut ways = calls.ways(&pair);
    ways.drain(..100);
    ways.sort_unstable();
    let p99 = ways[ways.len() * 99 / 100];
    assert!(p99 < ms(30), "{p99:?}: the other link alone takes 30 ms");
}

#[test]
fn a_sparse_flow_leaves_the_slower_link_alone() {
    let mut pair = adaptive(&[link(20, 20), link(20, 60)], 2);
    let before = carried(&pair, 1);
    for sequence in 0..500 {
        pair.server_sends(&packet(0, sequence, 1_000));
        pair.run_for(ms(5));
    }
    pair.run_for(ms(100));
    assert_eq!(pair.client.delivered.len(), 500);
    let spilled = carried(&pair, 1) - before;
    assert!(spilled < 2_000, "{spilled} bytes over the slower link, which is for its own questions");
}

#[test]
fn a_backlog_spills_onto_the_slower_link() {
    let mut pair = adaptive(&[link(20, 20), link(20, 60)], 3);
    let before = [0, 1].map(|index| carried(&pair, index));
    run(&mut pair, 4, 6, |_, _| {});
    let after = [0, 1].map(|index| carried(&pair, index));
    let (fast, slow) = (after[0] - before[0], after[1] - before[1]);
    assert!(slow * 10 > fast * 7, "{slow} bytes over the slower link, {fast} over the other");
}

#[test]
fn a_rate_that_halves_or_doubles_is_followed_within_two_seconds() {
    let links = equal();
    let mut pair = adaptive(&links, 4);
    let outcome = run(&mut pair, 6, 12, |pair, second| match second {
        4 => pair.reconfigure(0, |config| config.rate_bps = 25_000_000),
        8 => pair.reconfigure(0, |config| config.rate_bps = 50_000_000),
        _ => {}
    });
    let share = |seconds: std::ops::Range<usize>, mbps: f64| {
        let mean = outcome.seconds[seconds.clone()].iter().sum::<f64>() / seconds.len() as f64;
        mean / (bound(&links) / 100.0 * mbps)
    };
    let (halved, doubled) = (share(6..8, 75.0), share(10..12, 100.0));
    assert!(halved > 0.93 && halved < 1.07, "{halved:.3} of the rate after it halved: {:?}", outcome.seconds);
    assert!(doubled > 0.93, "{doubled:.3} of the rate after it doubled: {:?}", outcome.seconds);
}

#[test]
fn a_link_that_loses_every_fifth_packet_is_used_and_spoils_nothing() {
    let links = bad_link();
    let outcome = run(&mut adaptive(&links, 5), 6, 12, |_, _| {});
    let used = outcome.share_from(8, bound(&links));
    assert!(used > 0.95, "{used:.3} of the bound: {:?}", outcome.seconds);
}

#[test]
fn a_blackholed_link_holds_up_no_call_beside_a_download() {
    for (seed, index) in [(6, 0), (7, 1)] {
        let mut pair = adaptive(&equal(), seed);
        let mut calls = Calls::new(pair.now, 8, ms(5));
        calls_beside_a_download(&mut pair, &mut calls, 6, |pair| pair.blackhole(index, true));
        let worst = calls.ways(&pair).into_iter().skip(200).max().unwrap();
        assert!(worst < ms(100), "{worst:?}");
    }
}

#[test]
fn a_pulled_link_holds_up_no_call_beside_a_download() {
    for (seed, index) in [(8, 0), (9, 1)] {
        let mut pair = adaptive(&equal(), seed);
        let mut calls = Calls::new(pair.now, 8, ms(5));
        calls_beside_a_download(&mut pair, &mut calls, 6, |pair| pair.pull(index));
        let worst = calls.ways(&pair).into_iter().skip(200).max().unwrap();
        assert!(worst < ms(60), "{worst:?}");
    }
}

/// Without it the link would have to be suspect first, which takes three round trips.
#[test]
fn an_overdue_packet_of_a_call_is_copied_over_the_other_link() {
    let mut pair = adaptive(&equal(), 10);
    // As long as nobody knows what the links lose, all of a call is copied.
    run(&mut pair, 1, 2, |_, _| {});
    pair.run_for(Duration::from_secs(1));
    pair.client_others.clear();
    pair.client.delivered.clear();
    let copied_before = pair.server.endpoint.reports().remove(0).stats.copied_packets;
    let carried_before = [carried(&pair, 0), carried(&pair, 1)];
    let mut calls = Calls::new(pair.now, 1, ms(20));
    for _ in 0..50 {
        calls.speak(&mut pair);
        pair.run_for(ms(20));
    }
    let carried_since = [0, 1].map(|index| carried(&pair, index) - carried_before[index]);
    let used = usize::from(carried_since[1] > carried_since[0]);
    pair.blackhole(used, true);
    for _ in 0..50 {
        calls.speak(&mut pair);
        pair.run_for(ms(20));
    }
    pair.run_for(ms(500));
    let stats = pair.server.endpoint.reports().remove(0).stats;
    assert!(stats.copied_packets > copied_before, "{stats:?}");
    let worst = calls.ways(&pair).into_iter().max().unwrap();
    assert!(worst < ms(60), "{worst:?}");
}

#[test]
fn a_link_that_comes_back_is_used_again() {
    let links = equal();
    let mut pair = adaptive(&links, 11);
    let outcome = run(&mut pair, 6, 14, |pair, second| {
        if second == 3 || second == 5 {
            pair.blackhole(1, second == 3);
        }
    });
    let used = outcome.share_from(10, bound(&links));
    assert!(used > 0.95, "{used:.3} of both links: {:?}", outcome.seconds);
}

#[test]
fn a_link_that_nobody_needs_costs_less_than_50_mb_a_month() {
    let mut pair = adaptive(&[link(50, 20), link(50, 60)], 12);
    pair.run_for(Duration::from_secs(20));
    let total = |pair: &Pair| {
        let wan = &pair.wans[1];
        wan.up.stats().sent_bytes + wan.down.stats().sent_bytes
    };
    let before = total(&pair);
    for sequence in 0..10_000 {
        pair.server_sends(&packet(0, sequence, 1_000));
        pair.run_for(ms(20));
    }
    let per_month = (total(&pair) - before) * 30 * 86_400 / 200;
    assert!(per_month < 50_000_000, "{per_month} bytes a month");
}

#[test]
fn a_flood_is_bounded_and_every_packet_accounted_for() {
    let mut pair = adaptive(&equal(), 13);
    let (count, len) = (20_000, 1_400);
    for sequence in 0..count {
        pair.server_sends(&packet(1, sequence, len));
    }
    pair.run_for(Duration::from_secs(10));
    let stats = pair.server.endpoint.reports().remove(0).stats;
    let drops = stats.queues.aqm_drops + stats.queues.overflow_drops;
    assert_eq!(pair.client.delivered.len() as u64 + drops, u64::from(count));
    assert!(pair.client.delivered.len() * len < 6 << 20, "{} waited at once", pair.client.delivered.len());
}
